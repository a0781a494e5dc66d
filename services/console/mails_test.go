package console_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const mailsPath = "/api/v1/mails"

// mailed is what came of the mail of a notice to an administrator.
func mailed(n failure.Notice, administratorID string, at time.Time) failure.Notice {
	m := n
	m.ID, m.Kind, m.NoticeID, m.NoticeKind = failure.MailedID(n.ID, administratorID), failure.NoticeMailed, n.ID, n.Kind
	m.AdministratorID, m.MailTo, m.MailedAt, m.MailResult = administratorID, "admin@example.com", at, failure.MailSent
	m.MailSubject, m.MailText = "Webhook orders: "+string(n.Kind), "It failed.\n\nReactivate it.\n"
	return m
}

func (r *rig) notices(all ...failure.Notice) {
	r.t.Helper()
	r.record(func(b *history.Batch) {
		for _, n := range all {
			b.AddNotice(n)
		}
	})
}

// notice is raised of a webhook of the default tenant.
func notice(kind failure.NoticeKind, webhookID string, generation uint64, streak time.Time) failure.Notice {
	return failure.Notice{
		ID: failure.NoticeID(webhookID, generation, streak, kind), Kind: kind, Tenant: "default", WebhookID: webhookID,
		Generation: generation, FailStreak: 250, FailStreakStartedAt: streak, RaisedAt: streak.Add(time.Hour), LastStatusCode: 500,
	}
}

func ids(mails []console.Mail) (out []string) {
	for _, m := range mails {
		out = append(out, m.ID)
	}
	return out
}

func TestMails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hook, other := uuid.NewString(), uuid.NewString()
	warning := notice(failure.NoticeWarning, hook, 1, t0)
	first := mailed(warning, "a1", t0.Add(2*time.Hour))
	second := mailed(warning, "a2", t0.Add(3*time.Hour))
	second.MailResult, second.MailError = failure.MailFailed, "550 no such user"
	third := mailed(notice(failure.NoticeGone, other, 1, t0), "a1", t0.Add(4*time.Hour))
	third.MailResult = failure.MailKept
	foreign := mailed(notice(failure.NoticeGone, uuid.NewString(), 1, t0), "a3", t0.Add(5*time.Hour))
	foreign.Tenant = "acme"
	r.notices(warning, first, second, third, foreign)

	all := data[[]console.Mail](t, r.do(200, "GET", mailsPath, ""))
	want := []console.Mail{
		{ID: third.ID, Kind: "gone", WebhookID: other, To: "admin@example.com", Subject: "Webhook orders: gone", Text: first.MailText, Result: "kept", MailedAt: third.MailedAt},
		{ID: second.ID, Kind: "warning", WebhookID: hook, To: "admin@example.com", Subject: "Webhook orders: warning", Text: first.MailText, Result: "failed", Error: "550 no such user", MailedAt: second.MailedAt},
		{ID: first.ID, Kind: "warning", WebhookID: hook, To: "admin@example.com", Subject: "Webhook orders: warning", Text: first.MailText, Result: "sent", MailedAt: first.MailedAt},
	}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("newest first (-want +got):\n%s", d)
	}
	if got := ids(data[[]console.Mail](t, r.do(200, "GET", mailsPath+"?sort=mailed_at", ""))); !cmp.Equal(got, []string{first.ID, second.ID, third.ID}) {
		t.Errorf("oldest first: %v", got)
	}
	if a := r.do(200, "GET", mailsPath+"?show=kind&limit=1&total=true", ""); string(a.Data) != `[{"id":"`+third.ID+`","kind":"gone"}]` || *a.Meta.Total != 3 {
		t.Errorf("some fields: %s", a.text)
	}
	if got := ids(data[[]console.Mail](t, r.do(200, "GET", mailsPath+"?filter[webhook_id]="+hook, ""))); !cmp.Equal(got, []string{second.ID, first.ID}) {
		t.Errorf("of a webhook: %v", got)
	}
	upper := strings.ToUpper(hook)
	if got := data[[]console.Mail](t, r.do(200, "GET", mailsPath+"?filter[webhook_id]="+upper, "")); len(got) != 2 {
		t.Errorf("of a webhook in capitals: %v", ids(got))
	}
	var paged []string
	for cursor, pages := "", 1; ; pages++ {
		a := r.do(200, "GET", mailsPath+"?limit=1&cursor="+url.QueryEscape(cursor), "")
		paged = append(paged, ids(data[[]console.Mail](t, a))...)
		if cursor = a.Meta.NextCursor; cursor == "" || pages == 5 {
			break
		}
	}
	if d := cmp.Diff(ids(want), paged); d != "" {
		t.Errorf("by pages: %s", d)
	}
	if got := data[console.Mail](t, r.do(200, "GET", mailsPath+"/"+second.ID, "")); !cmp.Equal(got, want[1]) {
		t.Errorf("one: %+v", got)
	}
	for name, path := range map[string]string{
		"another tenant's":    "/" + foreign.ID,
		"the notice, no mail": "/" + warning.ID,
		"none":                "/" + uuid.NewString(),
		"no id":               "/mail",
	} {
		if a := r.as(bootKey, "GET", mailsPath+path, ""); a.status != 404 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	for _, query := range []string{"?cursor=nonsense", "?limit=0", "?filter[webhook_id]=", "?filter[webhook_id]=x", "?filter[to]=x"} {
		r.do(422, "GET", mailsPath+query, "")
	}
	weak := r.key(`{"name":"weak","scopes":["webhooks","deliveries","events"]}`).Key
	for _, path := range []string{mailsPath, mailsPath + "/" + first.ID} {
		if a := r.as(weak, "GET", path, ""); a.status != 403 {
			t.Errorf("without the scope, %s: %d", path, a.status)
		}
	}
}

func TestMailsNeedTheHistory(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldbtest.SQLite(t))
	cfg.History = sqldb.Config{}
	c := start(t, cfg)
	c.awaitReady()
	c.do(503, "GET", mailsPath, "")
	c.do(503, "GET", mailsPath+"/"+uuid.NewString(), "")
}

// A webhook tells of the mails of its present streak and generation only, and why it is not sent to.
func TestWebhooksShowTheirMails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	warning, disabled := notice(failure.NoticeWarning, w.ID, 1, t0), notice(failure.NoticeDisabled, w.ID, 1, t0)
	late := mailed(warning, "a2", t0.Add(9*time.Hour))
	lost := mailed(warning, "a3", t0.Add(time.Minute))
	lost.MailResult = failure.MailFailed
	r.notices(warning, disabled, late, lost, mailed(warning, "a1", t0.Add(2*time.Hour)), mailed(disabled, "a1", t0.Add(3*time.Hour)))
	state := failure.State{
		Version: 1, FailStreak: 500, FailStreakStartedAt: t0, Disabled: true,
		DisabledAt: t0.Add(time.Hour), DisableReason: failure.DisabledByStreak,
	}
	shown := func(s failure.State, why string, ok func(console.Webhook) bool) {
		t.Helper()
		s.WebhookID, s.Tenant, s.Generation = w.ID, "default", 1
		r.write(wire.State(r.topics.States, s))
		eventually(t, func() error {
			a := r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")
			if !ok(data[console.Webhook](t, a)) {
				return errors.New(why + ": " + a.text)
			}
			return nil
		})
	}
	is := func(at *time.Time, want time.Time) bool { return at != nil && at.Equal(want) }
	shown(state, "warned and disabled", func(v console.Webhook) bool {
		return is(v.MailedWarningAt, t0.Add(2*time.Hour)) && is(v.MailedDisabledAt, t0.Add(3*time.Hour)) &&
			v.Disabled && is(v.DisabledAt, t0.Add(time.Hour)) && v.DisableReason == "fail_streak" && !v.CanSend && !v.Paused
	})
	shown(failure.State{Version: 2, FailStreak: 3, FailStreakStartedAt: t0.Add(5 * time.Hour)}, "a new streak", func(v console.Webhook) bool {
		return v.FailStreak == 3 && v.MailedWarningAt == nil && v.MailedDisabledAt == nil && !v.Disabled && v.DisabledAt == nil && v.DisableReason == ""
	})
	for _, field := range []string{`"paused":true`, `"disabled":false`, `"disabled_at":null`, `"disable_reason":""`, `"mailed_warning_at":null`} {
		if a := r.do(422, "PATCH", "/api/v1/webhooks/"+w.ID, "{"+field+"}"); len(a.Errors) != 1 || a.Errors[0].Message != "is read-only" {
			t.Errorf("%s: %s", field, a.text)
		}
	}
}
