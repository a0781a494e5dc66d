package e2e

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestBrowserTestsAndRecovers does with a real browser what an administrator does when a receiver was out of order: tests it,
// sees what it says, mends it, tests it again, and has sent again what it refused.
func TestBrowserTestsAndRecovers(t *testing.T) {
	t.Parallel()
	testkit.Browser(t) // before anything is started
	w := start(t)
	var mended atomic.Bool
	r := testkit.NewReceiver(t)
	r.Set("", testkit.Behaviour{Func: func(w http.ResponseWriter, _ *http.Request) {
		if !mended.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("<b>out of order</b>"))
		}
	}})
	h := w.register(r.URL+"/hook", map[string]any{"retry_count": 0, "event_types": []string{"card.*"}})
	w.inForce()
	w.flood(3, "card-")
	w.tried(h, 3)

	b := w.browse(h)
	b.press(`form[action$="/test"] button`)
	b.shows("The test was not accepted: the receiver answered 500 Internal Server Error", "<b>out of order</b>")
	b.picture("tested-500")
	mended.Store(true)
	b.do(chromedp.Clear(chromedp.CSS("#test-type")), chromedp.SendKeys(chromedp.CSS("#test-type"), "card.moved"))
	time.Sleep(time.Second) // a webhook is tested once a second at most
	b.press(`form[action$="/test"] button`)
	b.shows("The receiver answered 200: the test was accepted.")
	b.picture("tested-200")
	b.do(chromedp.Clear(chromedp.CSS("#test-type")), chromedp.SendKeys(chromedp.CSS("#test-type"), "No Type"))
	time.Sleep(time.Second)
	b.press(`form[action$="/test"] button`)
	b.shows("event_type")
	b.picture("test-refused")

	b.do(chromedp.Navigate(w.url+"/console/webhooks/"+h.ID), chromedp.Click(chromedp.CSS(`section[aria-labelledby="recover"] summary`)))
	b.picture("recover")
	b.do(chromedp.SetValue(chromedp.CSS("#recover-since"), "2026-01-01T00:00"))
	b.press(`form[action$="/recover"] button`)
	b.picture("recovered")
	w.tried(h, 3+2+3)
	if n := len(r.RequestsTo("/hook")); n != 3+2+3 {
		t.Errorf("%d requests, want 3, two tests, and 3 again", n)
	}
}
