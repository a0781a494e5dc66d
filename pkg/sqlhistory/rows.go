package sqlhistory

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// The columns of the three tables that have a partition for each day. Their values and targets come in the
// same order; a row's times are UTC.
const (
	deliveryColumns = `received_at, id, tenant, webhook_id, event_id, event_type, external_reference, run, step, run_id, cause, attempt, ` +
		`status, suspend_reason, next_attempt_at, updated_at, log_topic, log_partition, log_offset`
	attemptColumns = `received_at, delivery_id, started_at, run_id, attempt, kind, tenant, webhook_id, event_id, finished_at, ` +
		`status, status_code, error_code, detail`
	eventColumns = `received_at, log_topic, log_partition, log_offset, id, tenant, type, external_reference, occurred_at, api_key_id`
)

// columns are the names in one of the lists above.
func columns(list string) []string { return strings.Split(list, ", ") }

// text is s as it is stored: PostgreSQL takes neither a zero byte nor what is not UTF-8, and one such
// record must not stop all that come behind it. Filters by a text ask for text(s).
func text[T ~string](s T) string {
	if strings.IndexByte(string(s), 0) < 0 && utf8.ValidString(string(s)) {
		return string(s)
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(s), "\uFFFD"), "\x00", "\uFFFD")
}

func deliveryValues(row []any, d *history.Delivery) []any {
	return append(row,
		sqldb.Nanos(d.ReceivedAt), text(d.ID), text(d.Tenant), text(d.WebhookID), text(d.EventID), text(d.EventType),
		text(d.ExternalReference), text(d.Run), d.Step, text(d.RunID), text(d.Cause), int64(d.Attempt),
		text(d.Status), text(d.SuspendReason), sqldb.Nanos(d.NextAttemptAt), sqldb.Nanos(d.UpdatedAt),
		text(d.Position.Topic), int64(d.Position.Partition), d.Position.Offset,
	)
}

// deliveryTargets are where the columns of a delivery are scanned to.
func deliveryTargets(d *history.Delivery) []any {
	return []any{
		sqldb.Stamp{T: &d.ReceivedAt}, &d.ID, &d.Tenant, &d.WebhookID, &d.EventID, &d.EventType,
		&d.ExternalReference, &d.Run, &d.Step, &d.RunID, &d.Cause, &d.Attempt,
		&d.Status, &d.SuspendReason, sqldb.Stamp{T: &d.NextAttemptAt}, sqldb.Stamp{T: &d.UpdatedAt},
		&d.Position.Topic, &d.Position.Partition, &d.Position.Offset,
	}
}

func scanDelivery(row sqldb.Scanner) (history.Delivery, error) {
	var d history.Delivery
	err := row.Scan(deliveryTargets(&d)...)
	return d, err
}

func attemptValues(row []any, a *history.Attempt) []any {
	return append(row,
		sqldb.Nanos(a.ReceivedAt), text(a.DeliveryID), sqldb.Nanos(a.StartedAt), text(a.RunID), int64(a.Attempt.Attempt), text(a.Kind),
		text(a.Tenant), text(a.WebhookID), text(a.EventID), sqldb.Nanos(a.FinishedAt),
		text(a.Status), int64(a.Outcome.StatusCode), text(a.Outcome.ErrorCode), encodeDetail(a),
	)
}

// attemptTargets are where the columns of an attempt are scanned to.
func attemptTargets(a *history.Attempt) []any {
	return []any{
		sqldb.Stamp{T: &a.ReceivedAt}, &a.DeliveryID, sqldb.Stamp{T: &a.StartedAt}, &a.RunID, &a.Attempt.Attempt, &a.Kind,
		&a.Tenant, &a.WebhookID, &a.EventID, sqldb.Stamp{T: &a.FinishedAt},
		&a.Status, &a.Outcome.StatusCode, &a.Outcome.ErrorCode, detailOf{a},
	}
}

func scanAttempt(row sqldb.Scanner) (history.Attempt, error) {
	var a history.Attempt
	err := row.Scan(attemptTargets(&a)...)
	return a, err
}

func eventValues(row []any, e *history.Event) []any {
	return append(row,
		sqldb.Nanos(e.ReceivedAt), text(e.Position.Topic), int64(e.Position.Partition), e.Position.Offset, text(e.ID), text(e.Tenant),
		text(e.Type), text(e.ExternalReference), sqldb.Nanos(e.OccurredAt), text(e.APIKeyID),
	)
}

func scanEvent(row sqldb.Scanner) (history.Event, error) {
	var e history.Event
	err := row.Scan(
		sqldb.Stamp{T: &e.ReceivedAt}, &e.Position.Topic, &e.Position.Partition, &e.Position.Offset, &e.ID, &e.Tenant,
		&e.Type, &e.ExternalReference, sqldb.Stamp{T: &e.OccurredAt}, &e.APIKeyID,
	)
	return e, err
}

// stamp is a stored time: Unix nanoseconds, 0 for never.
func stamp(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
