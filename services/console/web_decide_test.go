package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func TestReactivated(t *testing.T) {
	t.Parallel()
	const refused = 0
	for name, tt := range map[string]struct {
		active, disabled bool
		setting          string
		by               reactivator
		want             uint64 // generation
		code             string // of the refusal
	}{
		"merely inactive":                           {false, false, "", byKey, 4, ""},
		"active":                                    {true, false, "", byKey, 4, ""},
		"disabled":                                  {true, true, "", byKey, refused, codeReactivationByHand},
		"disabled and inactive":                     {false, true, "console", byKey, refused, codeReactivationByHand},
		"any, not deactivated first":                {true, true, "any", byKey, 4, ""},
		"any, deactivated and activated":            {false, true, "any", byKey, 5, ""},
		"by hand, merely inactive":                  {false, false, "", byConsole, 4, ""},
		"by hand, active":                           {true, false, "", byConsole, 4, ""},
		"by hand, not deactivated first":            {true, true, "", byConsole, refused, codeDeactivateFirst},
		"by hand, not deactivated first, any":       {true, true, "any", byConsole, refused, codeDeactivateFirst},
		"by hand, deactivated and activated":        {false, true, "", byConsole, 5, ""},
		"by hand, deactivated and activated, any":   {false, true, "any", byConsole, 5, ""},
		"by hand, deactivated and activated, as is": {false, true, "console", byConsole, 5, ""},
	} {
		got, err := reactivated(webhook.Webhook{Active: tt.active, Generation: 4}, failure.State{Disabled: tt.disabled}, tt.setting, tt.by, "here")
		code := ""
		if p := new(Problem); errors.As(err, &p) {
			code = p.Code
			if p.Status != http.StatusConflict {
				t.Errorf("%s: status %d", name, p.Status)
			}
		}
		if got != tt.want || code != tt.code || (err != nil) != (tt.want == refused) {
			t.Errorf("%s: generation %d, %v, want %d, %q", name, got, err, tt.want, tt.code)
		}
	}
}

func TestHealthAndWhatCanBeDone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	on := webhook.Webhook{Active: true}
	paused := webhook.Webhook{Active: true, Paused: true}
	streak := failure.State{FailStreak: 3, FailStreakStartedAt: now.Add(-time.Hour), LastFailedAt: now}
	warned := streak
	warned.WarnedAt = now
	waits := streak
	waits.DisabledUntil = now.Add(30 * time.Minute)
	waited := streak
	waited.DisabledUntil = now
	disabled := failure.State{FailStreak: 500, Disabled: true, DisabledAt: now.Add(-time.Hour), DisabledUntil: now.Add(time.Hour)}
	gone := failure.State{FailStreak: 1, Disabled: true, DisabledAt: now.Add(-time.Hour), DisableReason: failure.DisabledByGone}
	for name, tt := range map[string]struct {
		w     webhook.Webhook
		s     failure.State
		label string
		said  string // a part of it
		now   string // the step to be taken
		can   can    // with deliveries suspended, and every scope
	}{
		"active":                {on, failure.State{}, "active", "as they happen", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"failing":               {on, streak, "failing", "3 attempts failed, since 4 Mar 2026, 11:00:00 UTC", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"one failure":           {on, failure.State{FailStreak: 1, LastFailedAt: now}, "failing", "The last attempt failed, on", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"warned":                {on, warned, "failing", "were warned", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"waiting":               {on, waits, "waiting until 12:30 UTC", "use up no try", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"the wait is over":      {on, waited, "failing", "", "", can{Deactivate: true, Pause: true, Release: true, Discard: true, Recover: true}},
		"paused":                {paused, waits, "paused", "It was paused", "", can{Deactivate: true, Resume: true, Discard: true}},
		"inactive":              {webhook.Webhook{}, waits, "inactive", "It was deactivated", "", can{Activate: true, Discard: true}},
		"inactive and paused":   {webhook.Webhook{Paused: true}, streak, "inactive", "paused as well", "", can{Activate: true, Resume: true, Discard: true}},
		"disabled":              {on, disabled, "disabled", "after 500 failed attempts in a row. Nothing is sent", "Deactivate", can{Urge: "main", Deactivate: true, Discard: true}},
		"disabled, paused":      {paused, disabled, "disabled", "paused as well", "Deactivate", can{Urge: "main", Deactivate: true, Resume: true, Discard: true}},
		"disabled by 410":       {on, gone, "disabled", "because its receiver answered 410 Gone", "Deactivate", can{Urge: "main", Deactivate: true, Discard: true}},
		"disabled and inactive": {webhook.Webhook{}, disabled, "disabled", "inactive by now", "Activate", can{Activate: true, Discard: true}},
	} {
		got := healthOf(tt.w, tt.s, now)
		var next []string
		for _, s := range got.Steps {
			if s.Now {
				next = append(next, s.Text)
			}
		}
		if got.Label != tt.label || !strings.HasPrefix(got.Label, got.Word) || !strings.Contains(got.Said, tt.said) || !strings.HasPrefix(strings.Join(next, "|"), tt.now) {
			t.Errorf("%s: %+v", name, got)
		}
		if (got.Next == "" && len(got.Steps) == 0) != (got.Word == "active") {
			t.Errorf("%s: nothing is said of what to do", name)
		}
		c := canDo(tt.w, tt.s, new(2), true, true)
		if (c.ReleaseLater == "") != c.Release {
			t.Errorf("%s: release %t, later %q", name, c.Release, c.ReleaseLater)
		}
		c.ReleaseLater = ""
		if d := cmp.Diff(tt.can, c); d != "" {
			t.Errorf("%s: what can be done (-want +got):\n%s", name, d)
		}
		if d := cmp.Diff(can{LookOnly: true}, canDo(tt.w, tt.s, new(2), false, false)); d != "" {
			t.Errorf("%s: without scopes (-want +got):\n%s", name, d)
		}
	}
	if c := canDo(on, failure.State{}, new(0), true, true); c.Release || c.Discard {
		t.Error("nothing is suspended, and can be released")
	}
	if c := canDo(on, failure.State{}, nil, true, true); !c.Release || !c.Discard {
		t.Error("while the history is away nothing can be released")
	}
}

func TestSelectionForm(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		types, from, to string
		want            sqlstore.Selection
		field           string // at fault
	}{
		"everything":         {"", "", "", sqlstore.Selection{}, ""},
		"types":              {" card.updated,board.*\r\n* ", "", "", sqlstore.Selection{EventTypes: []string{"card.updated", "board.*", "*"}}, ""},
		"a time":             {"", "2026-03-04T05:06", "2026-03-04T05:07:08", sqlstore.Selection{SuspendedFrom: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC), SuspendedTo: time.Date(2026, 3, 4, 5, 7, 8, 0, time.UTC)}, ""},
		"no type":            {"Card!", "", "", sqlstore.Selection{}, "event_types"},
		"a star in a middle": {"a.*.b", "", "", sqlstore.Selection{}, "event_types"},
		"too many types":     {strings.Repeat("a ", 300), "", "", sqlstore.Selection{}, "event_types"},
		"no time":            {"", "yesterday", "", sqlstore.Selection{}, "from"},
		"backwards":          {"", "2026-03-04T05:06", "2026-03-04T05:06", sqlstore.Selection{}, "to"},
	} {
		got, err := decodeSelectionForm(url.Values{"event_types": {tt.types}, "from": {tt.from}, "to": {tt.to}})
		if tt.field != "" {
			if err == nil || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("%s: %v, want a fault of %s", name, err, tt.field)
			}
			continue
		}
		if len(got.EventTypes) == 0 {
			got.EventTypes = nil
		}
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Now()
	count := func() (n int) {
		for l.allow(now) {
			n++
		}
		return n
	}
	if n := count(); n != signInsAtOnce {
		t.Errorf("at once: %d", n)
	}
	if now = now.Add(time.Second); true {
		if n := count(); n != signInsPerSecond {
			t.Errorf("a second later: %d", n)
		}
	}
	if now = now.Add(time.Hour); true {
		if n := count(); n != signInsAtOnce {
			t.Errorf("an hour later: %d", n)
		}
	}
}

// A cookie holds a word, never text of its writer's.
func TestMessages(t *testing.T) {
	t.Parallel()
	for _, a := range webActions() {
		if messageText(strings.TrimSuffix(a.path, "e")+"ed") == "" && messageText(a.path) == "" && messageText(a.path+"d") == "" && messageText(a.path+"ed") == "" {
			t.Errorf("%s tells nothing", a.path)
		}
	}
	if got := messageText("<b>You have won</b>"); got != "" {
		t.Errorf("told: %s", got)
	}
	j := sqlstore.Job{Kind: sqlstore.JobDiscard, Status: sqlstore.JobDone, Changed: 1, Skipped: sqlstore.Skips{Gone: 2}}
	if got := jobMessage(j); got != "1 delivery discarded. Of 2 deliveries the payload is gone." {
		t.Errorf("done: %s", got)
	}
	j = sqlstore.Job{Kind: sqlstore.JobRelease, Status: sqlstore.JobRunning, Changed: 7}
	if got := jobMessage(j); !strings.Contains(got, "being released, 7 so far") {
		t.Errorf("running: %s", got)
	}
	j.Status, j.Error = sqlstore.JobFailed, "paused"
	if got := jobMessage(j); !strings.Contains(got, "7 deliveries released, then it failed: paused.") {
		t.Errorf("failed: %s", got)
	}
}
