package sqlhistory

import (
	"cmp"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// What is known of webhooks, not of single deliveries.
const (
	activityColumns = `webhook_id, tenant, last_triggered_at, last_success_at`
	stateColumns    = `webhook_id, tenant, generation, version, fail_streak, fail_streak_started_at, last_failed_at, last_failure_at, ` +
		`failure_count, last_success_at, disabled, disabled_at, disable_reason, disabled_until, warned_at, last_status_code, last_error`
	noticeColumns = `id, kind, tenant, webhook_id, generation, fail_streak, fail_streak_started_at, raised_at, ` +
		`last_status_code, last_error, notice_id, mail_to, mailed_at, ` +
		`notice_kind, administrator_id, mail_result, mail_error, mail_subject, mail_text, expiring, expires_at`
	conditionErrorColumns = `webhook_id, condition_key, counter, tenant, failures, last_error, last_at`

	quarantineColumns = `log_topic, log_partition, log_offset, reader, reason, at`
)

// activities are merged as history.Activity's Merge says.
var activities = target{
	table: "webhook_activity", columns: activityColumns, key: "webhook_id",
	change: `last_triggered_at = CASE WHEN excluded.last_triggered_at > webhook_activity.last_triggered_at
			THEN excluded.last_triggered_at ELSE webhook_activity.last_triggered_at END,
		last_success_at = CASE WHEN excluded.last_success_at > webhook_activity.last_success_at
			THEN excluded.last_success_at ELSE webhook_activity.last_success_at END
		WHERE excluded.last_triggered_at > webhook_activity.last_triggered_at OR excluded.last_success_at > webhook_activity.last_success_at`,
}

// states are replaced by what failure.State's Newer says.
var states = target{
	table: "webhook_states", columns: stateColumns, key: "webhook_id",
	change: replace(strings.TrimPrefix(stateColumns, "webhook_id, ")) +
		" WHERE (excluded.generation, excluded.version) > (webhook_states.generation, webhook_states.version)",
}

// Of notices and quarantined records that come again, at another time, the first holds, as in history.Batch.
// notices keep what was raised first, as history.Batch does.
var notices = target{
	table: "notices", columns: noticeColumns, key: "id",
	change: replace(strings.TrimPrefix(noticeColumns, "id, ")) +
		" WHERE (excluded.raised_at, excluded.mailed_at, excluded.fail_streak) < (notices.raised_at, notices.mailed_at, notices.fail_streak)",
}

// quarantine keeps what was said first, as history.Quarantined's Merge does.
var quarantine = target{
	table: "quarantine", columns: quarantineColumns, key: "log_topic, log_partition, log_offset, reader",
	change: replace("reason, at") + " WHERE (excluded.at, excluded.reason) < (quarantine.at, quarantine.reason)",
}

// conditionErrors keep what has counted further, as history.ConditionErrors' Merge says.
var conditionErrors = target{
	table: "webhook_condition_errors", columns: conditionErrorColumns, key: "webhook_id, condition_key, counter",
	change: replace("failures, last_error, last_at") + ` WHERE (excluded.failures, excluded.last_at, excluded.last_error) >
		(webhook_condition_errors.failures, webhook_condition_errors.last_at, webhook_condition_errors.last_error)`,
}

func conditionErrorsValues(row []any, c *history.ConditionErrors) []any {
	return append(row,
		text(c.WebhookID), text(c.Condition), text(c.Counter), text(c.Tenant), int64(c.Count), text(c.LastError), sqldb.Nanos(c.LastAt))
}

func byKeyOfConditionErrors(a, b *history.ConditionErrors) int {
	return cmp.Or(cmp.Compare(a.WebhookID, b.WebhookID), cmp.Compare(a.Condition, b.Condition), cmp.Compare(a.Counter, b.Counter))
}

func activityValues(row []any, a *history.Activity) []any {
	return append(row, text(a.WebhookID), text(a.Tenant), sqldb.Nanos(a.LastTriggeredAt), sqldb.Nanos(a.LastSuccessAt))
}

func stateValues(row []any, s *failure.State) []any {
	return append(row,
		text(s.WebhookID), text(s.Tenant), int64(s.Generation), int64(s.Version), int64(s.FailStreak), //nolint:gosec // grow by ones
		sqldb.Nanos(s.FailStreakStartedAt), sqldb.Nanos(s.LastFailedAt), sqldb.Nanos(s.LastFailureAt),
		int64(s.FailureCount), sqldb.Nanos(s.LastSuccessAt), s.Disabled, sqldb.Nanos(s.DisabledAt), text(s.DisableReason), //nolint:gosec // grows by ones
		sqldb.Nanos(s.DisabledUntil), sqldb.Nanos(s.WarnedAt), int64(s.LastStatusCode), text(s.LastError),
	)
}

func noticeValues(row []any, n *failure.Notice) []any {
	return append(row,
		text(n.ID), text(n.Kind), text(n.Tenant), text(n.WebhookID), int64(n.Generation), int64(n.FailStreak), //nolint:gosec // grows by ones
		sqldb.Nanos(n.FailStreakStartedAt), sqldb.Nanos(n.RaisedAt), int64(n.LastStatusCode), text(n.LastError),
		text(n.NoticeID), text(n.MailTo), sqldb.Nanos(n.MailedAt),
		text(n.NoticeKind), text(n.AdministratorID), text(n.MailResult), text(n.MailError), text(n.MailSubject), text(n.MailText),
		int64(n.Expiring), sqldb.Nanos(n.ExpiresAt),
	)
}

func scanNotice(row sqldb.Scanner) (failure.Notice, error) {
	var n failure.Notice
	err := row.Scan(
		&n.ID, &n.Kind, &n.Tenant, &n.WebhookID, &n.Generation, &n.FailStreak,
		sqldb.Stamp{T: &n.FailStreakStartedAt}, sqldb.Stamp{T: &n.RaisedAt}, &n.LastStatusCode, &n.LastError,
		&n.NoticeID, &n.MailTo, sqldb.Stamp{T: &n.MailedAt},
		&n.NoticeKind, &n.AdministratorID, &n.MailResult, &n.MailError, &n.MailSubject, &n.MailText,
		&n.Expiring, sqldb.Stamp{T: &n.ExpiresAt},
	)
	return n, err
}

func quarantineValues(row []any, q *history.Quarantined) []any {
	return append(row,
		text(q.Position.Topic), int64(q.Position.Partition), q.Position.Offset, text(q.Reader), text(q.Reason), sqldb.Nanos(q.At),
	)
}

func byPosition(a, b delivery.Position) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
}
