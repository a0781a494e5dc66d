package sqlhistory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// MailFilter says which mails of a tenant a list has. Empty fields do not filter.
type MailFilter struct {
	Tenant    string // required
	WebhookID string
}

var mailOrder = []string{"mailed_at", "id"}

// Mails lists what came of a tenant's mails, notices of the kind mailed, by (MailedAt, ID), with the cursor of
// the next page, empty at the end. It errs with ErrCursor.
func (s *Store) Mails(ctx context.Context, f MailFilter, p Page) ([]failure.Notice, string, error) {
	statement, args, err := s.mailsQuery(f, p)
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanNotice, statement, s.planned(args)...)
	if err != nil {
		return nil, "", fmt.Errorf("list mails: %w", err)
	}
	rows, next := cut(rows, p, func(n failure.Notice) cursor {
		return cursor{List: listOfMails, MailedAt: sqldb.Nanos(n.MailedAt), ID: n.ID}
	})
	return rows, next, nil
}

func (s *Store) mailsQuery(f MailFilter, p Page) (statement string, args []any, err error) {
	after, err := p.after(listOfMails)
	if err != nil {
		return "", nil, err
	}
	q := &query{page: p, columns: noticeColumns, table: "notices", order: mailOrder}
	q.and("kind = 'mailed'") // the condition of the partial indexes, word for word
	q.and("tenant = ?", text(f.Tenant))
	q.equal("webhook_id", f.WebhookID)
	if after != nil {
		q.beyond(after.MailedAt, after.ID)
	}
	q.limit()
	index := "notices_mails_of_tenant"
	if f.WebhookID != "" {
		index = "notices_mails_of_webhook"
	}
	return q.selected(s.indexed(index)), q.args, nil
}

const mailQuery = "SELECT " + noticeColumns + " FROM notices WHERE id = $1 AND tenant = $2 AND kind = 'mailed'"

// Mail is what came of the tenant's mail of that id. It errs with sqldb.ErrNotFound, also for another tenant's.
func (s *Store) Mail(ctx context.Context, tenant, id string) (failure.Notice, error) {
	n, err := sqldb.One(ctx, s.Read, scanNotice, mailQuery, text(id), text(tenant))
	if err != nil {
		return failure.Notice{}, fmt.Errorf("mail %s: %w", id, err)
	}
	return n, nil
}

const noticesOfQuery = "SELECT " + noticeColumns + " FROM notices WHERE webhook_id = $1 AND kind <> 'mailed' AND tenant = $2" +
	" ORDER BY raised_at DESC, id DESC LIMIT $3"

// NoticesOf are the last notices of the tenant's webhook, newest first, without what came of their mails.
func (s *Store) NoticesOf(ctx context.Context, tenant, webhookID string, limit int) ([]failure.Notice, error) {
	rows, err := sqldb.All(ctx, s.Read, scanNotice, noticesOfQuery, text(webhookID), text(tenant), limit)
	if err != nil {
		return nil, fmt.Errorf("notices of webhook %s: %w", webhookID, err)
	}
	return rows, nil
}

// Notices are which of these notices the history has; the others are absent.
func (s *Store) Notices(ctx context.Context, ids []string) (map[string]bool, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (id string, err error) { return id, row.Scan(&id) },
		s.noticesQuery(), s.list(ids))
	if err != nil {
		return nil, fmt.Errorf("look for %d notices: %w", len(ids), err)
	}
	out := make(map[string]bool, len(rows))
	for _, id := range rows {
		out[id] = true
	}
	return out, nil
}

func (s *Store) noticesQuery() string { return "SELECT id FROM notices WHERE id " + s.among() }

// Streak is which of a webhook's fail streaks a notice was raised in.
type Streak struct {
	Generation uint64 // the webhook's
	StartedAt  time.Time
}

// Mailed is when administrators of a webhook were first mailed its latest warning and its latest disable, and
// of which streaks these were. Zero times: never, as far as the history goes back.
type Mailed struct {
	WarningAt      time.Time
	WarningStreak  Streak
	DisabledAt     time.Time // also of a webhook that is gone
	DisabledStreak Streak
}

// mailedNotice is a notice that was mailed.
type mailedNotice struct {
	webhookID string
	kind      failure.NoticeKind
	mailedAt  time.Time // the first mail
	streak    Streak
}

// MailedAt is when these webhooks' administrators were last warned of them, by webhook; those never mailed of
// are absent. Mails that were sent or kept count, not those that failed.
func (s *Store) MailedAt(ctx context.Context, webhookIDs []string) (map[string]Mailed, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (m mailedNotice, err error) {
		err = row.Scan(&m.streak.Generation, sqldb.Stamp{T: &m.streak.StartedAt}, &m.webhookID, &m.kind, sqldb.Stamp{T: &m.mailedAt})
		return m, err
	}, s.mailedAtQuery(), s.list(webhookIDs))
	if err != nil {
		return nil, fmt.Errorf("mails of %d webhooks: %w", len(webhookIDs), err)
	}
	return latestMailed(rows), nil
}

// mailedAtQuery has a row for each notice that was mailed. What it was of, the notice itself knows best; it may
// be older than the history, though. It is looked up by its id: a join would be planned as a look through all.
func (s *Store) mailedAtQuery() string {
	const known = "coalesce((SELECT notice.%[1]s FROM notices AS notice WHERE notice.id = mail.notice_id), mail.%[1]s), "
	return "SELECT " + fmt.Sprintf(known, "generation") + fmt.Sprintf(known, "fail_streak_started_at") + `webhook_id, notice_kind, mailed_at
		FROM (SELECT webhook_id, notice_kind, notice_id, min(mailed_at) AS mailed_at, max(generation) AS generation,
			max(fail_streak_started_at) AS fail_streak_started_at
			FROM notices` + s.indexed("notices_mails_of_webhook") + ` WHERE kind = 'mailed' AND webhook_id ` + s.among() + `
			AND mail_result IN ('sent', 'kept') AND notice_kind IN ('warning', 'disabled', 'gone')
			GROUP BY webhook_id, notice_kind, notice_id) AS mail`
}

// latestMailed are the latest warning and disable of each webhook.
func latestMailed(all []mailedNotice) map[string]Mailed {
	out := map[string]Mailed{}
	for _, n := range all {
		m := out[n.webhookID]
		at, streak := &m.DisabledAt, &m.DisabledStreak
		if n.kind == failure.NoticeWarning {
			at, streak = &m.WarningAt, &m.WarningStreak
		}
		if at.IsZero() || n.streak.after(*streak, n.mailedAt, *at) {
			*at, *streak = n.mailedAt, n.streak
		}
		out[n.webhookID] = m
	}
	return out
}

// after reports whether a streak, of which was mailed at a time, came after another.
func (s Streak) after(other Streak, at, otherAt time.Time) bool {
	return cmp.Or(cmp.Compare(s.Generation, other.Generation), s.StartedAt.Compare(other.StartedAt), at.Compare(otherAt)) > 0
}
