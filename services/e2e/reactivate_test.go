package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"

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
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(testkit.Browser(w.t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(w.t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))
	allocated, freed := chromedp.NewExecAllocator(context.Background(), options...)
	defer freed()
	tab, closed := chromedp.NewContext(allocated)
	defer closed()
	if err := chromedp.Do(tab, chromedp.EmulateViewport(1200, 900)); err != nil { // starts the browser
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(w.url+"/console/webhooks/"+h.ID), chromedp.SendKeys(chromedp.CSS("#key"), apiKey())); err != nil {
		w.t.Fatal(err)
	}
	// Its way to the webhook is where the mail's link leads; an API key has deactivated it before.
	for _, button := range []string{"button.main", `form[action$="/activate"] button`} {
		if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(button))); err != nil {
			text, _ := chromedp.Run(tab, chromedp.Evaluate[string]("document.body.innerText"))
			w.t.Fatalf("press %s: %v\nthe page: %s", button, err, text)
		}
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
