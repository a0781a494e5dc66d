package sqlhistory_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// TestMigrates opens a database of the last version, and goes on with it.
func TestMigrates(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		ctx := t.Context()
		day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		old := sqldbtest.OpenAt(t, cfg, sqldb.Schema{Versions: "goose_history_version", Files: os.DirFS("migrations")}, "00001")
		for _, row := range asWritten00001(old.Postgres(), day) {
			if _, err := old.Write.ExecContext(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := sqlhistory.Open(ctx, cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want := failure.Notice{
			ID: "m", Kind: failure.NoticeMailed, Tenant: "acme", WebhookID: "w", NoticeID: "n", MailTo: "admin@example.com", MailedAt: day,
		}
		if got, err := s.Mail(ctx, "acme", "m"); err != nil || got != want {
			t.Errorf("a mail of before: %v (-want +got):\n%s", err, cmp.Diff(want, got))
		}
		// The old partition has the new index too, and takes new rows.
		var b history.Batch
		b.AddDelivery(delivery.Delivery{
			ID: "d2", Tenant: "acme", WebhookID: "w", EventID: "e", EventType: "a.b", RunID: "r", Attempt: 1, ReceivedAt: day.Add(time.Hour),
			SuspendReason: delivery.SuspendPaused, SuspendedAt: day.Add(time.Hour),
		}, delivery.Position{Topic: "deliveries.suspended"})
		sent := want
		sent.ID, sent.NoticeKind, sent.MailResult, sent.MailText = "m2", failure.NoticeWarning, failure.MailSent, "text"
		b.AddNotice(sent)
		if err := s.Record(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if n, err := s.SuspendedCounts(ctx, []string{"w"}, day); err != nil || n["w"] != 2 {
			t.Errorf("suspended: %v, %v, want 2", n, err)
		}
		expiring, err := s.Expiring(ctx, time.Hour, day, day.Add(24*time.Hour))
		if err != nil || len(expiring) != 1 || expiring[0].Count != 2 {
			t.Errorf("expiring: %+v, %v, want 2 of one webhook", expiring, err)
		}
		if got, err := s.MailedAt(ctx, []string{"w"}); err != nil || !got["w"].WarningAt.Equal(day) {
			t.Errorf("mailed: %+v, %v", got, err)
		}
	})
}

// asWritten00001 are rows as the version with 00001 alone writes them.
func asWritten00001(postgres bool, at time.Time) []string {
	var all []string
	if postgres {
		for _, table := range []string{"deliveries", "attempts", "events"} {
			all = append(all, fmt.Sprintf("CREATE TABLE %s_20260301 PARTITION OF %s FOR VALUES FROM (%d) TO (%d)",
				table, table, at.UnixNano(), at.AddDate(0, 0, 1).UnixNano()))
		}
	}
	return append(all, fmt.Sprintf(`INSERT INTO deliveries (received_at, id, tenant, webhook_id, event_id, event_type, external_reference, run, step,
		run_id, cause, attempt, status, suspend_reason, next_attempt_at, updated_at, log_topic, log_partition, log_offset)
		VALUES (%[1]d, 'd', 'acme', 'w', 'e', 'a.b', '', '', 2, 'r', 'first', 0, 'suspended', 'disabled', 0, %[1]d, 'deliveries.suspended', 0, 0)`,
		at.UnixNano()), fmt.Sprintf(`INSERT INTO notices (id, kind, tenant, webhook_id, generation, fail_streak, fail_streak_started_at, raised_at,
		last_status_code, last_error, notice_id, mail_to, mailed_at)
		VALUES ('m', 'mailed', 'acme', 'w', 0, 0, 0, 0, 0, '', 'n', 'admin@example.com', %d)`, at.UnixNano()))
}
