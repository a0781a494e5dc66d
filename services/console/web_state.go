package console

import (
	"fmt"
	"net/url"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// health is how a webhook is doing, in words for the person who looks after it.
type health struct {
	Word  string // active, failing, waiting, paused, disabled or inactive
	Label string // the word, with the time of a wait
	Said  string // what it means
	Next  string // what to do; empty: nothing, or Steps
	Steps []task // what to do, in order
}

// task is one of several things to do.
type task struct {
	Text string
	Done bool
	Now  bool // this is the next one
}

// healthOf says how a webhook is doing at now. What keeps it from being sent to for longest comes first.
func healthOf(w webhook.Webhook, s failure.State, now time.Time) health {
	switch {
	case s.Disabled:
		return disabledHealth(w, s)
	case !w.Active:
		return health{
			Word: "inactive", Label: "inactive",
			Said: "It was deactivated: new events are not kept for it, and what was under way is suspended." + alsoPaused(w),
			Next: "Activate it to send it what happens from then on.",
		}
	case w.Paused:
		return health{
			Word: "paused", Label: "paused",
			Said: "It was paused: events are kept for it as suspended deliveries, and nothing is sent.",
			Next: "Resume it when its receiver is ready. What the pause kept is sent then.",
		}
	case now.Before(s.DisabledUntil):
		return health{
			Word: "waiting", Label: s.DisabledUntil.UTC().Format("waiting until 15:04 UTC"),
			Said: "Its receiver asked for a wait until " + day(s.DisabledUntil) + ". Deliveries wait, and use up no try.",
			Next: "Nothing: sending goes on by itself then.",
		}
	case s.FailStreak > 0:
		return failingHealth(s)
	}
	return health{Word: "active", Label: "active", Said: "Events are sent to it as they happen."}
}

func failingHealth(s failure.State) health {
	said := fmt.Sprintf("The last %d attempts failed, since %s. It is sent to all the same.", s.FailStreak, day(s.FailStreakStartedAt))
	if s.FailStreak == 1 {
		said = fmt.Sprintf("The last attempt failed, on %s. It is sent to all the same.", day(s.LastFailedAt))
	}
	if !s.WarnedAt.IsZero() {
		said += " Its administrators were warned."
	}
	return health{
		Word: "failing", Label: "failing", Said: said,
		Next: "See the last error below and mend the receiver. The next delivery that it accepts ends the streak; if none is, the webhook is disabled.",
	}
}

func disabledHealth(w webhook.Webhook, s failure.State) health {
	kept := " Nothing is sent to it; events are kept for it as suspended deliveries."
	activate := "Activate it."
	if !w.Active && !w.Held {
		kept = " It is inactive by now: nothing is sent to it, and new events are not kept for it."
		activate = "Activate it: what happens while it is inactive is not kept for it."
	}
	gone := s.DisableReason == failure.DisabledByGone
	mend := "Mend the receiver: see the last error below."
	if gone {
		mend = "Make sure that the receiver takes deliveries again: with 410 it said that its address is gone for good."
	}
	return health{
		Word: "disabled", Label: "disabled",
		Said: fmt.Sprintf("It was disabled on %s %s.", day(s.DisabledAt), whyDisabled(s)) + kept + alsoPaused(w),
		Steps: []task{
			{Text: mend, Done: !w.Active},
			{Text: "Deactivate the webhook.", Done: !w.Active, Now: w.Active},
			{Text: activate, Now: !w.Active},
			{Text: "Release what is suspended, or discard it."},
		},
	}
}

func alsoPaused(w webhook.Webhook) string {
	if w.Paused {
		return " It is paused as well."
	}
	return ""
}

// can is what may be done with a webhook now, by whoever looks at it.
type can struct {
	Activate, Deactivate, Pause, Resume bool
	Release, Discard                    bool
	Recover                             bool
	ReleaseLater                        string // why Release is not possible yet, and what to do
	LookOnly                            bool   // the key has none of the scopes
	Urge                                string // class of the button Deactivate: main if that is the next step
}

// canDo says which buttons a webhook's page has. suspended is nil if nobody knows how many deliveries are.
func canDo(w webhook.Webhook, s failure.State, suspended *int, mayChange, mayRelease bool) can {
	c := can{LookOnly: !mayChange && !mayRelease}
	if mayChange {
		c.Activate, c.Deactivate = !w.Active, w.Active
		if w.Active && s.Disabled {
			c.Urge = "main"
		}
		c.Pause, c.Resume = !w.Paused && w.Active && !s.Disabled, w.Paused
	}
	c.Recover = mayRelease && w.Active && !w.Paused && !s.Disabled
	if mayRelease && (suspended == nil || *suspended > 0) {
		c.Discard = true
		switch {
		case s.Disabled:
			c.ReleaseLater = "They can be released once the webhook is reactivated."
		case !w.Active:
			c.ReleaseLater = "They can be released once the webhook is active."
		case w.Paused:
			c.ReleaseLater = "They can be released once the webhook is resumed."
		default:
			c.Release = true
		}
	}
	return c
}

// hostOf is the host of a webhook's URL, for lists: the rest may hold a secret.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "?"
	}
	return u.Host
}

// day is a time for people who may be anywhere.
func day(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// ago is how long before now t was, in its largest unit.
func ago(t, now time.Time) string {
	units := []struct {
		name string
		long time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
	for _, u := range units {
		switch n := now.Sub(t) / u.long; {
		case n == 1:
			return "1 " + u.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, u.name)
		}
	}
	return "now"
}
