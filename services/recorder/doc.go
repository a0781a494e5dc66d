// Package recorder keeps the history: it reads what the log says of events, deliveries and attempts, and
// writes into SQL what people look at.
//
// It reads, in the group "recorder", and writes by pkg/history's rules:
//
//	events                           -> events
//	deliveries, deliveries.suspended -> deliveries (the payload stays in the log, its position is kept)
//	attempts                         -> attempts, deliveries, webhook_activity, webhook_condition_errors
//	states                           -> webhook_states
//	notices                          -> notices
//	quarantine                       -> quarantine
//
// What cannot be read, and what SQL refuses for good, goes to `quarantine` with its position and the reason.
//
// Promises: every record comes into the tables at least once, and once is as good as often, in whatever order:
// offsets are committed only behind what is written, and a row is replaced only by what holds over it. So
//
//   - after kill -9 what was not committed is read and written again, which changes nothing;
//   - while SQL is away the batch in hand is kept and tried again, at most every 5 s, and nothing is read;
//     the seat in the group stays, the log waits as long as its topics are kept;
//   - partitions that go to another recorder wait up to 5 s for the batch in hand. What is written of them
//     later is not committed: their new owner reads it once more;
//   - a record that cannot be read stops nothing. Nor does one that SQL refuses: its batch is halved until it
//     stands alone.
//
// What is known of a delivery before its first attempt waits in memory for that attempt, so that most deliveries are
// written once: for a quarter of a second, or for two while the recorder is behind. It is not committed meanwhile.
//
// It has clients of its own and nobody waits for it: while it lags, deliveries go on as ever.
//
// One recorder at a time also makes the tables' partitions of the next days and drops what is older than
// the retention.
package recorder
