package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// reactivate does what an administrator does in the web console, with a real browser where there is one.
func (w *world) reactivate(h hook) {
	w.t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil && os.Getenv("TEST_REQUIRE_BROWSER") != "1" {
		w.t.Log("browser: none, forms are posted by hand")
		w.reactivateByForms(h)
		return
	}
	w.reactivateInBrowser(h)
}

func (w *world) reactivateInBrowser(h hook) {
	w.t.Helper()
	b := w.browse(h)                            // where the mail's link leads
	b.press(`form[action$="/activate"] button`) // an API key has deactivated it before
}

// tab is a tab of a real browser, whose person has signed in.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// browse signs in on the way to a webhook's page, as from a mail's link.
func (w *world) browse(h hook) *tab {
	w.t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(testkit.Browser(w.t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(w.t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))
	allocated, freed := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closed := chromedp.NewContext(allocated)
	w.t.Cleanup(func() { closed(); freed() })
	b := &tab{w.t, ctx}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 900)); err != nil { // starts the browser: no deadline
		w.t.Fatal(err)
	}
	b.do(chromedp.Navigate(w.url+"/console/webhooks/"+h.ID), chromedp.SendKeys(chromedp.CSS("#key"), apiKey()))
	b.press("button.main")
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\nthe page: %s", err, b.text())
	}
}

// press clicks what leads to another page, and waits for that.
func (b *tab) press(css string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(css))); err != nil {
		b.t.Fatalf("press %s: %v\nthe page: %s", css, err, b.text())
	}
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

func (b *tab) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// picture takes the whole page, if TEST_SCREENSHOTS names a folder.
func (b *tab) picture(name string) {
	b.t.Helper()
	shots := os.Getenv("TEST_SCREENSHOTS")
	if shots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(shots, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

var formToken = regexp.MustCompile(`name="token" value="([^"]+)"`)

func (w *world) reactivateByForms(h hook) {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: patience}
	page := w.form(client, "sign-in", url.Values{"key": {apiKey()}, "webhook": {h.ID}})
	token := formToken.FindStringSubmatch(page)
	if token == nil {
		w.t.Fatalf("no form on the page: %s", page)
	}
	w.form(client, "webhooks/"+h.ID+"/activate", url.Values{"token": {token[1]}})
}

func (w *world) form(client *http.Client, path string, values url.Values) string {
	w.t.Helper()
	resp, err := client.PostForm(w.url+"/console/"+path, values)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("form %s: %d %v %s", path, resp.StatusCode, err, b)
	}
	return string(b)
}
