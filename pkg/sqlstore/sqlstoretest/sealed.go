package sqlstoretest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// webhookOfOld holds that headers are read as they stood in the column before values could be sealed, and that plain
// ones still stand there so.
func webhookOfOld(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	want := Webhook("acme", now)
	want.Headers = []webhook.Header{{Name: "X-Team", Value: webhook.Plain([]byte("blue"))}}
	want = create(t, s, want)
	var column string
	if err := s.Read.QueryRowContext(ctx, "SELECT headers FROM webhooks WHERE id = $1", want.ID).Scan(&column); err != nil {
		t.Fatal(err)
	}
	const old = `[{"name":"X-Team","value":"blue"}]`
	if got := string(bytes.ReplaceAll([]byte(column), []byte(" "), nil)); got != old {
		t.Errorf("plain headers are stored as %s", got)
	}
	const older = `[{"name":"X-Team","value":"blue"},{"name":"X-None","value":""}]`
	if _, err := s.Write.ExecContext(ctx, "UPDATE webhooks SET headers = $1 WHERE id = $2", older, want.ID); err != nil {
		t.Fatal(err)
	}
	want.Headers = append(want.Headers, webhook.Header{Name: "X-None", Value: webhook.Plain([]byte{})})
	if got, err := s.Webhook(ctx, "acme", want.ID); err != nil || !cmp.Equal(want, got) {
		t.Errorf("read back: %v\n%s", err, cmp.Diff(want, got))
	}
}

func webhooksOfAll(t *testing.T, s *sqlstore.Store) {
	var want []string
	for _, of := range []string{"acme", "beta", "acme", "gamma", "beta"} {
		want = append(want, create(t, s, Webhook(of, now)).ID)
	}
	slices.Sort(want)
	var got []string
	for after := ""; ; {
		page, err := s.WebhooksOfAll(context.Background(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range page {
			after = w.ID
			got = append(got, w.ID)
		}
		if len(page) < 2 {
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("all webhooks (-want +got):\n%s", d)
	}
}

func scrub(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	mark := []byte("a-value-that-is-to-go")
	w := Webhook("acme", now)
	w.Headers[0].Value = webhook.Plain(bytes.Repeat(mark, 1000)) // on pages that become free
	w = create(t, s, w)
	w.Headers[0].Value = webhook.Sealed{KeyID: "k1", Bytes: []byte("sealed")}
	want, err := s.UpdateWebhook(ctx, By(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Webhook(ctx, "acme", w.ID); err != nil || !cmp.Equal(want, got) {
		t.Errorf("after a scrub: %v\n%s", err, cmp.Diff(want, got))
	}
	if s.Postgres() {
		return
	}
	var file string
	if err := s.Read.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(file + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %s: %v, %v", file, files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, mark) {
			t.Errorf("%s holds what was there before", filepath.Base(f))
		}
	}
}
