package console_test

import (
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// person is someone at the pages of a console, with a browser that sends what browsers send with a form and
// follows no redirect.
type person struct {
	t      *testing.T
	base   string
	client http.Client
	token  string // of the last page's forms
}

// shown is a page.
type shown struct {
	status int
	header http.Header
	text   string // without entities
	html   string
}

func (c *running) person() *person {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &person{t: c.t, base: "http://" + c.svc.Addr(), client: http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.t.Cleanup(p.client.CloseIdleConnections)
	return p
}

var formToken = regexp.MustCompile(`name="token" value="([0-9a-f]{64})"`)

// do asks for a page. A header of "" is not sent.
func (p *person) do(method, path string, form url.Values, header ...string) shown {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", p.base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if m := formToken.FindSubmatch(b); m != nil {
		p.token = string(m[1])
	}
	return shown{resp.StatusCode, resp.Header, html.UnescapeString(string(b)), string(b)}
}

// get asks for a page that must be there.
func (p *person) get(path string) shown {
	p.t.Helper()
	s := p.do("GET", path, nil)
	if s.status != 200 {
		p.t.Fatalf("GET %s: %d %s", path, s.status, s.text)
	}
	return s
}

// press sends a form with the token of the last page, and follows to the page that comes of it.
func (p *person) press(path string, fields ...string) shown {
	p.t.Helper()
	form := url.Values{"token": {p.token}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	s := p.do("POST", path, form)
	if s.status != http.StatusSeeOther {
		p.t.Fatalf("POST %s: %d %s", path, s.status, s.text)
	}
	return p.get(s.header.Get("Location"))
}

// signIn signs in and looks at the list.
func (p *person) signIn(key, of string) *person {
	p.t.Helper()
	if s := p.do("POST", "/console/sign-in", url.Values{"key": {key}, "tenant": {of}}); s.status != http.StatusSeeOther {
		p.t.Fatalf("sign in: %d %s", s.status, s.text)
	}
	p.get("/console/webhooks")
	return p
}

// sessionCookie is the session as the browser holds it.
func (p *person) sessionCookie() string {
	u, _ := url.Parse(p.base)
	for _, c := range p.client.Jar.Cookies(u) {
		if c.Name == "doorstep_session" {
			return c.Value
		}
	}
	return ""
}

// fails writes a webhook's failure state to the log, as its sender does, and waits until the console shows it.
func (c *running) fails(s failure.State) {
	c.t.Helper()
	record, err := wire.State(topics(c.t, c.cfg.Kafka).States, s)
	if err == nil {
		err = newClient(c.t, c.cfg.Kafka).ProduceSync(c.t.Context(), record).FirstErr()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, func() error {
		got := data[console.Webhook](c.t, c.do(200, "GET", "/api/v1/webhooks/"+s.WebhookID, "", "Doorstep-Tenant", s.Tenant))
		if got.FailStreak != s.FailStreak || got.Disabled != s.Disabled {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}

// dead is the state of a webhook that was disabled.
func dead(w console.Webhook) failure.State {
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	return failure.State{
		WebhookID: w.ID, Tenant: "default", Generation: 1, Version: 7, FailStreak: 500, FailStreakStartedAt: at, LastFailedAt: at.Add(time.Hour),
		LastFailureAt: at.Add(time.Hour), LastSuccessAt: at.Add(-time.Hour), FailureCount: 501, Disabled: true, DisabledAt: at.Add(time.Hour),
		DisableReason: failure.DisabledByStreak, LastStatusCode: 503, LastError: "the receiver answered 503",
	}
}

func openStore(t *testing.T, cfg sqldb.Config) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestEveryPageIsGuarded(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	p := c.person()
	for _, tt := range []struct {
		method, path string
		signedIn     bool
		status       int
	}{
		{"GET", "/console/", false, 303},
		{"GET", "/console/sign-in", false, 200},
		{"GET", "/console/style.css", false, 200},
		{"GET", "/console/icon.svg", false, 200},
		{"GET", "/console/webhooks", false, 303},
		{"GET", "/console/webhooks/" + w.ID, false, 303},
		{"POST", "/console/webhooks/" + w.ID + "/deactivate", false, 303},
		{"POST", "/console/sign-in", false, 401},
		{"POST", "/console/sign-out", false, 303},
		{"GET", "/console/nothing", false, 404},
		{"GET", "/console/webhooks", true, 200},
		{"GET", "/console/webhooks/" + w.ID, true, 200},
		{"GET", "/console/sign-in", true, 303},
		{"GET", "/console/webhooks?cursor=xyz", true, 422},
		{"GET", "/console/webhooks/x", true, 404},
		{"GET", "/console/webhooks/0198c9e0-0000-7000-8000-000000000000", true, 404},
		{"GET", "/console/webhooks/" + w.ID + "/deactivate", true, 405},
		{"POST", "/console/webhooks", true, 405},
		{"POST", "/console/webhooks/" + w.ID + "/deactivate", true, 403},
		{"PUT", "/console/sign-in", true, 405},
	} {
		if tt.signedIn && p.sessionCookie() == "" {
			p.signIn(bootKey, "")
		}
		s := p.do(tt.method, tt.path, nil)
		if s.status != tt.status {
			t.Errorf("%s %s: %d, want %d: %s", tt.method, tt.path, s.status, tt.status, s.text)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := s.header.Get(name); got != want {
				t.Errorf("%s %s: %s: %q", tt.method, tt.path, name, got)
			}
		}
		if s.status >= 400 && !strings.HasPrefix(s.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s %s: an error of type %q", tt.method, tt.path, s.header.Get("Content-Type"))
		}
		for _, never := range []string{"<script", "<style", "style=", "javascript:"} {
			if strings.Contains(s.html, never) {
				t.Errorf("%s %s: the page holds %q", tt.method, tt.path, never)
			}
		}
	}
	if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); !got.Active {
		t.Error("deactivated by a request that was refused")
	}
}

func TestTheRootSendsBrowsersToThePages(t *testing.T) {
	t.Parallel()
	c := ready(t)
	p := c.person()
	if s := p.do("GET", "/", nil, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8"); s.status != 303 || s.header.Get("Location") != "/console/" {
		t.Errorf("a browser: %d to %q", s.status, s.header.Get("Location"))
	}
	if s := p.do("GET", "/", nil, "Accept", "*/*"); s.status != 200 || !strings.Contains(s.text, "/api/openapi.json") {
		t.Errorf("a program: %d %s", s.status, s.text)
	}
}

// TestForms sends a form in all ways that another site can have a browser send it.
func TestForms(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	p, other := c.person().signIn(bootKey, ""), c.person().signIn(bootKey, "")
	path := "/console/webhooks/" + w.ID + "/pause"
	for name, tt := range map[string]struct {
		token  string
		header []string
		status int
	}{
		"its own page":                     {p.token, nil, 303},
		"an old browser":                   {p.token, []string{"Sec-Fetch-Site", ""}, 303},
		"no browser":                       {p.token, []string{"Sec-Fetch-Site", "", "Origin", ""}, 303},
		"no token":                         {"", nil, 403},
		"half a token":                     {p.token[:32], nil, 403},
		"another session's token":          {other.token, nil, 403},
		"no browser, no token":             {"", []string{"Sec-Fetch-Site", "", "Origin", ""}, 403},
		"another site":                     {p.token, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another host of this site":        {p.token, []string{"Sec-Fetch-Site", "same-site"}, 403},
		"another origin, an old browser":   {p.token, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example.com"}, 403},
		"no origin, an old browser":        {p.token, []string{"Sec-Fetch-Site", "", "Origin", "null"}, 403},
		"a form of another kind":           {p.token, []string{"Content-Type", "text/plain"}, 403},
		"the token in the address instead": {"?", nil, 403},
	} {
		to, form := path, url.Values{"token": {tt.token}}
		if tt.token == "?" {
			to, form = path+"?token="+p.token, nil
		}
		if s := p.do("POST", to, form, tt.header...); s.status != tt.status {
			t.Errorf("%s: %d, want %d: %s", name, s.status, tt.status, s.text)
		}
	}
	if s := p.do("POST", path, url.Values{"token": {p.token}, "x": {strings.Repeat("x", 40<<10)}}); s.status != 413 {
		t.Errorf("a form of 40 KiB: %d", s.status)
	}
	// Nobody can be signed in, or out, by another site.
	for _, to := range []string{"/console/sign-in", "/console/sign-out"} {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example.com"}} {
			if s := p.do("POST", to, url.Values{"key": {bootKey}, "token": {p.token}}, header...); s.status != 403 || s.header.Get("Set-Cookie") != "" {
				t.Errorf("%s from another site: %d", to, s.status)
			}
		}
	}
	if s := p.do("POST", "/console/sign-out", nil); s.status != 403 || p.do("GET", "/console/webhooks", nil).status != 200 {
		t.Errorf("signed out without a token: %d", s.status)
	}
}

func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.PublicURL = "http://hooks.example.com"
	c := start(t, cfg)
	c.awaitReady()
	p := c.person() // the proxy asks for another host than the browser did
	for origin, status := range map[string]int{"http://hooks.example.com": 303, "http://evil.example.com": 403} {
		if s := p.do("POST", "/console/sign-in", url.Values{"key": {bootKey}}, "Sec-Fetch-Site", "", "Origin", origin); s.status != status {
			t.Errorf("from %s: %d", origin, s.status)
		}
	}
}

func TestScopesOfThePages(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	path := "/console/webhooks/" + w.ID
	for scopes, can := range map[string][]string{
		`["webhooks:read"]`:              nil,
		`["webhooks"]`:                   {"deactivate", "pause"},
		`["webhooks:read","deliveries"]`: {"release", "discard"},
		`["webhooks","deliveries"]`:      {"deactivate", "pause", "release", "discard"},
	} {
		p := c.person().signIn(c.key(`{"name":"k","scopes":`+scopes+`}`).Key, "")
		s := p.get(path)
		for _, do := range []string{"activate", "deactivate", "pause", "resume", "release", "discard"} {
			may := false
			for _, x := range can {
				may = may || x == do || x == "pause" && (do == "activate" || do == "resume")
			}
			shows := strings.Contains(s.html, `action="`+path+"/"+do+`"`)
			if wants := may && (do == "deactivate" || do == "pause"); shows != wants { // nothing is suspended
				t.Errorf("%s: the button %s is shown: %t", scopes, do, shows)
			}
			if got := p.do("POST", path+"/"+do, url.Values{"token": {p.token}}); !may && got.status != 403 || may && got.status == 403 {
				t.Errorf("%s: %s: %d %s", scopes, do, got.status, got.text)
			}
		}
		c.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":true}`)
		p.get(path)
		if strings.Contains(scopes, `"webhooks"`) {
			p.press(path + "/resume")
		}
	}
	if s := c.person().signIn(bootKey, "").do("GET", "/console/webhooks/0198c9e0-0000-7000-8000-000000000000", nil); s.status != 404 {
		t.Errorf("a webhook that nobody has: %d", s.status)
	}
	acme := c.person().signIn(c.key(`{"name":"k","scopes":["webhooks"]}`, "Doorstep-Tenant", "acme").Key, "")
	for method, to := range map[string]string{"GET": path, "POST": path + "/deactivate"} {
		if s := acme.do(method, to, url.Values{"token": {acme.token}}); s.status != 404 {
			t.Errorf("%s of another tenant's webhook: %d", method, s.status)
		}
	}
}

func TestHostileText(t *testing.T) {
	t.Parallel()
	c := ready(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>' {{.}} javascript:alert(3)`
	w := c.create(`{"name":` + quote(evil) + `,"description":` + quote(evil) + `,"url":"http://127.0.0.1:9999/?q=%3Cscript%3E\u0026a='onclick='x","event_types":["a.b"],"condition":"data.a == '<script>alert(4)</script>'"}`)
	s := dead(w)
	s.LastError = evil
	c.fails(s)
	p := c.person().signIn(bootKey, "")
	for _, path := range []string{"/console/webhooks", "/console/webhooks/" + w.ID} {
		page := p.get(path)
		for _, never := range []string{"<script", "<img src=x", `href="javascript:`, "onclick='"} {
			if strings.Contains(page.html, never) {
				t.Errorf("%s holds %q", path, never)
			}
		}
		if !strings.Contains(page.text, evil) {
			t.Errorf("%s does not show the name as it is", path)
		}
	}
	if page := p.do("POST", "/console/sign-in", url.Values{"key": {evil}, "tenant": {evil}, "webhook": {evil}}); strings.Contains(page.html, "<script") {
		t.Error("the sign-in repeats what was typed, as it was typed")
	}
	if page := p.do("GET", "/console/"+url.PathEscape(evil), nil); page.status != 404 || strings.Contains(page.html, "<script") {
		t.Errorf("a path: %d %s", page.status, page.html)
	}
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestPagesOfTheList(t *testing.T) {
	t.Parallel()
	c := ready(t)
	p := c.person().signIn(bootKey, "")
	if s := p.get("/console/webhooks"); !strings.Contains(s.text, "There are none yet.") {
		t.Errorf("no webhooks: %s", s.text)
	}
	for i := range 27 {
		c.create(fmt.Sprintf(`{"name":"hook %02d","url":"http://127.0.0.1:1234","event_types":["*"]}`, i))
	}
	first := p.get("/console/webhooks")
	next := regexp.MustCompile(`href="(/console/webhooks\?cursor=[^"]+)"`).FindStringSubmatch(first.html)
	if !strings.Contains(first.text, "hook 24") || strings.Contains(first.text, "hook 25") || next == nil {
		t.Fatalf("the first page: %s", first.text)
	}
	second := p.get(html.UnescapeString(next[1]))
	if strings.Contains(second.text, "hook 24") || !strings.Contains(second.text, "hook 26") || strings.Contains(second.text, "Next page") {
		t.Errorf("the second page: %s", second.text)
	}
}

func TestPagesWithoutSQL(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldb.Config{PostgresURL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable&connect_timeout=1"})
	cfg.History = sqldb.Config{}
	c := start(t, cfg)
	p := c.person()
	p.get("/console/sign-in")
	s := p.do("POST", "/console/sign-in", url.Values{"key": {bootKey}})
	u, _ := url.Parse(p.base)
	p.client.Jar.SetCookies(u, []*http.Cookie{{Name: "doorstep_session", Value: strings.Repeat("A", 43), Path: "/"}})
	for path, s := range map[string]shown{"/console/sign-in": s, "/console/webhooks": p.do("GET", "/console/webhooks", nil)} {
		if s.status != 503 || !strings.HasPrefix(s.header.Get("Content-Type"), "text/html") || !strings.Contains(s.text, "The database cannot be reached yet; try again.") || s.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, s.status, s.text)
		}
	}
}
