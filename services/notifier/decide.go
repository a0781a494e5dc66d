package notifier

import (
	"fmt"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// keptFor is how long a notice or a mail that has ended is known: longer than the log keeps its record.
const keptFor = 8 * 24 * time.Hour

// ledger is what the records of one partition say, as far as they are read.
type ledger struct {
	notices map[string]*entry    // by id
	mailed  map[string]time.Time // mails that have ended, by failure.MailedID, and when their record was written
}

// entry is a notice, from the first record that tells of it.
type entry struct {
	notice failure.Notice
	offset int64     // of that record
	at     time.Time // when that was written
	open   int       // mails that have not ended
	until  time.Time // when they are given up
	ended  bool      // nothing more is to be done
}

func newLedger() ledger {
	return ledger{notices: map[string]*entry{}, mailed: map[string]time.Time{}}
}

// add takes what a record says. It returns a notice that is new, nil if the record tells of none.
func (l ledger) add(n failure.Notice, offset int64, at time.Time) *entry {
	if n.Kind == failure.NoticeMailed {
		l.mailed[failure.MailedID(n.NoticeID, n.AdministratorID)] = at
		return nil
	}
	if l.notices[n.ID] != nil || !slices.Contains(failure.NoticeKinds(), n.Kind) { // known, or of a newer program
		return nil
	}
	e := &entry{notice: n, offset: offset, at: at}
	l.notices[n.ID] = e
	return e
}

// has reports whether the mail of a notice to an administrator has ended.
func (l ledger) has(noticeID, administratorID string) bool {
	_, ended := l.mailed[failure.MailedID(noticeID, administratorID)]
	return ended
}

// open are those of a notice's addressees whose mail has not ended, by the records that are read.
func (l ledger) open(n failure.Notice, to []tenant.Administrator) []tenant.Administrator {
	return slices.DeleteFunc(slices.Clone(to), func(a tenant.Administrator) bool { return l.has(n.ID, a.ID) })
}

// forget drops what has ended and that the log does not hold any more.
func (l ledger) forget(now time.Time) {
	for id, e := range l.notices {
		if e.ended && now.Sub(e.at) > keptFor {
			delete(l.notices, id)
		}
	}
	for id, at := range l.mailed {
		if now.Sub(at) > keptFor {
			delete(l.mailed, id)
		}
	}
}

// addressees are the administrators who are to be told of a notice, mailed already or not.
func addressees(n failure.Notice, of []tenant.Administrator) []tenant.Administrator {
	var to []tenant.Administrator
	for _, a := range of {
		if wants(a, n) && !a.CreatedAt.After(n.RaisedAt) {
			to = append(to, a)
		}
	}
	return to
}

func wants(a tenant.Administrator, n failure.Notice) bool {
	return len(a.Notices) == 0 || slices.Contains(a.Notices, string(n.Kind))
}

// holds reports whether what a notice tells of is still so. The zero webhook is one that is gone.
func holds(n failure.Notice, hook webhook.Webhook, state failure.State, now time.Time) bool {
	if hook.ID == "" {
		return false
	}
	switch n.Kind {
	case failure.NoticeDisabled, failure.NoticeGone:
		return state.Disabled && state.Generation == n.Generation
	case failure.NoticeWarning:
		return !state.Disabled && state.Generation == n.Generation && state.FailStreak > 0 &&
			state.FailStreakStartedAt.Equal(n.FailStreakStartedAt)
	case failure.NoticeExpiry:
		return now.Before(n.ExpiresAt)
	default:
		return false
	}
}

// deadline is when the mails of a notice are given up that is first looked at now.
func deadline(n failure.Notice, giveUp time.Duration, now time.Time, holds bool) time.Time {
	until := n.RaisedAt.Add(giveUp)
	if now.Before(until) || !holds {
		return until
	}
	return now.Add(giveUp)
}

// verdict is what follows from a failed try.
type verdict struct {
	again time.Time // when it is tried again
	over  bool      // it is not
	why   string
}

// judge judges a try that failed with err, the tries-th of its mail; jitter is from -1 to 1.
func judge(waits []time.Duration, tries int, err error, permanent bool, now, until time.Time, jitter float64) verdict {
	if permanent {
		return verdict{over: true, why: err.Error()}
	}
	again := now.Add(waitAfter(waits, tries, jitter))
	if again.Before(until) {
		return verdict{again: again}
	}
	return verdict{over: true, why: fmt.Sprintf("given up after %d tries, the last one: %v", tries, err)}
}

// waitAfter is the wait after that many failed tries, a fifth more or less.
func waitAfter(waits []time.Duration, tries int, jitter float64) time.Duration {
	wait := waits[min(tries, len(waits))-1]
	return wait + time.Duration(jitter*float64(wait)/5)
}
