package console

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// Mail is what one administrator was told of a webhook.
type Mail struct {
	ID        string             `json:"id" format:"uuid"`
	Kind      failure.NoticeKind `json:"kind" enum:"warning,disabled,gone,expiry"`
	WebhookID string             `json:"webhook_id" format:"uuid"`
	To        string             `json:"to" doc:"The administrator's address at that time"`
	Subject   string             `json:"subject"`
	Text      string             `json:"text" doc:"Its plain text"`
	Result    failure.MailResult `json:"result" enum:"sent,kept,failed" doc:"sent: a mail server took it. kept: there is none, it can be read here only. failed: refused for good, or for too long"`
	Error     string             `json:"error" doc:"Of one that failed: why"`
	MailedAt  time.Time          `json:"mailed_at" doc:"When it was sent, kept or given up"`
}

func mailView(n failure.Notice) Mail {
	return Mail{
		ID: n.ID, Kind: n.NoticeKind, WebhookID: n.WebhookID, To: n.MailTo, Subject: n.MailSubject, Text: n.MailText,
		Result: n.MailResult, Error: n.MailError, MailedAt: n.MailedAt,
	}
}

func (s *Service) routeMails(api huma.API) {
	add(s, api, route{
		id: "list-mails", method: http.MethodGet, path: "mails", scope: tenant.ScopeAdmin,
		summary: "List the mails to the tenant's administrators, newest first", list: listOf[Mail](mailList()),
	}, s.listMails)
	add(s, api, route{
		id: "get-mail", method: http.MethodGet, path: "mails/{id}", scope: tenant.ScopeAdmin,
		summary: "Show a mail", problems: []int{404}, list: oneOf[Mail](),
	}, s.getMail)
}

func (s *Service) listMails(ctx context.Context, _ *noInput) (*output[[]Mail], error) {
	q := queryOf(ctx)
	f := mailFilter(callerOf(ctx).Tenant, q)
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	mails, next, err := store.Mails(ctx, f, historyPage(q))
	if err != nil {
		return nil, err
	}
	found, err := foundOf(next, q, func() (sqlhistory.Total, error) { return store.MailsTotal(ctx, f) })
	if err != nil {
		return nil, err
	}
	views := make([]Mail, len(mails))
	for i, n := range mails {
		views[i] = mailView(n)
	}
	return replyList(ctx, views, found), nil
}

func (s *Service) getMail(ctx context.Context, in *idInput) (*output[Mail], error) {
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	if err := checkID(in.ID); err != nil {
		return nil, err
	}
	n, err := store.Mail(ctx, callerOf(ctx).Tenant, in.ID)
	if err != nil {
		return nil, err
	}
	return reply(ctx, mailView(n)), nil
}

// mailedOf is when administrators were first mailed what a state is in now: its streak's warning, its disable.
// Mails of a generation or a streak that has ended are of the past. Zero: not mailed, or the history does not
// have it yet.
func mailedOf(s failure.State, m sqlhistory.Mailed) (warned, disabled time.Time) {
	if w := m.WarningStreak; w.Generation == s.Generation && s.FailStreak > 0 && w.StartedAt.Equal(s.FailStreakStartedAt) {
		warned = m.WarningAt
	}
	if s.Disabled && m.DisabledStreak.Generation == s.Generation {
		disabled = m.DisabledAt
	}
	return warned, disabled
}
