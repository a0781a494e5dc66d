package notifier

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestAddressees(t *testing.T) {
	for name, tt := range map[string]struct {
		a    tenant.Administrator
		kind failure.NoticeKind
		want bool
	}{
		"wants all":                   {tenant.Administrator{}, failure.NoticeGone, true},
		"wants this":                  {tenant.Administrator{Notices: []string{"warning", "gone"}}, failure.NoticeGone, true},
		"wants another":               {tenant.Administrator{Notices: []string{"warning", "disabled"}}, failure.NoticeGone, false},
		"came before it":              {tenant.Administrator{CreatedAt: noon.Add(-1)}, failure.NoticeExpiry, true},
		"came with it":                {tenant.Administrator{CreatedAt: noon}, failure.NoticeExpiry, true},
		"came after it":               {tenant.Administrator{CreatedAt: noon.Add(1)}, failure.NoticeExpiry, false},
		"changed after it, was there": {tenant.Administrator{CreatedAt: noon, UpdatedAt: noon.Add(1)}, failure.NoticeWarning, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := addressees(failure.Notice{Kind: tt.kind, RaisedAt: noon}, []tenant.Administrator{tt.a})
			if (len(got) == 1) != tt.want {
				t.Errorf("addressees %v, want %t", got, tt.want)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	hook := webhook.Webhook{ID: "w", Generation: 2}
	disabled := failure.State{Generation: 2, Disabled: true, FailStreak: 500, FailStreakStartedAt: noon}
	failing := failure.State{Generation: 2, FailStreak: 300, FailStreakStartedAt: noon}
	of := func(k failure.NoticeKind) failure.Notice {
		return failure.Notice{Kind: k, Generation: 2, FailStreakStartedAt: noon, ExpiresAt: noon}
	}
	older := func(k failure.NoticeKind) failure.Notice {
		n := of(k)
		n.Generation = 1
		return n
	}
	for name, tt := range map[string]struct {
		n     failure.Notice
		hook  webhook.Webhook
		state failure.State
		now   time.Time
		want  bool
	}{
		"disabled":                     {of(failure.NoticeDisabled), hook, disabled, noon, true},
		"gone":                         {of(failure.NoticeGone), hook, disabled, noon, true},
		"disabled, webhook deleted":    {of(failure.NoticeDisabled), webhook.Webhook{}, disabled, noon, false},
		"disabled, since reactivated":  {of(failure.NoticeDisabled), hook, failure.State{Generation: 3}, noon, false},
		"disabled again since":         {older(failure.NoticeDisabled), hook, disabled, noon, false},
		"warned, the streak goes on":   {of(failure.NoticeWarning), hook, failing, noon, true},
		"warned, since disabled":       {of(failure.NoticeWarning), hook, disabled, noon, false},
		"warned, the streak has ended": {of(failure.NoticeWarning), hook, failure.State{Generation: 2}, noon, false},
		"warned, another streak":       {of(failure.NoticeWarning), hook, failure.State{Generation: 2, FailStreak: 1, FailStreakStartedAt: noon.Add(1)}, noon, false},
		"warned, reactivated since":    {older(failure.NoticeWarning), hook, failing, noon, false},
		"they expire":                  {of(failure.NoticeExpiry), hook, failure.State{}, noon.Add(-1), true},
		"they have expired":            {of(failure.NoticeExpiry), hook, failure.State{}, noon, false},
		"something unknown":            {of("other"), hook, disabled, noon, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := holds(tt.n, tt.hook, tt.state, tt.now); got != tt.want {
				t.Errorf("holds %t", got)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	raised := failure.Notice{RaisedAt: noon}
	for name, tt := range map[string]struct {
		after time.Duration
		holds bool
		want  time.Duration // after noon
	}{
		"at once":                     {0, true, 72 * time.Hour},
		"at once, over already":       {0, false, 72 * time.Hour},
		"just in time":                {72*time.Hour - 1, true, 72 * time.Hour},
		"too late, and it holds":      {100 * time.Hour, true, 172 * time.Hour},
		"too late, and it is no news": {100 * time.Hour, false, 72 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if got := deadline(raised, 72*time.Hour, noon.Add(tt.after), tt.holds).Sub(noon); got != tt.want {
				t.Errorf("deadline after %s, want %s", got, tt.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	waits := Config{}.withDefaults().Waits
	failed := errors.New("the server is busy")
	until := noon.Add(72 * time.Hour)
	for name, tt := range map[string]struct {
		tries     int
		permanent bool
		now       time.Time
		jitter    float64
		want      time.Duration // until it is tried again; 0: it is over
	}{
		"first":           {1, false, noon, 0, 5 * time.Second},
		"second":          {2, false, noon, 0, 15 * time.Second},
		"third":           {3, false, noon, 0, time.Minute},
		"fourth":          {4, false, noon, 0, 5 * time.Minute},
		"fifth":           {5, false, noon, 0, 15 * time.Minute},
		"sixth":           {6, false, noon, 0, time.Hour},
		"sixtieth":        {60, false, noon, 0, time.Hour},
		"a fifth more":    {6, false, noon, 1, 72 * time.Minute},
		"a fifth less":    {6, false, noon, -1, 48 * time.Minute},
		"for good":        {1, true, noon, 0, 0},
		"a last one":      {70, false, until.Add(-time.Hour - 1), 0, time.Hour},
		"no time is left": {70, false, until.Add(-time.Hour), 0, 0},
		"it is past":      {1, false, until.Add(time.Hour), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(waits, tt.tries, failed, tt.permanent, tt.now, until, tt.jitter)
			if v.over != (tt.want == 0) || !v.over && v.again.Sub(tt.now) != tt.want {
				t.Errorf("verdict %+v, want again after %s", v, tt.want)
			}
			if v.over && !strings.Contains(v.why, failed.Error()) {
				t.Errorf("it does not say why: %q", v.why)
			}
		})
	}
}

// What is to be mailed, given the records read so far, is what the records say in whatever order: the notices
// that are there once or often, for those who are to be told, but for what a record says has ended.
func TestWhatIsToBeMailed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		admins := drawAdministrators(t)
		l, model := newLedger(), map[string]bool{} // the model: mails by notice and administrator
		ended := map[string]bool{}
		opened := map[string]int{}
		var notices []failure.Notice
		for offset := range rapid.IntRange(0, 60).Draw(t, "records") {
			n := drawNotice(t)
			if rapid.Bool().Draw(t, "mailed") && len(notices) > 0 {
				of := rapid.SampledFrom(notices).Draw(t, "of")
				a := rapid.SampledFrom(admins).Draw(t, "to")
				n = failure.Notice{ID: failure.MailedID(of.ID, a.ID), Kind: failure.NoticeMailed, NoticeID: of.ID, AdministratorID: a.ID}
				ended[of.ID+" "+a.ID] = true
			} else {
				notices = append(notices, n)
				for _, a := range admins {
					kind := len(a.Notices) == 0 || slices.Contains(a.Notices, string(n.Kind))
					model[n.ID+" "+a.ID] = kind && !n.RaisedAt.Before(a.CreatedAt)
				}
			}
			if e := l.add(n, int64(offset), noon); e != nil {
				opened[e.notice.ID]++
			}
		}
		for id, e := range l.notices {
			var got []string
			for _, a := range l.open(e.notice, addressees(e.notice, admins)) {
				got = append(got, a.ID)
			}
			for _, a := range admins {
				want := model[id+" "+a.ID] && !ended[id+" "+a.ID]
				if slices.Contains(got, a.ID) != want {
					t.Fatalf("notice %s to %s: %t, want %t", id, a.ID, !want, want)
				}
			}
		}
		for _, n := range notices {
			if opened[n.ID] != 1 {
				t.Fatalf("notice %s was new %d times", n.ID, opened[n.ID])
			}
		}
	})
}

// Over lives that end anywhere, with notices written again at any time and nobody's memory but the log: a mail is
// sent once, and once more for each life that ended between a mail and its record.
func TestMailedOnceOverManyLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		admins := drawAdministrators(t)
		var log []failure.Notice
		sent, lost := map[string]int{}, map[string]int{}
		for range rapid.IntRange(1, 8).Draw(t, "lives") {
			for range rapid.IntRange(0, 4).Draw(t, "written") {
				log = append(log, drawNotice(t))
			}
			l := newLedger()
			var seen []*entry
			for offset, n := range log {
				if e := l.add(n, int64(offset), noon); e != nil {
					seen = append(seen, e)
				}
			}
		life:
			for _, e := range seen {
				for _, a := range l.open(e.notice, addressees(e.notice, admins)) {
					id := failure.MailedID(e.notice.ID, a.ID)
					sent[id]++
					switch rapid.IntRange(0, 9).Draw(t, "fate") {
					case 0:
						lost[id]++
						break life
					default:
						log = append(log, failure.Notice{ID: id, Kind: failure.NoticeMailed, NoticeID: e.notice.ID, AdministratorID: a.ID})
					}
				}
			}
		}
		for id, n := range sent {
			if n > 1+lost[id] {
				t.Fatalf("mail %s was sent %d times, %d of them unknown to the log", id, n, lost[id])
			}
		}
	})
}

func drawAdministrators(t *rapid.T) []tenant.Administrator {
	var admins []tenant.Administrator
	for i := range rapid.IntRange(1, 4).Draw(t, "administrators") {
		admins = append(admins, tenant.Administrator{
			ID:        fmt.Sprint("a", i),
			Notices:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"warning", "disabled", "gone", "expiry"}), 0, 4, rapid.ID).Draw(t, "notices"),
			CreatedAt: noon.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "created")) * time.Hour),
		})
	}
	return admins
}

// drawNotice draws one of a few: the same id is the same notice.
func drawNotice(t *rapid.T) failure.Notice {
	kind := rapid.SampledFrom(failure.NoticeKinds()).Draw(t, "kind")
	hour := rapid.IntRange(-2, 2).Draw(t, "raised")
	return failure.Notice{ID: fmt.Sprint(kind, hour), Kind: kind, RaisedAt: noon.Add(time.Duration(hour) * time.Hour)}
}

func TestForget(t *testing.T) {
	l := newLedger()
	l.add(failure.Notice{ID: "ended", Kind: failure.NoticeGone}, 1, noon).ended = true
	l.add(failure.Notice{ID: "open", Kind: failure.NoticeGone}, 2, noon)
	l.add(failure.Notice{Kind: failure.NoticeMailed, NoticeID: "ended", AdministratorID: "a"}, 3, noon)
	l.forget(noon.Add(keptFor))
	if len(l.notices) != 2 || !l.has("ended", "a") {
		t.Errorf("too early: %v, %v", l.notices, l.mailed)
	}
	l.forget(noon.Add(keptFor + 1))
	if l.notices["open"] == nil || len(l.notices) != 1 || len(l.mailed) != 0 {
		t.Errorf("what is left: %v, %v", l.notices, l.mailed)
	}
}

func TestQueue(t *testing.T) {
	var q queue
	fresh := func(id string) { q.add(&letter{id: id}) }
	again := func(id string, in time.Duration) { q.add(&letter{id: id, again: true, due: noon.Add(in)}) }
	expect := func(in time.Duration, may bool, want string) {
		t.Helper()
		got := ""
		if l := q.pop(noon.Add(in), may); l != nil {
			got = l.id
		}
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	expect(0, true, "")
	fresh("1")
	fresh("2")
	fresh("3")
	again("late", time.Hour)
	again("soon", time.Minute)
	expect(0, true, "1")
	expect(time.Minute, false, "2") // no place for those that come again
	expect(time.Minute, true, "soon")
	expect(time.Minute, true, "3")
	expect(time.Minute, true, "")
	if due, ok := q.due(); !ok || !due.Equal(noon.Add(time.Hour)) || q.len() != 1 {
		t.Errorf("due %s, %t, %d letters", due, ok, q.len())
	}
	fresh("gone")
	again("gone too", 0)
	q.drop(func(l *letter) bool { return strings.HasPrefix(l.id, "gone") })
	expect(time.Hour, true, "late")
	if _, ok := q.due(); ok || q.len() != 0 {
		t.Errorf("%d letters are left", q.len())
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":              func(*Config) {},
		"console-url":   func(c *Config) { c.ConsoleURL = "console.example.com" },
		"disable-after": func(c *Config) { c.DisableAfter = 0 },
		"smtp-url":      func(c *Config) { c.Mail.URL = "http://mail.example.com" },
		"kafka-brokers": func(c *Config) { c.Kafka.Brokers = nil },
	} {
		c := Config{DisableAfter: 1, ConsoleURL: "https://console.example.com"}
		c.Kafka.Brokers, c.Kafka.RetryTiers = []string{"127.0.0.1:1"}, "1m"
		change(&c)
		if err := c.Validate(); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
