package sqlhistorytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
)

// notices are mails and other notices at random, many of which were mailed at one time.
func (r draw) notices(n int) []failure.Notice {
	out := make([]failure.Notice, n)
	for i := range out {
		tenant := oneOf(r, drawTenants)
		out[i] = failure.Notice{
			ID: fmt.Sprintf("notice-%03d", i), Kind: failure.NoticeMailed, Tenant: tenant, WebhookID: r.webhook(tenant), RaisedAt: r.time(),
			NoticeID: "n", NoticeKind: oneOf(r, failure.NoticeKinds()), AdministratorID: "a", MailTo: "admin@example.com",
			MailResult: oneOf(r, []failure.MailResult{failure.MailSent, failure.MailKept, failure.MailFailed}), MailSubject: "s", MailText: "t",
			MailedAt: r.time(),
		}
		if r.IntN(4) == 0 {
			out[i] = failure.Notice{
				ID: out[i].ID, Kind: oneOf(r, failure.NoticeKinds()), Tenant: tenant, WebhookID: out[i].WebhookID, RaisedAt: r.time(),
				FailStreak: 250, Expiring: 3, ExpiresAt: midnight,
			}
		}
	}
	return out
}

func keepNotices(t *testing.T, s *sqlhistory.Store, all ...failure.Notice) {
	t.Helper()
	var b history.Batch
	for _, n := range all {
		b.AddNotice(n)
	}
	mustRecord(t, s, &b)
}

func readMails(t *testing.T, s *sqlhistory.Store) {
	all := seeded(30).notices(200)
	keepNotices(t, s, all...)
	order := func(a, b failure.Notice) int { return cmp.Or(a.MailedAt.Compare(b.MailedAt), cmp.Compare(a.ID, b.ID)) }
	for name, f := range map[string]sqlhistory.MailFilter{
		"a tenant's": {Tenant: "acme"}, "a webhook's": {Tenant: "acme", WebhookID: "acme-webhook-1"},
		"another tenant's webhook's": {Tenant: "other", WebhookID: "acme-webhook-1"},
	} {
		for direction, p := range both {
			p.Limit = 7
			want := expected(all, p, order, func(n failure.Notice) bool {
				return n.Kind == failure.NoticeMailed && n.Tenant == f.Tenant && (f.WebhookID == "" || n.WebhookID == f.WebhookID)
			})
			got := readAll(t, func(ctx context.Context, p sqlhistory.Page) ([]failure.Notice, string, error) {
				return s.Mails(ctx, f, p)
			}, p, nil)
			sameRows(t, name+", "+direction, want, got)
			total, err := s.MailsTotal(t.Context(), f)
			sameTotal(t, name, len(want), total, err)
		}
	}
	_, next, err := s.Deliveries(t.Context(), sqlhistory.DeliveryFilter{Tenant: "acme"}, sqlhistory.Page{Limit: 1})
	for _, after := range []string{"x", next + "!", "eyJsaXN0IjoiZXZlbnRzIn0"} {
		if _, _, err := s.Mails(t.Context(), sqlhistory.MailFilter{Tenant: "acme"}, sqlhistory.Page{After: after, Limit: 1}); !errors.Is(err, sqlhistory.ErrCursor) {
			t.Errorf("cursor %q: %v, want ErrCursor", after, err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all[:20] {
		got, err := s.Mail(t.Context(), n.Tenant, n.ID)
		if is := n.Kind == failure.NoticeMailed; is && (err != nil || got != n) || !is && !errors.Is(err, sqldb.ErrNotFound) {
			t.Errorf("%s: %+v, %v, want %+v", n.Kind, got, err, n)
		}
		if _, err := s.Mail(t.Context(), "nobody", n.ID); !errors.Is(err, sqldb.ErrNotFound) {
			t.Errorf("another tenant's: %v", err)
		}
	}
}

func readNotices(t *testing.T, s *sqlhistory.Store) {
	all := seeded(31).notices(400)
	keepNotices(t, s, all...)
	got, err := s.Notices(t.Context(), []string{all[3].ID, "none", all[150].ID, "zero\x00byte"})
	if diff := gocmp.Diff(map[string]bool{all[3].ID: true, all[150].ID: true}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := s.Notices(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("of no notices: %v, %v", got, err)
	}
	want := expected(all, sqlhistory.Page{}, func(a, b failure.Notice) int {
		return cmp.Or(a.RaisedAt.Compare(b.RaisedAt), cmp.Compare(a.ID, b.ID))
	}, func(n failure.Notice) bool { return n.Kind != failure.NoticeMailed && n.WebhookID == "acme-webhook-0" })
	rows, err := s.NoticesOf(t.Context(), "acme", "acme-webhook-0", 5)
	if err != nil || len(want) < 6 {
		t.Fatalf("%d, %v", len(want), err)
	}
	sameRows(t, "notices of a webhook", want[:5], rows)
	if rows, err := s.NoticesOf(t.Context(), "other", "acme-webhook-0", 5); err != nil || len(rows) > 0 {
		t.Errorf("another tenant's: %v, %v", rows, err)
	}
}

// streaks makes notices of one webhook, each with its mails.
type streaks struct {
	webhook string
	all     []failure.Notice
}

// raised adds a notice, raised in a streak that began then, hours after midnight, and its mails by result.
func (k *streaks) raised(kind failure.NoticeKind, generation uint64, started int, at int, results ...failure.MailResult) {
	n := failure.Notice{
		ID:   failure.NoticeID(k.webhook, generation, hour(started), kind),
		Kind: kind, Tenant: "acme", WebhookID: k.webhook, Generation: generation, FailStreakStartedAt: hour(started), RaisedAt: hour(at),
	}
	k.all = append(k.all, n)
	for i, result := range results {
		k.all = append(k.all, failure.Notice{
			ID: failure.MailedID(n.ID, fmt.Sprint(i)), Kind: failure.NoticeMailed, NoticeKind: kind, NoticeID: n.ID, Tenant: "acme",
			WebhookID: k.webhook, AdministratorID: fmt.Sprint(i), MailedAt: hour(at + 1 + i), MailResult: result,
		})
	}
}

func hour(n int) time.Time { return midnight.Add(time.Duration(n) * time.Hour) }

func readMailedAt(t *testing.T, s *sqlhistory.Store) {
	const sent, kept, failed = failure.MailSent, failure.MailKept, failure.MailFailed
	whole, warned, old, lost := streaks{webhook: "whole"}, streaks{webhook: "warned"}, streaks{webhook: "old"}, streaks{webhook: "lost"}
	whole.raised(failure.NoticeWarning, 1, 1, 5, sent)
	whole.raised(failure.NoticeWarning, 1, 10, 11, failed, kept, sent) // the first mail failed
	whole.raised(failure.NoticeDisabled, 1, 10, 15, sent, sent)
	warned.raised(failure.NoticeGone, 1, 1, 2, sent)
	warned.raised(failure.NoticeWarning, 2, 20, 21, kept)
	warned.raised(failure.NoticeExpiry, 2, 20, 30, sent) // no warning of failures
	// The mails of the older streak were late, after those of the newer.
	old.raised(failure.NoticeWarning, 3, 30, 31, sent)
	old.raised(failure.NoticeWarning, 3, 20, 50, sent)
	old.raised(failure.NoticeWarning, 2, 40, 60, sent)
	lost.raised(failure.NoticeWarning, 1, 1, 2, failed)
	keepNotices(t, s, whole.all...)
	keepNotices(t, s, warned.all...)
	keepNotices(t, s, old.all...)
	keepNotices(t, s, lost.all...)
	// The notice of a mail may be expired: then the mail says what it was of.
	keepNotices(t, s, failure.Notice{
		ID: "alone", Kind: failure.NoticeMailed, NoticeKind: failure.NoticeDisabled, NoticeID: "expired", Tenant: "acme", WebhookID: "alone",
		Generation: 7, FailStreakStartedAt: hour(3), MailedAt: hour(4), MailResult: sent,
	})
	want := map[string]sqlhistory.Mailed{
		"whole": {
			WarningAt: hour(13), WarningStreak: sqlhistory.Streak{Generation: 1, StartedAt: hour(10)},
			DisabledAt: hour(16), DisabledStreak: sqlhistory.Streak{Generation: 1, StartedAt: hour(10)},
		},
		"warned": {
			WarningAt: hour(22), WarningStreak: sqlhistory.Streak{Generation: 2, StartedAt: hour(20)},
			DisabledAt: hour(3), DisabledStreak: sqlhistory.Streak{Generation: 1, StartedAt: hour(1)},
		},
		"old":   {WarningAt: hour(32), WarningStreak: sqlhistory.Streak{Generation: 3, StartedAt: hour(30)}},
		"alone": {DisabledAt: hour(4), DisabledStreak: sqlhistory.Streak{Generation: 7, StartedAt: hour(3)}},
	}
	got, err := s.MailedAt(t.Context(), []string{"whole", "warned", "old", "lost", "alone", "none"})
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := s.MailedAt(t.Context(), nil); err != nil || len(got) > 0 {
		t.Errorf("of no webhooks: %v, %v", got, err)
	}
}
