// Package matcher works out which webhooks want each event.
//
// It reads `events` in the group "matcher" and writes, in the transaction that also commits what
// it has read:
//
//	deliveries             one record for each webhook that an event goes to, with the bytes to POST
//	deliveries.suspended   the same for a webhook that is disabled or paused
//	attempts               what was not matched but must be known: webhooks over the tenant's cap
//	quarantine             events that cannot be read
//
// Beside that, each second at most, it writes to `attempts` how often the condition of a webhook could not be evaluated,
// and the last event at which it was so: a failure at every event costs little, and not each is told by itself.
//
// It follows `webhooks`, `settings` and `states` with clients of their own, and matches nothing
// before it has read them to the ends that they had at its start.
//
// Promises: on Apache Kafka an event is matched exactly once, whatever is killed; all deliveries of
// an event become visible together or not at all. A producer's second event of the same id within
// 24 hours gives no second delivery, as long as Redis answers; while it does not, matching goes on
// and the events that were not looked up are counted. On the embedded log, whose transactions a
// kill may tear, deliveries may repeat and none is lost. An event that cannot be read never stops a
// partition.
package matcher
