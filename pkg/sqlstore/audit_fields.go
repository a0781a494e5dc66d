package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// untold stands for a value that the audit log does not tell.
const untold = "***"

// telling is how a column appears in the audit log. A column that has none is masked.
type telling func(stored any) any

// bookkeeping is left out of the audit log: it says nothing that the entry does not.
var bookkeeping telling

func asItIs(v any) any { return v }

// withoutQuery is a URL with its query masked: receivers' tokens are often there.
func withoutQuery(v any) any {
	text, _ := v.(string)
	if before, _, found := strings.Cut(text, "?"); found {
		return before + "?" + untold
	}
	return text
}

func document(v any) any {
	text, _ := v.(string)
	return json.RawMessage(text)
}

func stamp(v any) any {
	nanos, _ := v.(int64)
	if nanos == 0 {
		return nil
	}
	return time.Unix(0, nanos).UTC().Format(time.RFC3339Nano)
}

func masked(v any) any {
	if reflect.ValueOf(v).IsZero() {
		return v
	}
	return untold
}

// maskedEmail tells where a mail goes as far as it is needed to tell administrators apart: what is noted here
// stays when they have gone.
func maskedEmail(v any) any {
	text, _ := v.(string)
	at := strings.LastIndexByte(text, '@')
	if at < 1 {
		return untold
	}
	_, size := utf8.DecodeRuneInString(text)
	return text[:size] + untold + text[at:]
}

// headerNames are a webhook's headers without their values.
func headerNames(v any) any {
	var rows []headerRow
	text, _ := v.(string)
	_ = json.Unmarshal([]byte(text), &rows) // we have written it ourselves
	names := map[string]string{}
	for _, h := range rows {
		names[h.Name] = untold
	}
	return names
}

// signingKeyEnds are a webhook's signing keys by scheme and end, without the keys.
func signingKeyEnds(v any) any {
	type end struct {
		Scheme    string `json:"scheme"`
		Secret    string `json:"secret"`
		ExpiresAt any    `json:"expires_at"`
	}
	var rows []signingKeyRow
	text, _ := v.(string)
	_ = json.Unmarshal([]byte(text), &rows) // we have written it ourselves
	ends := []end{}
	for _, k := range rows {
		ends = append(ends, end{k.Scheme, untold, stamp(k.ExpiresAt)})
	}
	return ends
}

// digest tells long texts apart.
func digest(v any) any {
	text, _ := v.(string)
	if text == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%d bytes, SHA-256 %x", len(text), sum[:8])
}

// tellings say for each kind how its columns appear in the audit log.
var tellings = map[Kind]map[string]telling{
	KindWebhook: {
		"id": bookkeeping, "tenant": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"api_key_id": asItIs, "name": asItIs, "description": asItIs, "url": withoutQuery, "active": asItIs, "paused": asItIs,
		"event_types": document, "filters": document, "condition": asItIs, "headers": headerNames, "payload": document,
		"retry_count": asItIs, "timeout_seconds": asItIs, "rate_limit": asItIs, "max_in_flight": asItIs,
		"external_reference": asItIs, "metadata": document, "signing_keys": signingKeyEnds,
		"developer_client_id": asItIs, "third_party": asItIs, "held": asItIs, "generation": asItIs,
	},
	KindTenant: {
		"id": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"name": asItIs, "open": asItIs, "policy": document, "payload": document, "features": document, "profile": asItIs,
	},
	KindAPIKey: {
		"id": bookkeeping, "tenant": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"last_used_at": bookkeeping, "hash": bookkeeping,
		"name": asItIs, "prefix": asItIs, "scopes": document, "developer_client_id": asItIs, "expires_at": stamp,
	},
	KindAdministrator: {
		"id": bookkeeping, "tenant": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"email_lower": bookkeeping,
		"email":       maskedEmail, "name": masked, "language": asItIs, "notices": document,
	},
	KindEventType: {
		"id": bookkeeping, "tenant": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"type": asItIs, `"group"`: asItIs, "description": asItIs, "kind": asItIs, "deprecated": asItIs, "attributes": document,
		"profile": asItIs, "schema": digest, "example": digest,
	},
	KindJob: {
		"id": bookkeeping, "tenant": bookkeeping, "created_at": bookkeeping, "updated_at": bookkeeping, "version": bookkeeping,
		"requested_by": bookkeeping,
		"webhook_id":   asItIs, "kind": asItIs, "selection": selectionTold, "status": asItIs, "total": asItIs, "changed": asItIs, "skipped": asItIs, "skipped_for": document,
		"error": asItIs, "finished_at": stamp,
	},
}

// selectionTold is what a job selects, without the places in the log that it was narrowed to.
func selectionTold(v any) any {
	var row selectionRow
	text, _ := v.(string)
	_ = json.Unmarshal([]byte(text), &row) // we have written it ourselves
	out := map[string]any{}
	for name, x := range map[string]any{
		"event_types": row.EventTypes, "delivery_ids": row.DeliveryIDs, "reason": row.Reason,
		"suspended_from": stamp(row.SuspendedFrom), "suspended_to": stamp(row.SuspendedTo),
		"statuses": row.Statuses, "since": stamp(row.Since), "until": stamp(row.Until),
	} {
		if x != nil && !reflect.ValueOf(x).IsZero() {
			out[name] = x
		}
	}
	return out
}

// stored is a row as it is stored, by column; nil: there is none.
type stored map[string]any

func storedAs(columns []string, values []any) stored {
	row := make(stored, len(columns))
	for i, name := range columns {
		row[name] = values[i]
	}
	return row
}

// changes are the fields that differ between two rows of a kind, before and after, as JSON objects. Of a row that was
// made or removed they are the fields that are not empty, and nil on the other side.
func changes(kind Kind, before, after stored) (was, is json.RawMessage) {
	from, to := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	whole := before == nil || after == nil
	row := before
	if row == nil {
		row = after
	}
	for name := range row {
		a, b := before[name], after[name]
		tell, known := tellings[kind][name]
		if !known {
			tell = masked
		}
		if tell == nil || reflect.DeepEqual(a, b) {
			continue
		}
		if text := toldAs(tell, a); !whole || !empty(text) {
			from[strings.Trim(name, `"`)] = text
		}
		if text := toldAs(tell, b); !whole || !empty(text) {
			to[strings.Trim(name, `"`)] = text
		}
	}
	if before != nil {
		was = json.RawMessage(sqldb.AsJSON(from))
	}
	if after != nil {
		is = json.RawMessage(sqldb.AsJSON(to))
	}
	return was, is
}

func toldAs(tell telling, v any) json.RawMessage {
	if v == nil {
		return json.RawMessage("null")
	}
	return json.RawMessage(sqldb.AsJSON(tell(v)))
}

func empty(text json.RawMessage) bool {
	switch string(text) {
	case `null`, `""`, `[]`, `{}`:
		return true
	}
	return false
}

// announced writes the outbox row of a change, and its entry in the audit log, into its transaction. before is nil for
// what is made, after for what is removed.
func announced(ctx context.Context, tx *sql.Tx, by Author, of Subject, before, after stored) error {
	return announcedAll(ctx, tx, by, []change{{of, before, after}})
}

// change is one of those that announcedAll announces.
type change struct {
	of            Subject
	before, after stored
}

// announcedAll is announced of several changes.
func announcedAll(ctx context.Context, tx *sql.Tx, by Author, all []change) error {
	if len(all) == 0 {
		return nil
	}
	entries, outbox := make([][]any, len(all)), make([][]any, len(all))
	for i, c := range all {
		was, is := changes(c.of.Kind, c.before, c.after)
		entries[i] = auditValues(uuid.Must(uuid.NewV7()).String(), by, c.of, was, is, AuditDone)
		outbox[i] = []any{string(c.of.Kind), c.of.ID, false}
	}
	if err := noteAll(ctx, tx, by, AuditDone, entries); err != nil {
		return err
	}
	return insertRows(ctx, tx, "outbox", []string{"kind", "key", "bulk"}, "", outbox)
}
