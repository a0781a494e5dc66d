package console_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/services/console"
)

// featureIs turns the feature webhooks of acme on or off, and waits until it is so.
func (c *running) featureIs(said string, status int) {
	c.t.Helper()
	c.do(200, "PATCH", tenants+"/acme", `{"features":{"webhooks":`+said+`}}`)
	eventually(c.t, func() error {
		if a := c.as(bootKey, "GET", "/api/v1/webhooks", "", "Doorstep-Tenant", "acme"); a.status != status {
			return errors.New(a.text)
		}
		return nil
	})
}

func TestTheFeatureWebhooks(t *testing.T) {
	t.Parallel()
	c := ready(t)
	acme := []string{"Doorstep-Tenant", "acme"}
	c.do(201, "POST", tenants, `{"id":"acme"}`)
	w := c.create(minimal, acme...)
	own := c.ownKey("acme")
	p := c.person().signIn(own, "")
	c.featureIs("false", 403)

	for _, call := range [][2]string{
		{"GET", "webhooks"}, {"POST", "webhooks"}, {"GET", "webhooks/" + w.ID}, {"PATCH", "webhooks/" + w.ID}, {"DELETE", "webhooks/" + w.ID},
		{"POST", "webhooks/" + w.ID + "/pause"}, {"GET", "webhooks/" + uuid.NewString()}, {"POST", "deliveries/" + uuid.NewString() + "/resend"},
	} {
		a := c.as(bootKey, call[0], "/api/v1/"+call[1], minimal, acme...)
		if a.status != 403 || a.Code != "feature_disabled" || !strings.Contains(a.Detail, "the feature webhooks is off for the tenant acme") {
			t.Errorf("%s %s: %d %s", call[0], call[1], a.status, a.text)
		}
	}
	if s := p.do("GET", "/console/webhooks", nil); s.status != 403 || !strings.Contains(s.text, "The feature webhooks is off") {
		t.Errorf("the web console: %d %s", s.status, s.text)
	}
	if s := p.do("POST", "/console/webhooks/"+w.ID+"/pause", url.Values{"token": {p.token}}); s.status != 403 {
		t.Errorf("a button of the web console: %d", s.status)
	}
	// Everything else goes on, and so does everybody else.
	for _, path := range []string{"/me", "/tenants/acme", "/api-keys", "/administrators"} {
		if a := c.as(own, "GET", "/api/v1"+path, ""); a.status != 200 {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	c.do(200, "GET", "/api/v1/webhooks", "")
	c.do(202, "POST", "/api/v1/events", `{"type":"a.b"}`, acme...)

	c.featureIs("null", 200)
	if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "", acme...)); !got.Active || got.Paused || got.ID != w.ID {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestFeaturesAreThePlatforms(t *testing.T) {
	t.Parallel()
	c := ready(t)
	made := data[console.Tenant](t, c.do(201, "POST", tenants, `{"id":"acme","features":{"webhooks":false}}`))
	if made.Features.Webhooks {
		t.Errorf("made with %+v", made.Features)
	}
	own := c.ownKey("acme")
	for body, status := range map[string]int{
		`{"features":{"webhooks":true}}`: 403, `{"features":null}`: 403, `{"name":"Acme"}`: 200,
	} {
		if a := c.as(own, "PATCH", tenants+"/acme", body); a.status != status || status == 403 && !strings.Contains(a.Detail, "only a platform key may change features") {
			t.Errorf("%s: %s", body, a.text)
		}
	}
	if got := data[console.Tenant](t, c.do(200, "GET", tenants+"/acme", "")); got.Features.Webhooks || got.Name != "Acme" {
		t.Errorf("after its own patches: %+v", got)
	}
	for body, want := range map[string]string{
		`{"features":{"webhook":true}}`:     "features.webhook: is not a field of this",
		`{"features":{"webhooks":"off"}}`:   "features.webhooks: must be true or false, not string",
		`{"features":["webhooks"]}`:         "features: must be an object, not array",
		`{"features":{"webhooks":{"a":1}}}`: "features.webhooks: must be true or false, not object",
	} {
		if got := told(c.do(422, "PATCH", tenants+"/acme", body)); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if got := data[console.Tenant](t, c.do(200, "PATCH", tenants+"/acme", `{"features":{"webhooks":null}}`)); !got.Features.Webhooks {
		t.Errorf("turned on again: %+v", got)
	}
}
