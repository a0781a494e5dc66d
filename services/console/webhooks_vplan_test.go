package console_test

import (
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/services/console"
)

// Lengths are in characters, as vPlan gives them, through the API and back.
func TestLengthsAreInCharacters(t *testing.T) {
	t.Parallel()
	c := ready(t)
	const host = "https://127.0.0.1/"
	url := func(n int) string { return host + strings.Repeat("ä", n-len(host)) }
	text := func(n int) string { return strings.Repeat("€", n) }
	body := func(url, description string) string {
		return `{"url":"` + url + `","description":"` + description + `","event_types":["a"]}`
	}
	w := c.create(body(url(512), text(150)))
	if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); got.URL != url(512) || got.Description != text(150) {
		t.Errorf("shown as %q, %q", got.URL, got.Description)
	}
	for name, tt := range map[string][2]string{
		"url: has 513 characters, the limit is 512":         {url(513), text(150)},
		"description: has 151 characters, the limit is 150": {url(512), text(151)},
	} {
		if got := told(c.do(422, "POST", "/api/v1/webhooks", body(tt[0], tt[1]))); got != name {
			t.Errorf("told %s, want %s", got, name)
		}
	}
}

// Who made a webhook: an API key, with the application that it was given to, and /me tells which key that is.
func TestWhoMadeIt(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for name, tt := range map[string]struct{ client, want string }{
		"with an API key": {"", "null"}, "over OAuth": {"app-7", `"app-7"`},
	} {
		key := c.key(`{"name":"k","scopes":["webhooks"],"developer_client_id":"` + tt.client + `"}`)
		me := c.as(key.Key, "GET", "/api/v1/me", "")
		made := c.as(key.Key, "POST", "/api/v1/webhooks", minimal)
		want := `api_key_id="` + key.ID + `" developer_client_id=` + tt.want
		if got := fields(t, me, "api_key_id", "developer_client_id"); got != want {
			t.Errorf("%s: me: %s, want %s", name, got, want)
		}
		if got := fields(t, made, "api_key_id", "developer_client_id", "third_party"); got != want+" third_party=true" {
			t.Errorf("%s: the webhook: %s", name, got)
		}
	}
}

// Reserved headers are refused each by its name, and Authorization is the caller's.
func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	c := ready(t)
	for _, name := range []string{
		"Host", "host", "Content-Type", "Content-Length", "Content-Encoding", "Webhook-Id", "webhook-signature", "Doorstep-Event-Type",
		"Connection", "Transfer-Encoding", "Upgrade", "User-Agent", "Content-Anything",
	} {
		got := told(c.do(422, "POST", "/api/v1/webhooks", `{"url":"https://127.0.0.1","event_types":["a"],"headers":{"`+name+`":"x","X-Mine":"y"}}`))
		if want := "headers[" + name + "]: is set by Doorstep or by HTTP and cannot be changed"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	c.create(`{"url":"https://127.0.0.1","event_types":["a"],"headers":{"Authorization":"Bearer mine","X-Mine":"y","Accept":"*/*"}}`)
}
