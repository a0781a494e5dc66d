package console_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/console"
)

// tab is a tab of a real browser. Its steps end within 20 s each.
type tab struct {
	t     *testing.T
	ctx   context.Context
	base  string
	shots string // where pictures go; empty: none are made
}

func newTab(t *testing.T, base string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(testkit.Browser(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))
	allocated, freed := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closed := chromedp.NewContext(allocated)
	t.Cleanup(func() { closed(); freed() })
	b := &tab{t: t, ctx: ctx, base: base, shots: os.Getenv("TEST_SCREENSHOTS")}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 900)); err != nil { // starts the browser: no deadline
		t.Fatal(err)
	}
	return b
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\nthe page: %s", what, err, b.text())
	}
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do("open "+path, chromedp.Navigate(b.base+path))
}

// press clicks what leads to another page, and waits for that.
func (b *tab) press(css string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(css))); err != nil {
		b.t.Fatalf("press %s: %v\nthe page: %s", css, err, b.text())
	}
}

func (b *tab) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// shows fails unless the page has these words.
func (b *tab) shows(words ...string) {
	b.t.Helper()
	text := b.text()
	for _, w := range words {
		if !strings.Contains(text, w) {
			b.t.Errorf("the page does not show %q:\n%s", w, text)
		}
	}
}

// picture takes the page wide and narrow, light and dark, if TEST_SCREENSHOTS names a folder. Nothing of a page
// may be wider than a phone.
func (b *tab) picture(name string) {
	b.t.Helper()
	for _, wide := range []int64{390, 1200} {
		b.do("resize", chromedp.EmulateViewport(wide, 900))
		over, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
		if err != nil || over > 0 {
			b.t.Errorf("%s, %d wide: %d pixels stand out, %v", name, wide, over, err)
		}
		for _, scheme := range []string{"light", "dark"} {
			if b.shots == "" {
				continue
			}
			b.do("scheme", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				return err
			}))
			png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(b.shots, fmt.Sprintf("%s-%d-%s.png", name, wide, scheme)), png, 0o600)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// suspends puts deliveries of a webhook into `deliveries.suspended` and the history.
func (r *rig) suspends(w console.Webhook, n int) {
	r.t.Helper()
	now := time.Now().UTC()
	for i := range n {
		e := r.event(published(fmt.Sprintf("e-%d", i), now.Add(-time.Duration(n-i)*time.Minute)))
		d := matched(e, w.ID)
		d.SuspendReason, d.SuspendedAt = delivery.SuspendDisabled, e.ReceivedAt
		r.deliver(r.topics.Suspended, d)
	}
}

// TestBrowser does with a real browser what an administrator does when a receiver is mended.
func TestBrowser(t *testing.T) {
	t.Parallel()
	testkit.Browser(t) // before anything is started
	r := newRig(t)
	b := newTab(t, "http://"+r.svc.Addr())
	w := r.create(`{"name":"Kanban board","description":"Cards for the planning board","url":"https://127.0.0.1:8443/hooks/cards?team=66","event_types":["card.*","board.created"]}`)
	waiting := r.create(`{"name":"A receiver with quite a long name that somebody typed in one go, for the nightly reports","url":"http://127.0.0.1:9999/hook","event_types":["*"]}`)
	for i, name := range []string{"Billing", "Search index", "Audit trail"} {
		other := r.create(fmt.Sprintf(`{"name":%q,"url":"http://127.0.0.1:%d/in","event_types":["card.updated"],"active":%t}`, name, 9000+i, i != 1))
		if i == 0 {
			r.do(200, "POST", "/api/v1/webhooks/"+other.ID+"/pause", "")
		}
	}
	s := dead(waiting)
	s.Disabled, s.FailStreak, s.DisabledUntil = false, 12, time.Now().Add(20*time.Minute)
	r.fails(s)
	r.fails(dead(w))
	r.suspends(w, 42)

	b.open("/console/webhooks/" + w.ID)
	b.shows("Sign in", "API key")
	b.picture("sign-in")
	b.do("type a wrong key", chromedp.SendKeys(chromedp.CSS("#key"), "dsk_wrong"))
	b.press("button.main")
	b.shows("The API key is not known or has expired.")
	b.picture("sign-in-refused")
	b.do("type the key", chromedp.SendKeys(chromedp.CSS("#key"), bootKey))
	b.press("button.main")
	b.shows("Kanban board", "disabled", "It was disabled on", "500 failed attempts", "42 deliveries are kept", "card.updated")
	b.picture("disabled")
	b.open("/console/webhooks")
	b.shows("Kanban board", "waiting until", "paused", "inactive", "disabled", "42")
	b.picture("webhooks")
	b.press(`a[href$="` + w.ID + `"]`)

	b.press(`form[action$="/deactivate"] button`)
	b.shows("The webhook is inactive.", "Activate it.")
	b.picture("deactivated")
	b.press(`form[action$="/activate"] button`)
	b.shows("The webhook is active.", "Events are sent to it as they happen.", "42 deliveries are kept")
	b.press(`form[action$="/pause"] button`)
	b.shows("The webhook is paused.", "They can be released once the webhook is resumed.")
	b.press(`form[action$="/resume"] button`)
	b.shows("The webhook is resumed.")

	b.do("open the discard", chromedp.Click(chromedp.CSS("details:last-of-type summary")))
	b.do("discard without the tick", chromedp.Click(chromedp.CSS("button.danger")))
	b.shows("Yes, discard them.") // the browser itself asks for the tick
	b.do("open the release", chromedp.Click(chromedp.CSS("details summary")), chromedp.SendKeys(chromedp.CSS("#release-types"), "card.*"))
	b.picture("release")
	b.press(`form[action$="/release"] button`)
	b.shows("The deliveries are being released")
	b.picture("released")
	jobs := data[[]console.Job](t, r.do(200, "GET", "/api/v1/jobs", ""))
	if last := jobs[len(jobs)-1]; last.WebhookID != w.ID || last.Kind != "release" || len(last.Selection.EventTypes) != 1 || last.Selection.EventTypes[0] != "card.*" {
		t.Errorf("the job: %+v", last)
	}
	b.open("/console/nothing")
	b.picture("not-found")

	b.press(`form[action$="/sign-out"] button`)
	b.shows("You are signed out.", "API key")
	b.open("/console/webhooks/" + w.ID)
	b.shows("Sign in")
	got := data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, ""))
	if !got.Active || !got.CanSend || got.FailStreak != 0 || got.Paused {
		t.Errorf("in the end: %+v", got)
	}
}
