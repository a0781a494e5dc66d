// Package notifier mails notices to the administrators of their tenant, and writes what came of each mail.
//
// It reads, in the group "notifier":
//
//	notices  -> mails; and writes there, for each notice and administrator, a `mailed` record
//
// It follows `settings` (who the administrators are), `webhooks` and `states`, and looks into
// deliveries.suspended to say how many deliveries wait. Without a mail server mails are kept: the record holds
// the text of every mail, and the history shows it.
//
// The log is the truth. A partition that this notifier gets is read from its start, as far as the log goes back
// (7 days), into memory: its notices, and which of their mails have ended. A notice and the `mailed` records about it
// stand in the same partition, whatever the number of partitions becomes. Nothing of a partition is mailed before it is
// read to the end that it had when it came. So
//
//   - a notice that a sender wrote again is the same notice, and is not mailed again;
//   - after a restart, with Redis emptied, nothing is mailed that a record says has ended;
//   - what is committed is no starting point: it says which notices have ended, so that those of which an
//     administrator has changed his mind since stay ended, and so that the lag can be seen.
//
// A mail goes to one administrator:
//
//	waiting   to be sent now, or after a wait; each mail has its own
//	sending   at most 8 at once, half of them for mails that have failed before: what keeps failing
//	          delays nothing that is new
//	ended     sent, kept (no mail server), or failed: refused for good, or for 72 h since the notice was raised
//
// Who is mailed: the administrators that the tenant has when the notice is first looked at, who want its kind and
// existed when it was raised. One who is deleted meanwhile, or wants the kind no longer, is left out. Waits after a failed
// try are 5 s, 15 s, 1 m, 5 m, 15 m, then an hour each, a fifth more or less; after a restart they begin anew.
//
// A notice that is first looked at after more than 72 h (nobody ran a notifier) is no news any more. It is mailed if
// what it tells of still holds: the webhook is disabled at that generation, the streak goes on, the deliveries have not
// expired yet. Then it has 72 h from there. Otherwise its mails end as failed, with that reason.
//
// Once per notice and administrator: the partition's owner alone mails, the records tell the next owner, and Redis tells
// both for the moments between (a lease while a mail is sent, then what came of it). A mail server's 250 that nobody could
// note, because the notifier died before Redis or the log had it, may repeat one mail, with the same Message-ID. So may
// an owner that is cut off from Kafka and from Redis while it sends. Once a mail has ended, its record is tried
// until the log has it, and the mail never again. While the group does not answer, no mail is begun.
//
// Redis away: it goes on. Kafka away: mails under way end, their records wait. A mail server away: mails wait.
// A partition given away: its mails under way end within 35 s, then it goes; a stop waits 3 s for them, then leaves
// them to the next life.
package notifier
