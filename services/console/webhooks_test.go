package console_test

import (
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const minimal = `{"url":"http://127.0.0.1:9999/hook","event_types":["card.updated"]}`

func TestWebhookLife(t *testing.T) {
	t.Parallel()
	c := ready(t)
	made := c.create(`{"name":"Kaarten","description":"d","url":"https://127.0.0.1/a","event_types":["card.*","board.created"],
		"filters":{"eventUser":"545"},"headers":{"X-B":"2","X-A":"1"},"payload":{"format":"thin","exclude":["a.b"]},
		"retry_count":0,"timeout_seconds":7,"rate_limit":5,"max_in_flight":6,"external_reference":"r","metadata":{"k":"v"}}`)
	want := console.Webhook{
		ID: made.ID, Name: "Kaarten", Description: "d", URL: "https://127.0.0.1/a", Active: true,
		EventTypes: []string{"card.*", "board.created"}, Filters: map[string]string{"eventUser": "545"},
		Headers: map[string]string{"X-A": "1", "X-B": "2"}, Payload: console.Payload{Format: webhook.FormatThin, Exclude: []string{"a.b"}},
		TimeoutSeconds: 7, RateLimit: 5, MaxInFlight: 6, ExternalReference: "r", Metadata: map[string]string{"k": "v"},
		Secret: made.Secret, APIKeyID: made.APIKeyID, ThirdParty: true, CanSend: true, SuspendedCount: new(0), ConditionErrors: &console.ConditionErrors{},
		CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt,
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("created (-want +got):\n%s", d)
	}
	if _, err := signature.ParseSecret(made.Secret); err != nil || time.Since(made.CreatedAt) > time.Minute || made.APIKeyID == nil {
		t.Errorf("secret %v, created at %s by %v", err, made.CreatedAt, made.APIKeyID)
	}
	path := "/api/v1/webhooks/" + made.ID
	if got := data[console.Webhook](t, c.do(200, "GET", path, "")); !cmp.Equal(want, got) {
		t.Errorf("shown (-want +got):\n%s", cmp.Diff(want, got))
	}
	got := data[console.Webhook](t, c.do(200, "PATCH", path,
		`{"name":"new","filters":{"eventUser":null,"p":"66"},"timeout_seconds":null,"retry_count":null,"payload":{"exclude":null},"headers":null}`))
	want.Name, want.Filters, want.TimeoutSeconds, want.RetryCount = "new", map[string]string{"p": "66"}, 10, 3
	want.Payload.Exclude, want.Headers, want.Secret, want.UpdatedAt = []string{}, map[string]string{}, "", got.UpdatedAt
	if d := cmp.Diff(want, got); d != "" || !got.UpdatedAt.After(got.CreatedAt) {
		t.Errorf("patched, at %s (-want +got):\n%s", got.UpdatedAt, d)
	}
	c.do(204, "DELETE", path, "")
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if a := c.do(404, method, path, "{}"); a.Meta.RequestID != "" || !strings.HasPrefix(a.RequestID, "req_") {
			t.Errorf("%s of what is gone: %s", method, a.text)
		}
	}
}

func TestListsHaveNoSecretsAndComeInPages(t *testing.T) {
	t.Parallel()
	c := ready(t)
	secrets := []string{bootKey}
	for i := range 5 {
		w := c.create(fmt.Sprintf(`{"name":"w%d","url":"http://127.0.0.1:1234","event_types":["*"]}`, i))
		secrets = append(secrets, w.Secret)
	}
	var names []string
	cursor := ""
	for {
		a := c.do(200, "GET", "/api/v1/webhooks?limit=2&cursor="+cursor, "")
		if strings.Contains(a.text, "whsec_") || strings.Contains(a.text, "secret") {
			t.Errorf("a list holds a secret: %s", a.text)
		}
		for _, w := range data[[]console.Webhook](t, a) {
			names = append(names, w.Name)
		}
		if cursor = a.Meta.NextCursor; cursor == "" {
			break
		}
	}
	if d := cmp.Diff([]string{"w0", "w1", "w2", "w3", "w4"}, names); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
	secrets = append(secrets, c.key(`{"name":"k","scopes":["events"]}`).Key)
	c.as(secrets[1], "GET", "/api/v1/webhooks", "")
	c.stop()
	for _, secret := range secrets {
		for _, s := range []string{secret, strings.TrimPrefix(secret, "whsec_")} {
			if strings.Contains(c.log.String(), s) {
				t.Errorf("the log holds a secret or key")
			}
		}
	}
}

func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	c := ready(t)
	w := c.create(minimal)
	for name, tt := range map[string]struct {
		method, body string
		status       int
		fields       string // the fields at fault, with commas between them
	}{
		"nothing":              {"POST", ``, 422, "body"},
		"no object":            {"POST", `[]`, 422, "body"},
		"null":                 {"POST", `null`, 422, "body"},
		"not JSON":             {"POST", `{"url":`, 422, "body"},
		"two values":           {"POST", minimal + `{}`, 422, "body"},
		"empty":                {"POST", `{}`, 422, "event_types,url"},
		"unknown field":        {"POST", `{"url":"https://127.0.0.1","event_types":["a"],"colour":1,"Name":"x"}`, 422, "Name,colour"},
		"condition not CEL":    {"POST", `{"url":"https://127.0.0.1","event_types":["a"],"condition":"data.a >"}`, 422, "condition"},
		"condition not a bool": {"POST", `{"url":"https://127.0.0.1","event_types":["a"],"condition":"1 + 1"}`, 422, "condition"},
		"unknown null field":   {"PATCH", `{"colour":null}`, 422, "colour"},
		"unknown inner field":  {"PATCH", `{"payload":{"shape":"x"}}`, 422, "payload.shape"},
		"read-only field":      {"PATCH", `{"fail_streak":0}`, 422, "fail_streak"},
		"wrong type":           {"PATCH", `{"active":"yes"}`, 422, "active"},
		"wrong inner type":     {"PATCH", `{"payload":{"stringify":3}}`, 422, "payload.stringify"},
		"not a whole number":   {"PATCH", `{"retry_count":1.5}`, 422, "retry_count"},
		"limits":               {"PATCH", `{"retry_count":13,"timeout_seconds":31,"rate_limit":-1,"max_in_flight":999}`, 422, "max_in_flight,rate_limit,retry_count,timeout_seconds"},
		"timeout that flows":   {"PATCH", `{"timeout_seconds":9223372036854775807}`, 422, "timeout_seconds"},
		"a NUL":                {"PATCH", `{"name":"a\u0000b"}`, 422, "body"},
		"a reserved header":    {"PATCH", `{"headers":{"Webhook-Id":"x"}}`, 422, "headers[Webhook-Id]"},
		"an inner address":     {"PATCH", `{"url":"https://10.0.0.1/"}`, 422, "url"},
		"a numeric host":       {"PATCH", `{"url":"https://2130706433/"}`, 422, "url"},
		"everything at once":   {"POST", `{"url":"ftp://x","event_types":[],"secret":"whsec_YQ=="}`, 422, "event_types,secret,url"},
		"a secret of 23 bytes": {"POST", `{"url":"https://127.0.0.1","event_types":["a"],"secret":"whsec_` + strings.Repeat("YWJj", 7) + `YWI="}`, 422, "secret"},
		"a secret in a patch":  {"PATCH", `{"secret":"whsec_` + strings.Repeat("YWJj", 8) + `"}`, 422, "secret"},
		"url removed":          {"PATCH", `{"url":null}`, 422, "url"},
		"too large":            {"POST", `{"name":"` + strings.Repeat("x", 300<<10) + `"}`, 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/api/v1/webhooks"
			if tt.method == "PATCH" {
				path += "/" + w.ID
			}
			a := c.as(bootKey, tt.method, path, tt.body)
			var fields []string
			for _, f := range a.Errors {
				fields = append(fields, f.Field)
			}
			if a.status != tt.status || sorted(fields) != tt.fields {
				t.Errorf("%d, fields %q, want %d and %q: %s", a.status, sorted(fields), tt.status, tt.fields, a.text)
			}
			if ct := a.header.Get("Content-Type"); ct != "application/problem+json" || a.Status != tt.status || a.RequestID == "" {
				t.Errorf("problem of type %s: %s", ct, a.text)
			}
		})
	}
	if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); !cmp.Equal(w, got) {
		t.Errorf("refused patches changed it (-want +got):\n%s", cmp.Diff(w, got))
	}
	own := base64.StdEncoding.EncodeToString(make([]byte, 64))
	if got := c.create(`{"url":"https://127.0.0.1","event_types":["a"],"secret":"whsec_` + own + `"}`); got.Secret != "whsec_"+own {
		t.Error("a secret of 64 bytes was not kept")
	}
}

func TestChangesReachTheTopicWithinASecond(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		c := start(t, config(t, logBeside(t, db), db))
		c.awaitReady()
		changesReachTheTopic(t, c)
	})
}

// TestConsolesTakeOver: of two consoles one drains; the other goes on when it stops.
func TestConsolesTakeOver(t *testing.T) {
	t.Parallel()
	cfg := config(t, broker(t), sqldbtest.Postgres(t))
	cfg.Kafka.Embedded = false // one transactional id for both, as on a real cluster
	first := start(t, cfg)
	first.awaitReady()
	second := start(t, cfg)
	second.awaitReady()
	changesReachTheTopic(t, second)
	first.stop()
	changesReachTheTopic(t, second)
}

// TestSQLSessionsEnd ends all the console's sessions, as a restart of the server does.
func TestSQLSessionsEnd(t *testing.T) {
	t.Parallel()
	cfg := config(t, broker(t), sqldbtest.Postgres(t))
	server, err := sql.Open("pgx", cfg.SQL.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	cfg.SQL.PostgresURL += "&application_name=" + t.Name()
	c := start(t, cfg)
	c.awaitReady()
	changesReachTheTopic(t, c)
	if _, err := server.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", t.Name()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := c.as(bootKey, "GET", "/api/v1/webhooks", ""); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	changesReachTheTopic(t, c)
}

// changesReachTheTopic: each does, and the fastest within the second that is promised: a machine with much to do makes any of
// them late.
func changesReachTheTopic(t *testing.T, c *running) {
	t.Helper()
	image := images(t, c)
	fastest := patience
	reaches := func(is func() error) {
		t.Helper()
		began := time.Now()
		eventually(t, is)
		fastest = min(fastest, time.Since(began))
	}
	w := c.create(minimal)
	reaches(func() error {
		got, ok := image.Get(w.ID)
		if !ok || got.Version != 1 || got.Generation != 1 || got.Tenant != "default" || len(got.SigningKeys) != 1 {
			return fmt.Errorf("created: %t %+v", ok, got)
		}
		return nil
	})
	c.do(200, "PATCH", "/api/v1/webhooks/"+w.ID, `{"active":false}`)
	reaches(func() error {
		if got, _ := image.Get(w.ID); got.Active || got.Version != 2 {
			return fmt.Errorf("changed: %+v", got)
		}
		return nil
	})
	c.do(204, "DELETE", "/api/v1/webhooks/"+w.ID, "")
	reaches(func() error {
		if _, ok := image.Get(w.ID); ok {
			return errors.New("deleted, but still there")
		}
		return nil
	})
	if fastest > time.Second {
		t.Errorf("of 3 changes, the fastest reached the topic after %s", fastest)
	}
}

func TestRestartRepublishes(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	w := c.create(minimal)
	k := c.key(`{"name":"k","scopes":["events"]}`)
	c.stop()
	// Another log, empty: everything that SQL holds must come to stand in it.
	again := start(t, config(t, broker(t), c.cfg.SQL))
	again.awaitReady()
	names := topics(t, again.cfg.Kafka)
	got := records(t, again.cfg.Kafka, names.Webhooks, func(rs []*kgo.Record) bool { return len(rs) > 0 })
	if read, gone, err := wire.ReadWebhook(got[0]); err != nil || gone || read.ID != w.ID {
		t.Errorf("republished: %+v, %t, %v", read, gone, err)
	}
	keys := map[string]bool{}
	records(t, again.cfg.Kafka, names.Settings, func(rs []*kgo.Record) bool {
		for _, r := range rs {
			keys[string(r.Key)] = true
		}
		return len(keys) >= 3
	})
	if !keys["tenant/default"] || !keys["api_key/"+k.ID] {
		t.Errorf("settings republished: %v", keys)
	}
}

func TestStateAndReactivation(t *testing.T) {
	t.Parallel()
	c := readyOn(t, broker(t))
	w := c.create(minimal)
	path := "/api/v1/webhooks/" + w.ID
	// Merely inactive: its owner may activate it again.
	c.do(200, "PATCH", path, `{"active":false}`)
	c.do(200, "PATCH", path, `{"active":true}`)
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	record, err := wire.State(topics(t, c.cfg.Kafka).States, failure.State{
		WebhookID: w.ID, Tenant: "default", Generation: 1, Version: 7, FailStreak: 500, FailStreakStartedAt: at, LastFailedAt: at.Add(time.Hour),
		LastFailureAt: at.Add(time.Hour), LastSuccessAt: at.Add(-time.Hour), FailureCount: 501, Disabled: true, DisabledAt: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := newClient(t, c.cfg.Kafka).ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		got := data[console.Webhook](t, c.do(200, "GET", path, ""))
		if got.CanSend || !got.Active || got.FailStreak != 500 || got.FailureCount != 501 || got.LastTriggeredAt == nil ||
			!got.LastTriggeredAt.Equal(at.Add(time.Hour)) || !got.LastSuccessAt.Equal(at.Add(-time.Hour)) {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	c.do(409, "PATCH", path, `{"active":true}`)
	c.do(200, "PATCH", path, `{"active":false}`)
	a := c.do(409, "PATCH", path, `{"active":true,"name":"x"}`)
	if !strings.Contains(a.Detail, "500 failed attempts") {
		t.Errorf("detail: %s", a.Detail)
	}
	if got := data[console.Webhook](t, c.do(200, "PATCH", path, `{"name":"y"}`)); got.Name != "y" || got.Active {
		t.Errorf("patched meanwhile: %+v", got)
	}
}
