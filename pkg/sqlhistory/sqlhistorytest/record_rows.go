package sqlhistorytest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Whole is an attempt with every field set.
func Whole() delivery.Attempt {
	id := delivery.ID("event", "webhook")
	return delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: id, RunID: delivery.FirstRunID(id), Cause: delivery.CauseResend, Attempt: 3,
		Tenant: "acme", WebhookID: "webhook", WebhookGeneration: 5, EventID: "event", EventType: "card.updated",
		Lane: "doorstep.deliveries.5m", ReceivedAt: noon, DueAt: noon.Add(1), StartedAt: noon.Add(2), FinishedAt: noon.Add(3),
		Outcome: delivery.Outcome{
			URL: "https://example.com/a?b=<c>", RemoteAddress: "203.0.113.7:443", StatusCode: 503, ErrorCode: "status",
			Error: "Der Empfänger antwortete 503.", RetryAfter: time.Minute,
			RequestHeaders:  []delivery.Header{{Name: "Webhook-Id", Value: id}, {Name: "Authorization", Value: "***"}},
			ResponseHeaders: []delivery.Header{{Name: "Retry-After", Value: "60"}, {Name: "X", Value: ""}},
			ResponseBody:    []byte{0, 1, 0xfe, 0xff, '"'},
			Phases:          delivery.Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4, Total: 5, Reused: true},
		},
		Status: delivery.Retrying, NextAttemptAt: noon.Add(time.Hour), Instance: "sender-0", Count: 7, TraceContext: "00-01-02-01",
		Position: delivery.Position{Topic: "doorstep.deliveries", Partition: 11, Offset: 1 << 40},
	}
}

func whole(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	var b history.Batch
	b.AddAttempt(Whole())
	d := life{event: "event", webhook: "webhook", received: noon, reference: "Kärtchen 7"}
	d.suspended("01970000-0000-7000-8000-000000000001", 2)(&b)
	d.published(&b)
	mustRecord(t, s, &b)
	for _, fault := range faults(s, b) {
		t.Error(fault)
	}
}

// texts records what the log may hold and PostgreSQL refuses: it must not stop what comes behind it.
func texts(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	var b history.Batch
	bad := "a\x00b\xff"
	a := Whole()
	a.EventType, a.Outcome.ErrorCode, a.Outcome.Error, a.Outcome.URL, a.Instance = bad, bad, bad, bad, bad
	a.Outcome.ResponseHeaders = []delivery.Header{{Name: bad, Value: bad}}
	b.AddAttempt(a)
	l := life{event: "event", webhook: "webhook", received: noon, reference: "a\x00b"}
	l.published(&b)
	l.pending(delivery.FirstRunID(l.id()))(&b)
	b.AddState(failure.State{WebhookID: "webhook", LastError: bad})
	b.AddNotice(failure.Notice{ID: "notice", LastError: bad, MailTo: bad, MailError: bad, MailSubject: bad, MailText: bad})
	b.AddQuarantined(history.Quarantined{Reader: "matcher", Reason: bad})
	mustRecord(t, s, &b)
	d, err := s.Delivery(t.Context(), "acme", l.id())
	if err != nil || d.ExternalReference != "a\uFFFDb" || d.EventType != "a\uFFFDb\uFFFD" {
		t.Errorf("%q, %q, %v", d.ExternalReference, d.EventType, err)
	}
	made, err := s.Attempts(t.Context(), d)
	if err != nil || len(made) != 1 || made[0].Outcome.Error != "a\x00b\uFFFD" {
		t.Errorf("%+v, %v", made, err)
	}
}

// ofWebhooks records states and attempts of webhooks, newest first and last.
func ofWebhooks(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	state := failure.State{
		WebhookID: "webhook", Tenant: "acme", Generation: 2, Version: 3, FailStreak: 4, FailStreakStartedAt: noon, LastFailedAt: noon.Add(1),
		LastFailureAt: noon.Add(2), FailureCount: 5, LastSuccessAt: noon.Add(3), Disabled: true, DisabledAt: noon.Add(4),
		DisableReason: failure.DisabledByGone, DisabledUntil: noon.Add(5), WarnedAt: noon.Add(6), LastStatusCode: 410, LastError: "gone",
	}
	older, newer := state, state
	older.Version, older.Disabled = 2, false
	newer.Generation, newer.Version, newer.Disabled, newer.LastError = 3, 1, false, ""
	for _, step := range []struct {
		record, want failure.State
	}{{state, state}, {older, state}, {newer, newer}, {state, newer}} {
		var b history.Batch
		b.AddState(step.record)
		mustRecord(t, s, &b)
		var got failure.State
		err := s.Read.QueryRowContext(t.Context(), `SELECT webhook_id, tenant, generation, version, fail_streak, fail_streak_started_at,
			last_failed_at, last_failure_at, failure_count, last_success_at, disabled, disabled_at, disable_reason, disabled_until,
			warned_at, last_status_code, last_error FROM webhook_states`).Scan(
			&got.WebhookID, &got.Tenant, &got.Generation, &got.Version, &got.FailStreak, sqldb.Stamp{T: &got.FailStreakStartedAt},
			sqldb.Stamp{T: &got.LastFailedAt}, sqldb.Stamp{T: &got.LastFailureAt}, &got.FailureCount, sqldb.Stamp{T: &got.LastSuccessAt},
			&got.Disabled, sqldb.Stamp{T: &got.DisabledAt}, &got.DisableReason, sqldb.Stamp{T: &got.DisabledUntil},
			sqldb.Stamp{T: &got.WarnedAt}, &got.LastStatusCode, &got.LastError)
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got) %s", err, diff)
		}
	}

	for _, step := range []struct{ record, want history.Activity }{
		{history.Activity{LastTriggeredAt: noon}, history.Activity{LastTriggeredAt: noon}},
		{history.Activity{LastTriggeredAt: noon.Add(-5), LastSuccessAt: noon.Add(-4)}, history.Activity{LastTriggeredAt: noon, LastSuccessAt: noon.Add(-4)}},
		{history.Activity{LastTriggeredAt: noon.Add(5)}, history.Activity{LastTriggeredAt: noon.Add(5), LastSuccessAt: noon.Add(-4)}},
	} {
		step.record.WebhookID, step.record.Tenant, step.want.WebhookID, step.want.Tenant = "webhook", "acme", "webhook", "acme"
		mustRecord(t, s, &history.Batch{Activities: map[string]history.Activity{"webhook": step.record}})
		got, err := s.Activities(t.Context(), []string{"webhook"})
		if diff := cmp.Diff(map[string]history.Activity{"webhook": step.want}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got) %s", err, diff)
		}
	}
}

// kept records notices and quarantined records twice.
func kept(t *testing.T, cfg sqldb.Config) {
	s := openStore(t, cfg)
	want := failure.Notice{
		ID: uuid.NewString(), Kind: failure.NoticeMailed, Tenant: "acme", WebhookID: "webhook", Generation: 2, FailStreak: 250,
		FailStreakStartedAt: noon, RaisedAt: noon.Add(1), LastStatusCode: 500, LastError: "e", NoticeID: "n", MailTo: "a@example.com",
		MailedAt: noon.Add(2), NoticeKind: failure.NoticeWarning, AdministratorID: "administrator", MailResult: failure.MailFailed,
		MailError: "refused", MailSubject: "s ✓", MailText: "one line\nand another", Expiring: 7, ExpiresAt: noon.Add(3),
	}
	var b history.Batch
	b.AddNotice(want)
	b.AddQuarantined(history.Quarantined{Position: delivery.Position{Topic: "events", Partition: 3}, Reader: "recorder", At: noon})
	for offset := range int64(120) { // more than one statement of them
		b.AddQuarantined(history.Quarantined{Position: delivery.Position{Topic: "events", Partition: 3, Offset: offset}, Reader: "matcher", Reason: "r", At: noon})
	}
	mustRecord(t, s, &b)
	mustRecord(t, s, &b)
	later := history.Batch{Notices: map[string]failure.Notice{}, Quarantined: map[history.QuarantinedKey]history.Quarantined{}}
	for id, n := range b.Notices {
		n.RaisedAt, n.LastError = n.RaisedAt.Add(1), "later"
		later.Notices[id] = n
	}
	for key, q := range b.Quarantined {
		q.At, q.Reason = q.At.Add(1), "later"
		later.Quarantined[key] = q
	}
	mustRecord(t, s, &later)
	got, err := s.Mail(t.Context(), "acme", want.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got) %s", err, diff)
	}
	var sum int64
	if err := s.Read.QueryRowContext(t.Context(), `SELECT sum(log_offset) FROM quarantine WHERE reader = 'matcher' AND reason = 'r' AND at = $1`,
		sqldb.Nanos(noon)).Scan(&sum); err != nil || rows(t, s, "notices") != 1 || rows(t, s, "quarantine") != 121 || sum != 119*120/2 {
		t.Errorf("%d notices, %d quarantined, offsets %d, %v", rows(t, s, "notices"), rows(t, s, "quarantine"), sum, err)
	}
}
