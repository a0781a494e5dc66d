// Package replicas says how many senders are needed.
//
// # Who knows what
//
// Partition p of all lanes is a seat, and a seat has one sender at a time. So a sender knows all of the work of its own
// seats and nothing of the others', and says how many senders its own seats need: a fraction, 0.4 or 2.6. The number for
// the group is the sum over the senders, rounded up:
//
//	ceil(sum(doorstep_sender_required_replicas))      by hand, in alerts and dashboards
//	sum(doorstep_sender_required_replicas) by target 1 in KEDA (type prometheus, metricType AverageValue, threshold 1)
//	a Pods metric with averageValue 1                 in a HorizontalPodAutoscaler
//
// All three are the same number. A maximum or an average over the pods is wrong. The sum is right whoever has which seats:
//
//   - A sender that has just started has no seat yet and says 0; what it takes over, its former owner says no more.
//   - A sender that is away is not in the sum until its seats are others', 10 s at most: a dip, which an autoscaler's
//     window for scaling down covers (300 s by default), as it does the 5 s that a new owner takes to say anything of
//     the work it took over.
//   - A sender that stops keeps its seats, and goes on saying what they need, until what is in flight has ended.
//   - A member's fixed name (static membership) only means that seats stay empty for as long as that member may come back.
//
// A sender that has a seat never says less than Least, so the sum is above 0 while anything can be due: who scales to
// zero has nobody left that would notice. A seat is never worth more than one sender, so the sum is at most the number of
// partitions.
//
// # What helps
//
// More senders help work that this one holds back, because it has no room in flight or no processor time for it. They do
// not help what waits for receivers: a webhook at its cap or its rate limit, one that hangs, what is parked, put off,
// suspended, or not due. So counted are
//
//   - use: the part of the room in flight, or of the processors if that is more, that POSTs take of webhooks that answer.
//     A POST that hangs is not in it, and processor time is shared out between POSTs and what was only moved on.
//   - backlog: what is due, queued, and whose webhook answers and may have more in flight. What nobody has looked at yet,
//     in memory or in the log (lag), counts by the part of POSTs in what this seat has ended lately: a flood for a
//     dead webhook is moved on, not sent, and so is what lies behind it.
//
// A webhook that refuses at once answers: its attempts are work like any other, until it is disabled.
//
// What answers slowly and waits for the slow side behind receivers that hang counts as backlog alone, not as use: hanging
// receivers are never a reason for more senders by themselves.
//
// # The number
//
// With r the POSTs per second and u the use over the Window, c = r/u is what a sender can do. A sender is to be busy for
// Busy of it, and the backlog is to be gone within Config.DrainWithin, while the work goes on that comes in: what is
// done, and what the backlog grows by. Of each seat
//
//	required = min(1, (use + growth/c + backlog/(c x DrainWithin)) / Busy)
//
// and the sender says their sum. Below half of its use a sender knows c only from when it had more to do, and takes the
// larger of the two: what it costs to run at all is no measure of what one POST costs.
//
// # Rest
//
// Use is a mean over 15 s, and backlog counts once it has stood for 5 s, so a moment's burst is nothing. What is said
// rises at once and falls only when it has been less for Hold: work that comes in waves a minute apart does not
// have senders come and go. When seats come or go, everything is measured anew, and what was said of a seat holds meanwhile.
package replicas
