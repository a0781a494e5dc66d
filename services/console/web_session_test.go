package console_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	own := c.key(`{"name":"acme's","scopes":["webhooks:read"]}`, "Doorstep-Tenant", "acme")
	blind := c.key(`{"name":"blind","scopes":["events","deliveries","admin"]}`)
	old := c.expiredKey()
	const list, wrong = "/console/webhooks", "The API key is not known or has expired."
	for name, tt := range map[string]struct {
		key, of, webhook string
		status           int
		to, fault        string
	}{
		"a platform key":                    {bootKey, "", "", 303, list, ""},
		"a platform key, a tenant":          {bootKey, " acme ", "", 303, list, ""},
		"a platform key, to a webhook":      {bootKey, "", w.ID, 303, list + "/" + w.ID, ""},
		"a tenant's key":                    {own.Key, "", "", 303, list, ""},
		"a tenant's key, its tenant":        {own.Key, "acme", "", 303, list, ""},
		"with spaces around":                {" " + own.Key + "\r\n", "", "", 303, list, ""},
		"no key":                            {"", "", "", 401, "", wrong},
		"a key that nobody has":             {"dsk_wrong", "", "", 401, "", wrong},
		"an expired key":                    {old, "", "", 401, "", wrong},
		"a key that is none":                {strings.Repeat("x", 3000), "", "", 401, "", wrong},
		"a tenant's key, another tenant":    {own.Key, "default", "", 403, "", "The API key belongs to another tenant."},
		"a platform key, no such tenant":    {bootKey, "nobody", "", 422, "", "There is no such tenant."},
		"a platform key, no tenant's name":  {bootKey, "<b>", "", 422, "", "There is no such tenant."},
		"a key that may not look":           {blind.Key, "", "", 403, "", "The API key does not have the scope webhooks:read."},
		"to another site":                   {bootKey, "", "https://evil.example.com/", 303, list, ""},
		"to another site, without scheme":   {bootKey, "", "//evil.example.com/", 303, list, ""},
		"to another site, with backslashes": {bootKey, "", `\\evil.example.com`, 303, list, ""},
		"to another path":                   {bootKey, "", "../../api", 303, list, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.person()
			s := p.do("POST", "/console/sign-in", url.Values{"key": {tt.key}, "tenant": {tt.of}, "webhook": {tt.webhook}})
			if s.status != tt.status || s.header.Get("Location") != tt.to || !strings.Contains(s.text, tt.fault) {
				t.Errorf("%d to %q, want %d to %q with %q: %s", s.status, s.header.Get("Location"), tt.status, tt.to, tt.fault, s.text)
			}
			if in := p.sessionCookie() != ""; in != (tt.status == 303) {
				t.Errorf("signed in: %t", in)
			}
			if tt.key != "" && tt.status != 303 && strings.Contains(s.text, tt.key) {
				t.Error("the page repeats the key")
			}
		})
	}
	if c.stop(); strings.Contains(c.log.String(), bootKey) || strings.Contains(c.log.String(), own.Key) {
		t.Error("the log holds a key")
	}
}

// TestGuessing: whoever tries many keys is slowed down, and so is everybody else meanwhile.
func TestGuessing(t *testing.T) {
	t.Parallel()
	c := ready(t)
	p := c.person()
	statuses := map[int]int{}
	for i := 0; statuses[429] == 0 && i < 5000; i++ {
		statuses[p.do("POST", "/console/sign-in", url.Values{"key": {fmt.Sprintf("dsk_%d", i)}}).status]++
	}
	if statuses[401] < 100 || statuses[429] != 1 || len(statuses) != 2 {
		t.Errorf("wrong keys, one after another: %v", statuses)
	}
	eventually(t, func() error {
		if s := p.do("POST", "/console/sign-in", url.Values{"key": {bootKey}}); s.status != 303 {
			return fmt.Errorf("%d %s", s.status, s.text)
		}
		return nil
	})
}

// expiredKey is a key that was good until a moment ago.
func (c *running) expiredKey() string {
	c.t.Helper()
	key := "dsk_expired_0123456789abcdef"
	_, err := openStore(c.t, c.cfg.SQL).CreateAPIKey(c.t.Context(), sqlstoretest.By(), tenant.APIKey{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: "default", Name: "old", Prefix: auth.Prefix(key), Hash: auth.Hash(key),
		Scopes: tenant.Scopes(), CreatedAt: time.Now().Add(-time.Hour), ExpiresAt: time.Now().Add(-time.Second),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

func TestCookies(t *testing.T) {
	t.Parallel()
	for public, secure := range map[string]bool{"": false, "http://hooks.example.com": false, "https://hooks.example.com": true} {
		cfg := config(t, ownLog(t), sqldbtest.Any(t))
		cfg.PublicURL = public
		c := start(t, cfg)
		c.awaitReady()
		s := c.person().do("POST", "/console/sign-in", url.Values{"key": {bootKey}})
		cookie := s.header.Get("Set-Cookie")
		for attribute, want := range map[string]bool{"HttpOnly": true, "SameSite=Lax": true, "Path=/;": true, "Max-Age=43200": true, "Secure": secure} {
			if strings.Contains(cookie+";", attribute) != want {
				t.Errorf("console at %q: %s %t expected in %s", public, attribute, want, cookie)
			}
		}
		c.stop()
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	c := ready(t)
	store := openStore(t, c.cfg.SQL)
	hasEnded := func(why string, p *person) {
		t.Helper()
		s := p.do("GET", "/console/webhooks", nil)
		if s.status != 303 || s.header.Get("Location") != "/console/sign-in" {
			t.Errorf("%s: %d %s", why, s.status, s.text)
		}
		if s := p.get("/console/sign-in"); !strings.Contains(s.text, "Your session has ended.") {
			t.Errorf("%s: the sign-in does not say so", why)
		}
		if s := p.get("/console/sign-in"); strings.Contains(s.text, "Your session has ended.") {
			t.Errorf("%s: it is told twice", why)
		}
	}
	setCookie := func(p *person, value string) {
		u, _ := url.Parse(p.base)
		p.client.Jar.SetCookies(u, []*http.Cookie{{Name: "doorstep_session", Value: value, Path: "/"}})
	}

	// Its time is over. Sessions that are over go when somebody signs in.
	token, now := make([]byte, 32), time.Now()
	row := sqlstore.Session{ID: sha256.Sum256(token), KeyHash: auth.Hash(bootKey), Tenant: "default", CreatedAt: now.Add(-13 * time.Hour), ExpiresAt: now.Add(-time.Hour)}
	if err := store.CreateSession(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	p := c.person()
	setCookie(p, base64.RawURLEncoding.EncodeToString(token))
	hasEnded("expired", p)
	p.signIn(bootKey, "")
	if _, err := store.Session(t.Context(), row.ID, now.Add(-2*time.Hour)); err == nil {
		t.Error("the expired session is still stored")
	}

	// A session is stored as a hash only, and a new sign-in ends the one before.
	first := p.sessionCookie()
	p.signIn(bootKey, "")
	again := c.person()
	setCookie(again, first)
	hasEnded("replaced", again)
	raw, _ := base64.RawURLEncoding.DecodeString(p.sessionCookie())
	if got, err := store.Session(t.Context(), sha256.Sum256(raw), now); err != nil || got.Tenant != "default" || got.ExpiresAt.Sub(got.CreatedAt) != 12*time.Hour {
		t.Errorf("the session's row: %+v, %v", got, err)
	}

	// Signed out: what someone has kept of it is worth nothing.
	kept := p.sessionCookie()
	p.get("/console/webhooks")
	if s := p.press("/console/sign-out"); !strings.Contains(s.text, "You are signed out.") || p.sessionCookie() != "" {
		t.Errorf("signed out: %s", s.text)
	}
	setCookie(p, kept)
	hasEnded("signed out", p)

	// Its key is gone.
	key := c.key(`{"name":"k","scopes":["webhooks"]}`)
	p.signIn(key.Key, "")
	c.do(204, "DELETE", "/api/v1/api-keys/"+key.ID, "")
	hasEnded("its key is deleted", p)

	// It never was one.
	for _, forged := range []string{"x", strings.Repeat("A", 43), strings.Repeat("A", 3000), first + "A"} {
		setCookie(p, forged)
		hasEnded("forged", p)
	}
}
