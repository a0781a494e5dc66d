// Package schedule decides whose delivery is sent next, and whose must step aside, so that a slow
// or dead receiver harms nobody else.
//
// # Turns
//
// Webhooks with something to send stand in a ring and are served by deficit round robin: each
// turn adds a quantum of bytes, and a delivery costs its size (at least a KiB), so that many small
// deliveries and few large ones get the same share. A webhook leaves the ring while it has nothing
// queued, is at its cap, or is out of its rate; it comes back at the end.
//
// # Two sides
//
// Of the POSTs in flight, Config.MaxInFlight, a quarter is for webhooks that answer, within a second
// on average: the quick side. Another quarter is for those that do not, or have not answered yet:
// the slow side. They are served in turn while both have something to send. A webhook that lets a
// second pass without an answer moves to the slow side and takes its POSTs along, for which there is
// the other half. So whoever hangs waits beside others that hang.
//
// # Caps
//
// A webhook may have cap POSTs in flight. The cap starts at 2 and grows by one with each success,
// which doubles it in a round, up to 16, and on to the webhook's limit while answers are fast and no
// slower than with fewer POSTs at once: above that more only wait for one another, at the receiver or
// for this machine's processors. While the sender has many POSTs in flight in all, those that only wait
// make one fewer of each. Each failure halves it, down to 1. So a receiver that hangs holds one
// POST, and its own only.
//
// # Who steps aside
//
// A webhook's pace is cap / latency; the latency is a moving average of its answers or, if longer,
// the time since it last made progress. What it can send within Config.Horizon may wait in memory;
// a delivery beyond that would wait longer than parking takes, so it is parked: Push says Park,
// and Shed takes back what was queued before the receiver slowed down. A fast receiver with a large
// backlog is never parked: what it lacks is only the sender's own speed, and then the queue as a
// whole fills up and Push says Full, which holds the log instead of rewriting it. For the same reason
// the time in which the sender itself stood still (Stalled) is nobody's silence.
//
// # Bounds
//
// Memory: Config.MaxQueued deliveries, Config.MaxQueuedBytes. A webhook that answers nothing keeps
// Horizon x 16 / silence queued deliveries, so at most 80 after a second of silence, and after that
// Horizon x cap / silence: one, once its POSTs take the full 10 s.
//
// Time: a quick webhook that is below its cap and its rate waits for at most one round of the other
// quick ones: with q of them in the ring and answers that take L (at most a second), and b POSTs of
// one webhook in a turn (at most 16), q x b / (MaxInFlight / 4) + 1 times L. How many hang beside them
// does not come into it. If webhooks that were quick fall silent all at once, with up to MaxInFlight / 2
// POSTs, others wait 1.1 s longer for each MaxInFlight / 4 of those: until it is noticed, not until
// they time out. What has not answered yet waits for a round of the slow side, whose POSTs may take their
// full timeout. All of it is tried in simulation_test.go, in virtual time.
//
// A Queue is not safe for use by several goroutines at once; it has no clock of its own.
package schedule
