package console_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// sealedBy are settings with keys of those ids, always the same for one id.
func sealedBy(ids ...string) credentials.SealingKeys {
	var s credentials.SealingKeys
	for _, id := range ids {
		raw := []byte(strings.Repeat(id, 32))[:32]
		s.Keys += id + ":" + base64.StdEncoding.EncodeToString(raw) + ","
	}
	return s
}

// house is a log and a database that consoles with one setting and another open one after another.
type house struct {
	t   *testing.T
	cfg console.Config
}

func newHouse(t *testing.T, sql sqldb.Config) *house {
	return &house{t, config(t, logBeside(t, sql), sql)}
}

// open starts a console with these sealing keys and waits until it is ready.
func (h *house) open(ids ...string) *running {
	h.t.Helper()
	h.cfg.Sealing = sealedBy(ids...)
	c := start(h.t, h.cfg)
	c.awaitReady()
	return c
}

// stored is a webhook as it stands in the database.
func (h *house) stored(id string) webhook.Webhook {
	h.t.Helper()
	s, err := sqlstore.Open(h.t.Context(), h.cfg.SQL, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	all, err := s.WebhooksOfAll(h.t.Context(), "", 500)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, w := range all {
		if w.ID == id {
			return w
		}
	}
	h.t.Fatalf("webhook %s is not stored", id)
	return webhook.Webhook{}
}

// sealedWith are the ids of the keys that a webhook's secrets are sealed with.
func sealedWith(w webhook.Webhook) map[string]bool {
	ids := map[string]bool{}
	for _, h := range w.Headers {
		ids[h.Value.KeyID] = true
	}
	for _, k := range w.SigningKeys {
		ids[k.Secret.KeyID] = true
	}
	return ids
}

// awaitSealed waits until every webhook's secrets are sealed with that key alone.
func (h *house) awaitSealed(key string, ids ...string) {
	h.t.Helper()
	eventually(h.t, func() error {
		for _, id := range ids {
			if got := sealedWith(h.stored(id)); !cmp.Equal(map[string]bool{key: true}, got) {
				return fmt.Errorf("sealed with %v, want %s", got, key)
			}
		}
		return nil
	})
}

// gauge is how many webhooks a console says have secrets sealed with a key.
func (c *running) gauge(key string) float64 {
	c.t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "doorstep_console_webhooks_sealed" && m.GetLabel()[0].GetValue() == key {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// planted are secrets as they might be found where they are stored.
func planted(texts ...string) map[string][]byte {
	forms := map[string][]byte{}
	for _, text := range texts {
		raw := []byte(text)
		if s, err := signature.ParseSecret(text); err == nil {
			forms["text of "+text] = raw
			raw = s.Raw()
		}
		forms["raw "+text] = raw
		forms["base64 of "+text] = []byte(base64.RawStdEncoding.EncodeToString(raw))
		forms["base64url of "+text] = []byte(base64.RawURLEncoding.EncodeToString(raw))
		forms["hex of "+text] = []byte(hex.EncodeToString(raw))
	}
	return forms
}

// dump is every byte of the database: the files of SQLite, or every column of the table in PostgreSQL, and every
// byte of the records of `webhooks` until one has that version.
func (h *house) dump(c *running, version uint64) (all []byte) {
	h.t.Helper()
	topic := topics(h.t, h.cfg.Kafka).Webhooks
	records(h.t, c.cfg.Kafka, topic, func(got []*kgo.Record) bool {
		var w webhook.Webhook
		for _, r := range got {
			all = append(append(all, r.Key...), r.Value...)
			w, _, _ = wire.ReadWebhook(r)
		}
		return w.Version >= version
	})
	if h.cfg.SQL.SQLitePath == "" {
		return append(all, h.dumpTable()...)
	}
	files, err := filepath.Glob(h.cfg.SQL.SQLitePath + "*")
	if err != nil || len(files) < 2 {
		h.t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func (h *house) dumpTable() []byte {
	h.t.Helper()
	s, err := sqlstore.Open(h.t.Context(), h.cfg.SQL, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	var rows string
	if err := s.Read.QueryRowContext(h.t.Context(), "SELECT string_agg(w::text, ' ') FROM webhooks w").Scan(&rows); err != nil {
		h.t.Fatal(err)
	}
	return []byte(rows)
}

func whsec(n byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{'s', n}, 16))
}

// Once there is a key, neither database nor log hold a secret in any form; without one they hold them all, so the
// search finds what there is to find.
func TestNothingReadableAtRest(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, sql sqldb.Config) {
		for name, keys := range map[string][]string{"without a key": nil, "with a key": {"k1"}} {
			t.Run(name, func(t *testing.T) {
				own := sqldbtest.SQLite // a database that nobody was in without a key
				if sql.SQLitePath == "" {
					own = sqldbtest.Postgres
				}
				h := newHouse(t, own(t))
				c := h.open(keys...)
				given, rotated := whsec(1), whsec(2)
				made := c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"secret":"` + given + `","key_pair":true,
					"headers":{"Authorization":"Bearer planted-at-creation","X-Innocent":"planted-innocently"}}`)
				path := "/api/v1/webhooks/" + made.ID
				c.do(200, "PATCH", path, `{"headers":{"X-Api-Key":"planted-by-patch"}}`)
				generated := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", "")).Secret
				c.do(200, "POST", path+"/rotate-secret", `{"secret":"`+rotated+`"}`)
				all := h.dump(c, 4)
				for form, b := range planted(given, rotated, generated, "planted-at-creation", "planted-innocently", "planted-by-patch") {
					if found := bytes.Contains(all, b); found && keys != nil {
						t.Errorf("stored: %s", form)
					}
				}
				found := 0
				for _, b := range planted(given, rotated, generated, "Bearer planted-at-creation", "planted-innocently", "planted-by-patch") {
					if bytes.Contains(all, b) {
						found++
					}
				}
				if keys == nil && found < 6 {
					t.Errorf("only %d secrets were found where nothing is sealed", found)
				}
			})
		}
	})
}

// Who may change a webhook is told its headers where the secret is told; all others, and lists, see *** where an
// attempt shows *** too.
func TestHeadersAreToldWhereTheSecretIs(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string][]string{"plain": nil, "sealed": {"k1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, sqldbtest.Any(t))
			c := h.open(keys...)
			reader := c.key(`{"name":"reader","scopes":["webhooks:read"]}`, "Doorstep-Tenant", "default")
			told := map[string]string{"Authorization": "Bearer x", "X-Partner": "dsk_1234567890", "X-Team": "blue"}
			masked := map[string]string{"Authorization": "***", "X-Partner": "***", "X-Team": "blue"}
			made := c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"headers":{"Authorization":"Bearer x","X-Partner":"dsk_1234567890","X-Team":"blue"}}`)
			path := "/api/v1/webhooks/" + made.ID
			show := func(a answer) console.Webhook { return data[console.Webhook](t, a) }
			for where, tt := range map[string]struct {
				got  console.Webhook
				want map[string]string
			}{
				"created":        {made, told},
				"shown":          {show(c.do(200, "GET", path, "")), told},
				"rotated":        {show(c.do(200, "POST", path+"/rotate-secret", "")), told},
				"patched":        {show(c.do(200, "PATCH", path, `{"name":"n"}`)), masked},
				"paused":         {show(c.do(200, "POST", path+"/pause", "")), masked},
				"to a reader":    {show(c.as(reader.Key, "GET", path, "")), masked},
				"listed":         {data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks", ""))[0], masked},
				"listed, reader": {data[[]console.Webhook](t, c.as(reader.Key, "GET", "/api/v1/webhooks", ""))[0], masked},
			} {
				if !cmp.Equal(tt.want, tt.got.Headers) {
					t.Errorf("%s: headers %v, want %v", where, tt.got.Headers, tt.want)
				}
				if (tt.got.Secret != "") != (tt.want["Authorization"] == "Bearer x") {
					t.Errorf("%s: the secret is told: %t", where, tt.got.Secret != "")
				}
			}
		})
	}
}

// *** stands for a value that stays, and for nothing else.
func TestHiddenHeaderStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sqldbtest.Any(t))
	c := h.open("k1")
	made := c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"headers":{"Authorization":"Bearer x","X-Team":"blue"}}`)
	path := "/api/v1/webhooks/" + made.ID
	c.do(200, "PATCH", path, `{"headers":{"Authorization":"***","X-Team":"red"}}`)
	want := map[string]string{"Authorization": "Bearer x", "X-Team": "red"}
	if got := data[console.Webhook](t, c.do(200, "GET", path, "")).Headers; !cmp.Equal(want, got) {
		t.Errorf("headers %v, want %v", got, want)
	}
	for _, a := range []answer{
		c.do(422, "PATCH", path, `{"headers":{"X-New":"***"}}`),
		c.do(422, "PATCH", path, `{"headers":{"authorization":"***","Authorization":null}}`),
		c.do(422, "POST", "/api/v1/webhooks", `{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"headers":{"Authorization":"***"}}`),
	} {
		if !strings.Contains(a.text, "stands for a value that is not told") {
			t.Errorf("answered %s", a.text)
		}
	}
	c.do(422, "POST", path+"/rotate-secret", `{"secret":"`+made.Secret+`"}`)
	c.do(200, "POST", path+"/rotate-secret", "")
	c.do(422, "POST", path+"/rotate-secret", `{"secret":"`+made.Secret+`"}`) // former, and sealed too
}

// A console without the key shows what it can, changes what it is asked to and loses nothing of the rest.
func TestUnreadableSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sqldbtest.Any(t))
	c := h.open("k1")
	made := c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"key_pair":true,"headers":{"Authorization":"Bearer x","X-Team":"blue"}}`)
	path := "/api/v1/webhooks/" + made.ID
	c.stop()

	for name, keys := range map[string][]string{"other keys": {"k9"}, "no key": nil} {
		before := h.stored(made.ID)
		c = h.open(keys...)
		want := map[string]string{"Authorization": "***", "X-Team": "***"}
		for where, got := range map[string]console.Webhook{
			"shown":  data[console.Webhook](t, c.do(200, "GET", path, "")),
			"listed": data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks", ""))[0],
		} {
			if !cmp.Equal(want, got.Headers) || got.Secret != "" || got.PublicKey != nil {
				t.Errorf("%s, %s: headers %v, secret %q, public key %v", name, where, got.Headers, got.Secret, got.PublicKey)
			}
		}
		c.do(200, "PATCH", path, `{"name":"`+name+`"}`)
		after := h.stored(made.ID)
		if !cmp.Equal(before.Headers, after.Headers) || !cmp.Equal(before.SigningKeys, after.SigningKeys) || after.Name != name {
			t.Errorf("%s: secrets that the patch does not touch have changed", name)
		}
		if !strings.Contains(c.log.String(), "cannot be read") || strings.Contains(c.log.String(), "Bearer x") {
			t.Errorf("%s: the log does not tell, or tells too much", name)
		}
		eventually(t, func() error {
			if n := c.gauge("not here"); n != 1 {
				return fmt.Errorf("%v webhooks with keys that are not here, want 1", n)
			}
			return nil
		})
		c.stop()
	}

	// The way out where a key is lost: a new secret, and headers given anew. The pair is replaced on its own.
	c = h.open("k9")
	second := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", ""))
	if second.Secret == "" || second.Secret == made.Secret {
		t.Errorf("rotated to %q", second.Secret)
	}
	pair := data[console.Webhook](t, c.do(200, "POST", path+"/rotate-secret", `{"scheme":"v1a"}`))
	c.do(200, "PATCH", path, `{"headers":{"Authorization":"Bearer y"}}`)
	if got := sealedWith(h.stored(made.ID)); !cmp.Equal(map[string]bool{"k9": true, "k1": true}, got) {
		t.Errorf("sealed with %v", got) // X-Team still is with k1
	}
	c.do(200, "PATCH", path, `{"headers":{"X-Team":null}}`)
	if got := sealedWith(h.stored(made.ID)); !cmp.Equal(map[string]bool{"k9": true}, got) {
		t.Errorf("sealed with %v, want k9", got)
	}
	got := data[console.Webhook](t, c.do(200, "GET", path, ""))
	if got.Secret != second.Secret || got.Headers["Authorization"] != "Bearer y" || got.PublicKey == nil || *got.PublicKey != *pair.PublicKey {
		t.Errorf("in the end: %+v", got)
	}
}

// Keys are replaced without a secret that cannot be read at any moment: the new one is added as last, put first, and the
// old one is dropped once the console says so.
func TestSealingKeysRotate(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, sql sqldb.Config) {
		h := newHouse(t, sql)
		c := h.open()
		if !strings.Contains(c.log.String(), "no sealing key is set") {
			t.Error("the console does not say that secrets are stored as they are")
		}
		var ids []string
		bodies := map[string]console.Webhook{}
		for n, tenant := range []string{"acme", "beta", "acme"} {
			w := c.create(fmt.Sprintf(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"headers":{"Authorization":"Bearer planted-%d"}}`, n), "Doorstep-Tenant", tenant)
			ids = append(ids, w.ID)
			bodies[w.ID] = w
		}
		was := h.stored(ids[0])
		for _, step := range []struct {
			keys  []string
			want  string
			spare string // after a second look
		}{
			{[]string{"k1"}, "k1", ""}, {[]string{"k1", "k2"}, "k1", "k2"}, {[]string{"k2", "k1"}, "k2", "k1"}, {[]string{"k2"}, "k2", ""},
		} {
			c.stop()
			c = h.open(step.keys...)
			h.awaitSealed(step.want, ids...)
			eventually(t, func() error {
				if n := c.gauge(step.want); n != float64(len(ids)) || c.gauge("plain") != 0 || c.gauge("not here") != 0 {
					return fmt.Errorf("%v webhooks sealed with %s, %v plain", n, step.want, c.gauge("plain"))
				}
				return nil
			})
			eventually(t, func() error { // once the outbox is empty
				c.svc.Reseal(t.Context())
				if said := strings.Contains(c.log.String(), `"keys":"`+step.spare+`"`); said != (step.spare != "") {
					return fmt.Errorf("keys %v: that %q may go is said: %t", step.keys, step.spare, said)
				}
				return nil
			})
			if n := strings.Count(c.log.String(), "no webhook needs any more"); n > 1 {
				t.Errorf("said %d times which keys may go", n)
			}
			for id, made := range bodies {
				tenant := h.stored(id).Tenant
				if got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+id, "", "Doorstep-Tenant", tenant)); !cmp.Equal(made, got) {
					t.Errorf("keys %v (-made +shown):\n%s", step.keys, cmp.Diff(made, got))
				}
			}
		}
		now := h.stored(ids[0])
		if now.Generation != was.Generation || !now.UpdatedAt.Equal(was.UpdatedAt) || now.Version != was.Version+2 {
			t.Errorf("generation %d, version %d, updated at %s; before %d, %d, %s", now.Generation, now.Version, now.UpdatedAt, was.Generation, was.Version, was.UpdatedAt)
		}
		if h.cfg.SQL.SQLitePath != "" {
			c.stop()
			for _, f := range []string{"", "-wal"} {
				if b, err := os.ReadFile(h.cfg.SQL.SQLitePath + f); err == nil && bytes.Contains(b, []byte("planted-")) {
					t.Errorf("the file%s still holds what was plain", f)
				}
			}
		}
	})
}

// Requests and the sealing of what was there before do not undo one another.
func TestResealBesideRequests(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sqldbtest.Any(t))
	c := h.open()
	const webhooks, patches = 20, 10
	var ids []string
	for range webhooks {
		ids = append(ids, c.create(`{"url":"http://127.0.0.1:9999/hook","event_types":["*"],"headers":{"Authorization":"Bearer x"}}`).ID)
	}
	c.stop()
	c = h.open("k1")
	var requests sync.WaitGroup
	for _, id := range ids {
		requests.Go(func() {
			for n := range patches {
				if a := c.as(bootKey, "PATCH", "/api/v1/webhooks/"+id, fmt.Sprintf(`{"metadata":{"n%d":"x"}}`, n)); a.status != 200 {
					t.Errorf("patch answered %d: %s", a.status, a.text)
				}
			}
		})
	}
	requests.Wait()
	h.awaitSealed("k1", ids...)
	for _, id := range ids {
		got := data[console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks/"+id, ""))
		if len(got.Metadata) != patches || got.Headers["Authorization"] != "Bearer x" {
			t.Errorf("%d patches kept, headers %v", len(got.Metadata), got.Headers)
		}
	}
}

// One console at a time seals what was there before.
func TestResealHasOneAtATime(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sqldbtest.Any(t))
	c := h.open()
	made := c.create(minimal)
	c.stop()
	s, err := sqlstore.Open(t.Context(), h.cfg.SQL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if h.cfg.SQL.SQLitePath != "" {
		t.Skip("locks of SQLite are a process's own") // nobody else opens the file
	}
	lock, held, err := s.TryLock(context.Background(), "reseal")
	if err != nil || !held {
		t.Fatalf("lock: %t, %v", held, err)
	}
	c = h.open("k1")
	c.svc.Reseal(t.Context())
	if got := sealedWith(h.stored(made.ID)); !got["plain"] {
		t.Errorf("sealed with %v beside another", got)
	}
	lock.Release()
	c.svc.Reseal(t.Context())
	h.awaitSealed("k1", made.ID)
}

func TestWrongSealingKeys(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldbtest.SQLite(t))
	cfg.Sealing.File = filepath.Join(t.TempDir(), "keys")
	for content, want := range map[string]string{"": "there is no key", "k1:AAAA": "line 1: what follows the id"} {
		if err := os.WriteFile(cfg.Sealing.File, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := console.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
}
