package sqlstoretest

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

var discard = slog.New(slog.DiscardHandler)

// changes are the kinds and keys in the outbox.
func changes(t *testing.T, s *sqlstore.Store) (got []string, rows []sqlstore.Change) {
	t.Helper()
	rows, err := s.Changes(context.Background(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rows {
		got = append(got, string(c.Kind)+" "+c.Key)
	}
	return got, rows
}

func announced(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	w2, err := s.UpdateWebhook(ctx, By(), w)
	if err != nil {
		t.Fatal(err)
	}
	gone := create(t, s, Webhook("acme", now))
	if err := s.DeleteWebhook(ctx, By(), "acme", gone.ID, 0); err != nil {
		t.Fatal(err)
	}
	k, err := s.CreateAPIKey(ctx, By(), Key("acme", 1))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Changed():
	default:
		t.Error("Changed did not say so")
	}
	got, rows := changes(t, s)
	want := []string{
		"tenant acme", "webhook " + w.ID, "webhook " + w.ID, "webhook " + gone.ID, "webhook " + gone.ID, "api_key " + k.ID,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("outbox (-want +got):\n%s", d)
	}
	current, err := s.Current(ctx, rows)
	if err != nil {
		t.Fatal(err)
	}
	acme, err := s.Tenant(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	wantNow := []sqlstore.Current{
		{Kind: sqlstore.KindTenant, Key: "acme", Tenant: &acme}, {Kind: sqlstore.KindWebhook, Key: w.ID, Webhook: &w2},
		{Kind: sqlstore.KindWebhook, Key: gone.ID}, {Kind: sqlstore.KindAPIKey, Key: k.ID, APIKey: &k},
	}
	if d := cmp.Diff(wantNow, current); d != "" {
		t.Errorf("current values (-want +got):\n%s", d)
	}
}

func rolledBack(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	k, err := s.CreateAPIKey(ctx, By(), Key("acme", 1))
	if err != nil {
		t.Fatal(err)
	}
	_, rows := changes(t, s)
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	twice := Webhook("new-tenant", now)
	twice.ID = w.ID
	stale := w
	stale.Version = 9
	sameHash := Key("another-new", 1)
	for name, err := range map[string]error{
		"an id twice":      second(s.CreateWebhook(ctx, By(), twice)),
		"a stale update":   second(s.UpdateWebhook(ctx, By(), stale)),
		"a hash twice":     second(s.CreateAPIKey(ctx, By(), sameHash)),
		"a missing delete": s.DeleteWebhook(ctx, By(), "acme", k.ID, 0),
		"a cancelled call": second(s.CreateWebhook(cancelled, By(), Webhook("acme", now))),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got, _ := changes(t, s); len(got) != 0 {
		t.Errorf("the outbox holds %v after changes that failed", got)
	}
	if _, err := s.Tenant(ctx, "new-tenant"); !errors.Is(err, sqlstore.ErrNotFound) {
		t.Errorf("the tenant of a webhook that failed: %v, want ErrNotFound", err)
	}
}

func second[T any](_ T, err error) error { return err }

func changeWhileDraining(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	w := create(t, s, Webhook("acme", now))
	_, rows := changes(t, s)
	if _, err := s.Current(ctx, rows); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateWebhook(ctx, By(), w); err != nil { // between the reading and the deletion
		t.Fatal(err)
	}
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	if got, _ := changes(t, s); !cmp.Equal(got, []string{"webhook " + w.ID}) {
		t.Errorf("the outbox holds %v, want the later change", got)
	}
}

func republish(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	old := create(t, s, Webhook("acme", now))
	_, rows := changes(t, s)
	if err := s.DeleteChanges(ctx, rows); err != nil {
		t.Fatal(err)
	}
	pending := create(t, s, Webhook("acme", now))
	for range 2 {
		if err := s.Republish(ctx); err != nil {
			t.Fatal(err)
		}
	}
	later := create(t, s, Webhook("acme", now))
	want := []string{"webhook " + pending.ID, "webhook " + later.ID, "tenant acme", "webhook " + old.ID}
	if got, _ := changes(t, s); !cmp.Equal(want, got) {
		t.Errorf("outbox (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// topicIsSQL makes random changes beside a drainer that stops anywhere, and compares what the
// drainer's records leave in a compacted topic with what SQL holds.
func topicIsSQL(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	topic := map[string]uint64{} // webhook id: version; what compaction leaves
	drain := func(limit int, crash bool) (int, error) {
		rows, err := s.Changes(ctx, limit)
		if err != nil {
			return 0, err
		}
		current, err := s.Current(ctx, rows)
		if err != nil {
			return 0, err
		}
		for _, c := range current {
			switch {
			case c.Webhook != nil:
				if c.Webhook.Version < topic[c.Key] {
					return 0, errors.New("an older version was written over a newer one")
				}
				topic[c.Key] = c.Webhook.Version
			case c.Kind == sqlstore.KindWebhook:
				delete(topic, c.Key)
			}
		}
		if crash {
			return len(rows), nil // written, not deleted: it comes again
		}
		return len(rows), s.DeleteChanges(ctx, rows)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var stop atomic.Bool
		drained := make(chan error)
		go func() {
			for n := 0; ; n++ {
				last := stop.Load()
				done, err := drain(3, n%3 == 1 && !last)
				if err != nil || last && done == 0 {
					drained <- err
					return
				}
			}
		}()
		changeAtRandom(rt, s)
		stop.Store(true)
		if err := <-drained; err != nil {
			rt.Fatal(err)
		}
		list, _, err := s.Webhooks(ctx, "acme", asked(sqlstore.WebhookList(), 500))
		if err != nil {
			rt.Fatal(err)
		}
		want := map[string]uint64{}
		for _, w := range list {
			want[w.ID] = w.Version
		}
		if d := cmp.Diff(want, topic); d != "" {
			rt.Fatalf("the topic is not what SQL holds (-sql +topic):\n%s", d)
		}
	})
}

func changeAtRandom(t *rapid.T, s *sqlstore.Store) {
	ctx := context.Background()
	var ids []string
	for range rapid.IntRange(1, 12).Draw(t, "changes") {
		if len(ids) == 0 || rapid.IntRange(0, 3).Draw(t, "what") == 0 {
			w, err := s.CreateWebhook(ctx, By(), Webhook("acme", now))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, w.ID)
			continue
		}
		i := rapid.IntRange(0, len(ids)-1).Draw(t, "webhook")
		if rapid.Bool().Draw(t, "delete") {
			if err := s.DeleteWebhook(ctx, By(), "acme", ids[i], 0); err != nil {
				t.Fatal(err)
			}
			ids = append(ids[:i], ids[i+1:]...)
			continue
		}
		w, err := s.Webhook(ctx, "acme", ids[i])
		if err == nil {
			w.UpdatedAt = w.UpdatedAt.Add(time.Second)
			_, err = s.UpdateWebhook(ctx, By(), w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
