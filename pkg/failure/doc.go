// Package failure is the failure state machine of a webhook: when its administrators are warned,
// when it is disabled, and when it is not sent to because it asked for a wait.
//
// A state moves with the outcomes of the attempts made of its webhook:
//
//	from        outcome                      to          told at once
//	----        -------                      --          ------------
//	clean       success                      clean       nothing; nothing changes, nothing is stored
//	clean       failure                      failing     StreakStarted
//	failing     success                      clean       StreakEnded
//	failing     failure                      failing     nothing
//	failing     failure, streak = WarnAfter  warned      Warned, with a notice; once per streak
//	warned      success                      clean       StreakEnded
//	any of them failure, streak = DisableAfter
//	                                         disabled    Disabled, with a notice; once per generation
//	any of them 410 Gone                     disabled    Disabled, with a notice; once per generation
//	disabled    success or failure           disabled    StreakStarted, StreakEnded; never a notice
//	any         failure with Retry-After     put off     PutOff, unless it was put off already
//	put off     success after DisabledUntil  not put off as above
//	put off     success before it            put off     as above; it was in flight at the demand
//
// Put off stands beside the other states: the answer also counts as the failure that it is.
// Disabled ends only with a reactivation by hand, which raises the webhook's generation:
//
//   - A state older than the webhook's generation counts as empty (State.At): streak, warning,
//     disable and wait are gone. What is of all time stays (FailureCount, LastFailureAt, the last
//     failure's status and error, LastSuccessAt), as do notices not yet written.
//   - Outcomes of an older generation than the state's do not count at all, those of a newer one
//     move the state to it first.
//
// What was in flight when the webhook was disabled still counts in the streak and in the count of
// all time; a success then clears the streak, and the webhook stays disabled.
//
// Versions grow by one with each outcome that changes something, so it does not matter how
// outcomes were batched, and a state that is not Newer than before need not be stored.
package failure
