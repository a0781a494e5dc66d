package console_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/services/console"
)

// images follows the webhooks of a console's log, as senders do.
func images(t *testing.T, c *running) *registry.Webhooks {
	t.Helper()
	image, err := registry.NewWebhooks(c.cfg.Kafka, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = image.Run(t.Context()) }()
	<-image.Ready()
	return image
}

// keysOf waits until senders have the webhook's n-th version, and tells its keys: their scheme, their secret
// as the API tells it, and for how long they sign from then on, to the minute.
func keysOf(t *testing.T, image *registry.Webhooks, id string, version uint64) (keys []string) {
	t.Helper()
	var w webhook.Webhook
	eventually(t, func() error {
		if w, _ = image.Get(id); w.Version != version {
			return fmt.Errorf("senders have version %d, want %d", w.Version, version)
		}
		return nil
	})
	for _, k := range w.SigningKeys {
		s, err := signature.SecretOf(signature.Scheme(k.Scheme), k.Secret.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		text := s.Text()
		if public, ok := s.Public(); ok {
			text = public.Text()
		}
		until := "on"
		if !k.ExpiresAt.IsZero() {
			until = k.ExpiresAt.Sub(w.UpdatedAt).String()
		}
		keys = append(keys, string(k.Scheme)+" "+text+" "+until)
	}
	return keys
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	image := images(t, c)
	made := c.create(minimal)
	path := "/api/v1/webhooks/" + made.ID
	want := func(version uint64, keys ...string) {
		t.Helper()
		if got := keysOf(t, image, made.ID, version); fmt.Sprint(got) != fmt.Sprint(keys) {
			t.Errorf("keys of version %d:\n%s\nwant\n%s", version, strings.Join(got, "\n"), strings.Join(keys, "\n"))
		}
	}
	if made.PublicKey != nil {
		t.Errorf("a public key without a pair: %s", *made.PublicKey)
	}
	want(1, "v1 "+made.Secret+" on")

	// Without a body: a new secret, a day's overlap. The new one is shown from then on.
	second := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", ""))
	if second.Secret == made.Secret || !strings.HasPrefix(second.Secret, "whsec_") || !second.UpdatedAt.After(made.UpdatedAt) {
		t.Errorf("rotated: %s, updated at %s", second.Secret, second.UpdatedAt)
	}
	if got := data[console.Webhook](t, c.do(200, "GET", path, "")); got.Secret != second.Secret {
		t.Error("not the newest secret is shown")
	}
	want(2, "v1 "+second.Secret+" on", "v1 "+made.Secret+" 24h0m0s")

	// A secret of the caller's, and a shorter overlap, which the one before keeps to as well.
	own := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 24)))
	third := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", `{"secret":"`+own+`","overlap_seconds":60}`))
	if third.Secret != own {
		t.Error("the secret that was given is not the webhook's")
	}
	want(3, "v1 "+own+" on", "v1 "+second.Secret+" 1m0s", "v1 "+made.Secret+" 1m0s")

	// A key pair, made by a rotation, replaced, and replaced at once.
	var pairs []console.Webhook
	for _, body := range []string{`{"scheme":"v1a"}`, `{"scheme":"v1a","overlap_seconds":3600}`} {
		pairs = append(pairs, data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", body)))
	}
	if pairs[0].PublicKey == nil || pairs[1].PublicKey == nil || *pairs[0].PublicKey == *pairs[1].PublicKey || pairs[1].Secret != own {
		t.Fatalf("pairs: %+v", pairs)
	}
	keys := keysOf(t, image, made.ID, 5)
	if len(keys) != 5 || keys[3] != "v1a "+*pairs[1].PublicKey+" on" || keys[4] != "v1a "+*pairs[0].PublicKey+" 1h0m0s" {
		t.Errorf("keys: %s", strings.Join(keys, "\n"))
	}
	if listed := data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks", "")); listed[0].Secret != "" || *listed[0].PublicKey != *pairs[1].PublicKey {
		t.Errorf("listed: %+v", listed)
	}
	last := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", `{"overlap_seconds":0}`))
	c.do(200, "PATCH", path, `{"key_pair":false,"name":"x"}`)
	want(7, "v1 "+last.Secret+" on")

	c.stop()
	for _, text := range []string{made.Secret, second.Secret, own, last.Secret} {
		if strings.Contains(c.log.String(), strings.TrimPrefix(text, "whsec_")) {
			t.Error("the log holds a secret")
		}
	}
	if !strings.Contains(c.log.String(), `"msg":"secret rotated","webhook":"`+made.ID+`","scheme":"v1"`) {
		t.Error("the log does not tell of the rotation")
	}
}

func TestKeyPair(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	image := images(t, c)
	made := c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"key_pair":true}`)
	path := "/api/v1/webhooks/" + made.ID
	if made.PublicKey == nil || !strings.HasPrefix(*made.PublicKey, "whpk_") {
		t.Fatalf("made with a key pair: %+v", made)
	}
	if got, want := keysOf(t, image, made.ID, 1), []string{"v1 " + made.Secret + " on", "v1a " + *made.PublicKey + " on"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	public := func(body string) string {
		t.Helper()
		w := data[console.Webhook](t, c.do(200, "PATCH", path, body))
		if w.PublicKey == nil {
			return "none"
		}
		return *w.PublicKey
	}
	// What does not speak of it leaves it, and true makes none where one is.
	for _, body := range []string{`{"name":"a"}`, `{"key_pair":true}`} {
		if got := public(body); got != *made.PublicKey {
			t.Errorf("%s made it %s", body, got)
		}
	}
	for _, body := range []string{`{"key_pair":false}`, `{"key_pair":null}`, `{"name":"b"}`} {
		if got := public(body); got != "none" {
			t.Errorf("%s left %s", body, got)
		}
	}
	if got := public(`{"key_pair":true}`); got == "none" || got == *made.PublicKey {
		t.Errorf("made again it is %s", got)
	}
}

func TestRotateSecretFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	made := c.create(minimal)
	path := "/api/v1/webhooks/" + made.ID
	second := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", ""))
	for name, tt := range map[string]struct {
		path, body string
		status     int
		fault      string // field: what the message holds
	}{
		"current secret":   {path, `{"secret":"` + second.Secret + `"}`, 422, "secret: is the webhook's secret already"},
		"former secret":    {path, `{"secret":"` + made.Secret + `"}`, 422, "secret: is a former secret of the webhook"},
		"too short":        {path, `{"secret":"whsec_YQ=="}`, 422, "secret: must be whsec_ and base64 of 24 to 64 random bytes"},
		"too long overlap": {path, `{"overlap_seconds":604801}`, 422, "overlap_seconds: must be 0 to 604800"},
		"another scheme":   {path, `{"scheme":"v3"}`, 422, "scheme: must be v1 (the secret) or v1a"},
		"another field":    {path, `{"overlap":1}`, 422, "overlap: is not a field of this"},
		"not there":        {"/api/v1/webhooks/00000000-0000-0000-0000-000000000000", ``, 404, ""},
		"no id":            {"/api/v1/webhooks/x", ``, 404, ""},
		"too large":        {path, `{"secret":"` + strings.Repeat("x", 300<<10) + `"}`, 413, ""},
	} {
		a := c.as(bootKey, "POST", tt.path+"/rotate-secret", tt.body)
		got := ""
		for _, f := range a.Errors {
			got += f.Field + ": " + f.Message
		}
		if a.status != tt.status || !strings.HasPrefix(got, tt.fault) {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.text, tt.status, tt.fault)
		}
		if strings.Contains(a.text, second.Secret[6:]) || strings.Contains(a.text, made.Secret[6:]) {
			t.Errorf("%s: the answer repeats a secret: %s", name, a.text)
		}
	}
	if a := c.as(bootKey, "PATCH", path, `{"public_key":"x"}`); a.status != 422 || !strings.Contains(a.text, "is read-only") {
		t.Errorf("public_key patched: %d %s", a.status, a.text)
	}
	reader := c.key(`{"name":"r","scopes":["webhooks:read","deliveries"]}`).Key
	if a := c.as(reader, "POST", path+"/rotate-secret", ""); a.status != 403 {
		t.Errorf("rotated by a reader: %d %s", a.status, a.text)
	}
	if a := c.as(bootKey, "POST", path+"/rotate-secret", "", "Doorstep-Tenant", "other"); a.status != 404 {
		t.Errorf("rotated by another tenant: %d %s", a.status, a.text)
	}
	if got := data[console.Webhook](t, c.do(200, "GET", path, "")); got.Secret != second.Secret || !got.UpdatedAt.Equal(second.UpdatedAt) {
		t.Error("refused rotations changed the webhook")
	}
}

// TestRotationsAtOnce: each of them comes about, one after the other, and none is lost.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		c := start(t, config(t, logBeside(t, db), db))
		c.awaitReady()
		image := images(t, c)
		made := c.create(minimal)
		answers := make([]answer, 3)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = c.as(bootKey, "POST", "/api/v1/webhooks/"+made.ID+"/rotate-secret", "") })
		}
		wg.Wait()
		secrets := map[string]bool{made.Secret: true}
		for _, a := range answers {
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.text)
			}
			secrets[data[console.Webhook](t, a).Secret] = true
		}
		for _, k := range keysOf(t, image, made.ID, 4) {
			delete(secrets, strings.Fields(k)[1])
		}
		if len(secrets) > 0 {
			t.Errorf("%d secrets do not sign", len(secrets))
		}
		end := time.Now().Add(24 * time.Hour)
		w, _ := image.Get(made.ID)
		for i, k := range w.SigningKeys {
			if left := end.Sub(k.ExpiresAt).Abs(); i == 0 != k.ExpiresAt.IsZero() || i > 0 && left > time.Minute {
				t.Errorf("key %d ends at %s", i, k.ExpiresAt)
			}
		}
	})
}
