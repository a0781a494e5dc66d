// Package failure is the failure state machine of a webhook: when its administrators are warned,
// when it is disabled, and when it is not sent to because it asked for a wait.
//
// # The table
//
// A state moves with the outcomes of the attempts made of its webhook. It is clean (no streak), failing, warned
// (failing, and its administrators were told), or disabled, which has a streak or none. Each cell says what it is after
// the event and what that brings about; "-" is that nothing changes and nothing is stored.
//
//	event                 | clean       | failing     | warned      | disabled    | disabled, no streak
//	----------------------|-------------|-------------|-------------|-------------|--------------------
//	success               | -           | clean E     | clean E     | none E      | -
//	failure               | failing S   | failing     | warned      | disabled    | disabled S
//	failure, WarnAfter    | warned SW   | warned W    | warned      | disabled    | disabled S
//	failure, DisableAfter | disabled SD | disabled D  | disabled D  | disabled    | disabled S
//	410 Gone              | disabled SG | disabled G  | disabled G  | disabled    | disabled S
//	older, any outcome    | -           | -           | -           | -           | -
//	newer, success        | clean       | clean       | clean       | clean       | clean
//	newer, failure        | failing S   | failing S   | failing S   | failing S   | failing S
//	newer, 410 Gone       | disabled SG | disabled SG | disabled SG | disabled SG | disabled SG
//	notice written        | -           | failing     | warned      | disabled    | none
//
//	S  StreakStarted            W  Warned, with a notice of kind warning: once per streak
//	E  StreakEnded              D  Disabled, with one of kind disabled: once per generation
//	none: disabled, no streak   G  Disabled, with one of kind gone: once per generation
//
// WarnAfter and DisableAfter are failures that make the streak that long, or find it longer. Older and newer are outcomes
// of an older or newer generation of the webhook than the state's. A notice is written that is pending; without one
// the event does not occur, as in the first column, where there is none.
//
// Beside that a webhook is put off or not, by DisabledUntil. The answer that asks for it also counts as the failure
// that it is above.
//
//	event              | not put off | put off   | wait over
//	-------------------|-------------|-----------|----------
//	success            | not         | put off   | not
//	failure            | not         | put off   | wait over
//	asks for longer    | put off P   | longer    | put off P
//	asks for less      | put off P   | put off   | put off P
//	older, any outcome | not         | put off   | wait over
//	newer, success     | not         | not       | not
//	newer, asks        | put off P   | put off P | put off P
//
//	P  PutOff
//
// A success while it is put off was in flight at the demand, and does not void it. A wait that is over keeps
// nothing back; its time stays to be read until a success.
//
// # Reactivation
//
// Disabled ends only with a reactivation by hand, which raises the webhook's generation: the rows "older" and "newer". Until
// an outcome of it comes, the state is read at that generation (State.At): streak, warning, disable and wait are gone.
// What is of all time stays (FailureCount, LastFailureAt, the last failure's status and error, LastSuccessAt), as
// do notices not yet written. What was in flight when the webhook was disabled still counts, unless the
// webhook was reactivated before it ended.
//
// # Versions
//
// The version grows by one with each outcome that changes something, so it does not matter how outcomes
// were batched, and a state that is not Newer than before need not be stored. Of two states the Newer one holds.
//
// # Owners
//
// The state is its owner's, who stores it (Store, in Redis) and writes it to the topic `states`: with any effect before the
// attempt's record is done, else once a second. A notice stands in the state until it is in `notices`, where it is
// written once its state is in `states`.
//
//	event                          what holds
//	-----                          ----------
//	hand-over                      the newer of store and `states`, which the former owner has written
//	crash                          the same; an attempt whose record was not done is made again, and may count twice;
//	                               a notice that is still in the state is written again, with the same id
//	store away                     the owner's; every change is on `states` before the attempt's record is done
//	store back                     the owner's; the store gets it with the next change
//	store emptied or rolled back   the owner's, as before
//	that, and a crash              what is on `states`: every effect, and the count of up to a second ago
//	new owner while store is away  the same; from the first change on, that owner's (Ahead) over what the store still has
//	a second owner for a moment    outcomes of both: one that is refused by the store is applied to what is there
package failure
