// Package history says what the log's records add to the history that people look at: rows, and how two
// rows of the same thing become one.
//
// Records come in any order, and again: several recorders read partitions of their own, after a crash what
// was not committed is read twice, and an attempt may be read before the delivery that it is of. So every
// row is made of what records say by a merge that is commutative, associative and idempotent: in whatever
// order and however often the records come, the rows are the same. There is no "first" record and nothing
// is ever added up.
//
// # Deliveries
//
// A delivery's row is that of its latest run, as far as that run has come. Runs are ordered by Run: the
// first run before all others, whose ids are UUIDv7, by their ids. Within a run, Step orders what can
// become of it:
//
//	pending < after attempt 1: retrying < suspended < released < after attempt 2: retrying < ... < finished
//	finished: exhausted < cancelled < discarded < delivered
//
// So a replayed record never revives a delivery that is finished, discarded or released: it ranks below
// what is there. A new run (resend, release, recover) ranks above whatever came of the runs before it.
// Two ends of one run are possible after a crash, when an attempt is made twice: delivered holds, for
// the receiver has it.
//
// # Attempts
//
// An attempt's row is known by delivery, run, attempt and start. A POST that a crash repeated has the same
// three and another start: both were made, and both are shown.
package history
