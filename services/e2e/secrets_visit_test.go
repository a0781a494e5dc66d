package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// visit signs in to the web console, well and badly, looks at its pages and presses its buttons.
func (d *driven) visit() {
	d.t.Helper()
	p, id := d.p, d.hooks["ok"].ID
	client, page := d.visitor()
	page("GET", "sign-in", nil)
	page("POST", "sign-in", url.Values{"key": {p.wrongKey}, "tenant": {p.misuse}})
	page("POST", "sign-in", url.Values{"key": {p.platformKey}, "tenant": {"T " + strings.ToLower(p.misuse)}})
	page("POST", "sign-in", url.Values{"key": {p.wrongKey}, "webhook": {p.misuse}})
	page("GET", "sign-in?webhook="+p.misuse, nil)
	page("GET", p.misuse, nil)
	page("POST", "sign-in", url.Values{"key": {p.platformKey}, "webhook": {id}})
	at, err := url.Parse(d.url + "/console/")
	if err != nil {
		d.t.Fatal(err)
	}
	cookies := client.Jar.Cookies(at)
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == "doorstep_session" })
	if i < 0 {
		d.t.Fatalf("nobody has signed in: %v", cookies)
	}
	p.know("session", cookies[i].Value, permit{"page/POST sign-in", "the browser is given it once"})
	page("GET", "webhooks", nil)
	page("GET", "webhooks?cursor="+p.misuse, nil)
	shown := page("GET", "webhooks/"+id, nil)
	for _, h := range d.hooks {
		page("GET", "webhooks/"+h.ID, nil)
	}
	token := formToken.FindStringSubmatch(shown)
	if token == nil {
		d.t.Fatalf("no form on the page: %s", shown)
	}
	for _, values := range []url.Values{{"token": {p.misuse}}, {"token": {token[1]}, "from": {p.misuse}, "event_types": {p.misuse}}} {
		page("POST", "webhooks/"+id+"/release", values)
	}
	page("POST", "webhooks/"+id+"/pause", url.Values{"token": {token[1]}})
	page("POST", "webhooks/"+id+"/resume", url.Values{"token": {token[1]}})
	for _, path := range []string{"activate", "deactivate", "activate"} {
		page("POST", "webhooks/"+d.hooks["cloud"].ID+"/"+path, url.Values{"token": {token[1]}})
	}
	client.Jar.SetCookies(at, []*http.Cookie{{Name: "doorstep_session", Value: p.wrongSession, Path: "/"}})
	page("GET", "webhooks/"+id, nil)
	page("POST", "sign-out", url.Values{"token": {token[1]}})
}

// outcomes waits until every attempt has ended as it must, and mails are sent.
func (d *driven) outcomes(events map[string]string) {
	d.t.Helper()
	for hook, code := range map[string]string{
		"refused": "connect", "hangs": "timeout", "no TLS": "tls", "no HTTP": "protocol", "leads": "redirect", "no name": "dns", "repeats": "status", "ok": "",
	} {
		testkit.Eventually(d.t, patience, func() error {
			var listed []recorded
			if status := d.api(http.MethodGet, "deliveries?filter[webhook_id]="+d.hooks[hook].ID, nil, &listed); status != http.StatusOK || len(listed) == 0 {
				return fmt.Errorf("%s: %d, %d deliveries", hook, status, len(listed))
			}
			var one struct {
				Attempts []struct {
					Code string `json:"error_code"`
				}
			}
			d.api(http.MethodGet, "deliveries/"+listed[0].ID, nil, &one)
			if len(one.Attempts) == 0 || !strings.HasPrefix(one.Attempts[0].Code, code) || code == "" && one.Attempts[0].Code != "" {
				return fmt.Errorf("%s: %+v, want %s", hook, one, code)
			}
			return nil
		})
	}
	testkit.Eventually(d.t, patience, func() error {
		if n := len(d.mails.received()); n < 2 {
			return fmt.Errorf("%d mails", n)
		}
		var mails []mailed
		if status := d.api(http.MethodGet, "mails", nil, &mails); status != http.StatusOK || len(mails) < 2 {
			return fmt.Errorf("%d, %d mails are listed", status, len(mails))
		}
		d.api(http.MethodGet, "mails/"+mails[0].ID, nil, nil)
		return nil
	})
	testkit.Eventually(d.t, patience, func() error {
		var e json.RawMessage
		if status := d.api(http.MethodGet, "events/"+events["judged.now"], nil, &e); status != http.StatusOK || !strings.Contains(string(e), "condition_error") {
			return fmt.Errorf("%d: the condition that fails: %s", status, e)
		}
		return nil
	})
}

// keep suspends, releases, discards, sends again and rotates.
func (d *driven) keep() {
	d.t.Helper()
	kept, ok := d.hooks["kept"].ID, d.hooks["ok"].ID
	d.must(http.StatusOK, http.MethodPost, "webhooks/"+kept+"/pause", nil, nil)
	d.inForce()
	ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", "Bearer "+d.key)
	for range 2 {
		if _, err := pb.NewIngestServiceClient(d.grpc).Publish(ctx, &pb.PublishRequest{Event: &pb.Event{Type: "kept.now", Data: fmt.Appendf(nil, "%q", d.p.data)}}); err != nil {
			d.t.Fatal(err)
		}
	}
	d.suspended(kept, 2)
	d.must(http.StatusAccepted, http.MethodPost, "webhooks/"+kept+"/discard", map[string]any{}, nil)
	d.suspended(kept, 0)
	d.must(http.StatusOK, http.MethodPost, "webhooks/"+kept+"/resume", nil, nil)

	var rotated hook
	d.must(http.StatusOK, http.MethodPost, "webhooks/"+ok+"/rotate-secret", nil, &rotated)
	d.secretOf(rotated)
	d.must(http.StatusOK, http.MethodPost, "webhooks/"+ok+"/rotate-secret", map[string]any{"scheme": "v1a"}, nil)
	d.must(http.StatusOK, http.MethodPatch, "webhooks/"+ok, map[string]any{"description": "changed"}, nil)
	var listed []recorded
	d.must(http.StatusOK, http.MethodGet, "deliveries?filter[webhook_id]="+ok, nil, &listed)
	d.must(http.StatusAccepted, http.MethodPost, "deliveries/"+listed[0].ID+"/resend", nil, nil)
}

// suspended waits until so many deliveries of a webhook are suspended.
func (d *driven) suspended(id string, n int) {
	d.t.Helper()
	testkit.Eventually(d.t, patience, func() error {
		var is struct {
			Suspended *int `json:"suspended_count"`
		}
		if d.api(http.MethodGet, "webhooks/"+id, nil, &is); is.Suspended == nil || *is.Suspended != n {
			return fmt.Errorf("suspended: %v, want %d", is.Suspended, n)
		}
		return nil
	})
}

// storesAway takes each store away that is behind a proxy, asks for what needs it, and gives it back.
func (d *driven) storesAway() {
	d.t.Helper()
	ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", "Bearer "+d.key)
	for _, proxy := range d.proxy {
		proxy.Cut()
		for range 3 {
			_, _ = pb.NewIngestServiceClient(d.grpc).Publish(ctx, &pb.PublishRequest{Event: &pb.Event{Type: "echo.now", Id: random(), Data: fmt.Appendf(nil, "%q", d.p.echoed)}})
		}
		for _, path := range []string{"webhooks", "deliveries", "api-keys", "mails", "events"} {
			d.api(http.MethodGet, path, nil, nil)
		}
		d.api(http.MethodPost, "webhooks", map[string]any{"url": d.p.target(d.receiver.URL, "/ok"), "event_types": []string{"never"}, "headers": d.p.headers(), "secret": d.p.signingSecret}, nil)
		_, page := d.visitor()
		page("POST", "sign-in", url.Values{"key": {d.p.platformKey}})
		proxy.Heal()
	}
	testkit.Eventually(d.t, patience, func() error {
		for _, path := range []string{"webhooks", "deliveries"} { // each of its own tables
			if status := d.api(http.MethodGet, path, nil, nil); status != http.StatusOK {
				return fmt.Errorf("%s: %d", path, status)
			}
		}
		return nil
	})
}

// look reads everything that can be read, with the key that may only read as well.
func (d *driven) look(events map[string]string) {
	d.t.Helper()
	d.must(http.StatusOK, http.MethodGet, "webhooks/"+d.hooks["ok"].ID, nil, nil)
	var listed []recorded
	d.must(http.StatusOK, http.MethodGet, "deliveries?limit=200", nil, &listed)
	paths := []string{"webhooks", "jobs", "me", "deliveries", "events", "events?filter[external_reference]=" + d.p.reference}
	for _, l := range listed {
		paths = append(paths, "deliveries/"+l.ID, "deliveries/"+l.ID+"/payload")
	}
	for _, id := range events {
		paths = append(paths, "events/"+id)
	}
	for _, path := range paths {
		d.do(request{method: http.MethodGet, path: path, key: d.readOnly})
	}
	for _, h := range d.hooks {
		status, answer := d.do(request{method: http.MethodGet, path: "webhooks/" + h.ID, key: d.readOnly})
		if status != http.StatusOK {
			d.t.Errorf("webhook with the key that may only read: %d", status)
		}
		d.note("read-only/webhooks.{id}", answer)
	}
	for _, path := range []string{"administrators", "api-keys", "mails", "tenants", "audit", "audit-log", "audit-log?platform=true"} {
		d.api(http.MethodGet, path, nil, nil)
		d.do(request{method: http.MethodGet, path: path, key: d.readOnly}) // which may not
	}
}
