// Package sender POSTs deliveries to their receivers.
//
// It reads the lanes: `deliveries`, the retry tiers and the parking topics, all in one group, so that
// partition p of every lane is one sender's. It writes the next tier, `deliveries.suspended`,
// `attempts`, `states`, `notices` and `quarantine`, and the failure states in Redis. It follows
// `webhooks`, `settings` and `states`.
//
// # A record's way
//
//	read -> held until due -> started -> queued (pkg/schedule) -> begun -> POST -> state -> written -> done
//
// A first attempt and a retry differ in the lane that they are read from and in nothing else. A
// record is held, in its partition's order, until it is due and the sender has read `webhooks` up to
// the position that it was matched with. Then it is judged by the webhook and its state as they are
// now: sent, suspended, cancelled (the webhook is gone) or put off (the receiver asked for it). What
// does not fit in its webhook's queue is parked. Whatever comes of it, the record is done only when
// every record that follows from it is acknowledged by the log, and offsets are committed only behind
// done records; what is done behind an unfinished one stands in the commit metadata.
//
// What is secret of a webhook is opened when a webhook or its version is first sent to, and kept in memory. A delivery
// whose webhook's secrets cannot be read here, as its sealing key is missing or they are damaged, is parked: no try is
// used and nothing counts as a failure, since it is not the receiver's.
//
// Attempts are made by workers. Whoever ends an attempt takes the next delivery whose turn it is, and begins others if
// more may begin, so the dispatcher runs for what was read, for what comes due and for room, and not for each attempt.
//
// # After kill -9
//
// Attempted again are the deliveries that were in flight and those finished since the last commit
// (100 ms). Their retry records may stand twice; both carry the same delivery id, run and attempt.
//
// # State
//
// The owner keeps a webhook's failure state in memory. A success of a webhook with a clean state
// touches nothing. Every other outcome goes through failure.Apply and into Redis by compare-and-set
// before the webhook's next POST begins; outcomes that come meanwhile go in one batch. Redis away:
// the owner goes on from memory. Redis empty: the owner's, or else the one in `states`, is put back.
// A change that administrators or other services must hear of, and any while Redis is away, is on `states` before the
// record that caused it is done, so that a new owner, who reads that record again, cannot have missed it; the rest
// follows within a second. Notices go the same way, and outlive their sender: see tell.go. What may befall owner,
// store and log, and what holds then, is a table in package failure.
//
// # Tests
//
// A delivery of cause `test` is POSTed once, marked by a header, to disabled, paused and inactive webhooks too, and while
// a receiver has asked for a wait: it is how a person learns that a receiver is well again. What comes of it touches no
// failure state, neither way.
//
// # One webhook, one sender
//
// Partitions that are given away: nothing begins on them any more, what has begun ends and is
// committed, and only then they go. On a stop the same is done for all.
package sender
