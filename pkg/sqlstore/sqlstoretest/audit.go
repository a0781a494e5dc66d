package sqlstoretest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// told are the entries of an audit log, oldest first, as action, kind, before and after.
func told(t *testing.T, s *sqlstore.Store, log string) (out []string) {
	t.Helper()
	entries, found, err := s.AuditLog(t.Context(), log, asked(sqlstore.AuditList(), 500))
	if err != nil || found.Next != "" {
		t.Fatal(err, found)
	}
	for _, e := range entries {
		out = append([]string{string(e.Subject.Kind) + " " + string(e.Before) + " -> " + string(e.After)}, out...)
	}
	return out
}

// auditChanges holds what the audit log tells of a webhook's changes, and that none of its secrets is in it.
func auditChanges(t *testing.T, s *sqlstore.Store) {
	ctx := t.Context()
	w, err := s.CreateWebhook(ctx, By(), Webhook("acme", now))
	if err != nil {
		t.Fatal(err)
	}
	w.URL, w.Description = "https://example.com/new", ""
	w.Headers = append([]webhook.Header{}, w.Headers...)
	w.Headers[0].Value = webhook.Plain([]byte("hidden-value"))
	w.SigningKeys = w.SigningKeys[:1]
	w.RetryCount = nil
	later := By()
	later.At = now.Add(time.Second)
	if w, err = s.UpdateWebhook(ctx, later, w); err != nil {
		t.Fatal(err)
	}
	w.Headers[0].Value = webhook.Sealed{KeyID: "k2", Bytes: []byte{7}}
	if w, err = s.ResealWebhook(ctx, w); err != nil {
		t.Fatal(err)
	}
	more := w
	more.Name = "other"
	if _, err := s.ResealWebhook(ctx, more); err == nil {
		t.Error("more than secrets was changed without an author")
	}
	later.At = now.Add(2 * time.Second)
	if err := s.DeleteWebhook(ctx, later, "acme", w.ID, w.Version); err != nil {
		t.Fatal(err)
	}
	got := told(t, s, "acme")
	if len(got) != 3 {
		t.Fatalf("%d entries: %s", len(got), got)
	}
	want := `webhook {"description":"d","headers":{"X-A":"***","X-B":"***","X-C":"***"},"retry_count":0,` +
		`"signing_keys":[{"scheme":"v1","secret":"***","expires_at":null},{"scheme":"v1a","secret":"***","expires_at":"2026-03-04T06:06:07.000000089Z"}],"url":"https://example.com/a?***"}` +
		` -> {"description":"","headers":{"X-A":"***","X-B":"***","X-C":"***"},"retry_count":null,"signing_keys":[{"scheme":"v1","secret":"***","expires_at":null}],"url":"https://example.com/new"}`
	if got[1] != want {
		t.Errorf("the update (-want +got):\n%s", cmp.Diff(want, got[1]))
	}
	if !strings.HasPrefix(got[0], "webhook null -> {") || !strings.HasSuffix(got[2], " -> null") || !strings.Contains(got[2], `"name":"Kaarten ✓"`) {
		t.Errorf("%s", got)
	}
	if all := strings.Join(got, "\n"); strings.Contains(all, "hidden-value") || strings.Contains(all, "version") {
		t.Errorf("it tells too much: %s", all)
	}
	if platform := told(t, s, ""); len(platform) != 1 || !strings.HasPrefix(platform[0], "tenant null") {
		t.Errorf("the platform's: %s", platform)
	}
}

// auditWithTheChange holds that an entry is there if its change is, and that nobody changes anything.
func auditWithTheChange(t *testing.T, s *sqlstore.Store) {
	ctx := t.Context()
	w, err := s.CreateWebhook(ctx, By(), Webhook("acme", now))
	if err != nil {
		t.Fatal(err)
	}
	stale := w
	stale.Version = 9
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	nobody := By()
	nobody.Kind = ""
	for name, err := range map[string]error{
		"a stale update":        second(s.UpdateWebhook(ctx, By(), stale)),
		"a stale delete":        s.DeleteWebhook(ctx, By(), "acme", w.ID, 9),
		"a cancelled update":    second(s.UpdateWebhook(cancelled, By(), w)),
		"another tenant's":      s.DeleteWebhook(ctx, By(), "other", w.ID, 0),
		"nobody's webhook":      second(s.CreateWebhook(ctx, sqlstore.Author{}, Webhook("acme", now))),
		"nobody's update":       second(s.UpdateWebhook(ctx, nobody, w)),
		"nobody's key":          second(s.CreateAPIKey(ctx, nobody, Key("acme", 1))),
		"nobody's job":          second(s.CreateJob(ctx, nobody, NewJob("acme"))),
		"nobody's tenant":       s.EnsureTenant(ctx, nobody, "new", now),
		"nobody's deletion":     s.DeleteWebhook(ctx, nobody, "acme", w.ID, 0),
		"nobody's note":         second(s.Note(ctx, nobody, sqlstore.Subject{Kind: sqlstore.KindDelivery, ID: "d"}, nil)),
		"nobody's first key":    second(s.CreateFirstAPIKey(ctx, nobody, Key("", 2))),
		"nobody's admin":        second(s.CreateAdministrator(ctx, nobody, Administrator("acme", "a@example.com"))),
		"nobody's end of acme":  s.DeleteTenant(ctx, nobody, "acme", 0),
		"a stale end of a key":  s.DeleteAPIKey(ctx, By(), "acme", w.ID, 9),
		"a stale end of a mail": s.DeleteAdministrator(ctx, By(), "acme", w.ID, 9),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got, err := s.Webhook(ctx, "acme", w.ID); err != nil || got.Version != 1 {
		t.Errorf("the webhook is %d, %v", got.Version, err)
	}
	if got := told(t, s, "acme"); len(got) != 1 {
		t.Errorf("entries: %s", got)
	}
}

// auditNotes holds that what is written elsewhere is noted before and after.
func auditNotes(t *testing.T, s *sqlstore.Store) {
	ctx, about := t.Context(), sqlstore.Subject{Kind: sqlstore.KindDelivery, ID: "d-1", Tenant: "acme"}
	result := func() sqlstore.AuditEntry {
		t.Helper()
		entries, _, err := s.AuditLog(ctx, "acme", asked(sqlstore.AuditList(), 1))
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		return entries[0]
	}
	id, err := s.Note(ctx, By(), about, []byte(`{"run_id":"r"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := sqlstore.AuditEntry{
		ID: id, CreatedAt: now, Author: By(), Subject: about, Before: []byte("null"), After: []byte(`{"run_id":"r"}`), Result: sqlstore.AuditBegun,
	}
	if got := result(); !cmp.Equal(want, got) {
		t.Errorf("begun (-want +got):\n%s", cmp.Diff(want, got))
	}
	if err := s.Noted(ctx, By(), id, nil); err != nil || result().Result != sqlstore.AuditDone {
		t.Errorf("done: %v, %+v", err, result())
	}
	if err := s.Noted(ctx, By(), id, errors.New("the log is away")); err != nil || result().Result != sqlstore.AuditFailed || result().Detail != "the log is away" {
		t.Errorf("failed: %v, %+v", err, result())
	}
}

// auditEnds holds that old entries are trimmed, and that those of a tenant that is deleted are nobody else's.
func auditEnds(t *testing.T, s *sqlstore.Store) {
	ctx, young := t.Context(), By()
	if _, err := s.CreateTenant(ctx, By(), Tenant("acme")); err != nil {
		t.Fatal(err)
	}
	young.At = now.Add(time.Hour)
	a, err := s.CreateAdministrator(ctx, young, Administrator("acme", "admin@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if got := told(t, s, "acme"); len(got) != 1 || !strings.Contains(got[0], `"email":"a***@example.com"`) || strings.Contains(got[0], a.Name) {
		t.Errorf("an administrator is told as %s", got)
	}
	if err := s.TrimAuditLog(ctx, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if a, p := told(t, s, "acme"), told(t, s, ""); len(a) != 1 || len(p) != 0 {
		t.Errorf("trimmed to %s and %s", a, p)
	}
	if err := s.DeleteTenant(ctx, young, "acme", 0); err != nil {
		t.Fatal(err)
	}
	if a, p := told(t, s, "acme"), told(t, s, ""); len(a) != 0 || len(p) != 2 {
		t.Errorf("after the end of its tenant: %s and %s", a, p)
	}
}
