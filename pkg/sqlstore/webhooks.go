package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// webhookColumns are in the order of webhookValues and scanWebhook. The first four never change.
var webhookColumns = []string{
	"id", "tenant", "created_at", "api_key_id",
	"name", "description", "url", "active", "paused", "event_types", "filters", "condition", "headers", "payload",
	"retry_count", "timeout_seconds", "rate_limit", "max_in_flight", "external_reference", "metadata", "signing_keys",
	"developer_client_id", "third_party", "held", "generation", "version", "updated_at",
}

const webhookFixed = 4

func webhookValues(w webhook.Webhook) []any {
	var headers []headerRow
	for _, h := range w.Headers {
		headers = append(headers, headerToRow(h))
	}
	var keys []signingKeyRow
	for _, k := range w.SigningKeys {
		keys = append(keys, signingKeyRow{string(k.Scheme), k.Secret.KeyID, k.Secret.Bytes, sqldb.Nanos(k.ExpiresAt)})
	}
	return []any{
		w.ID, w.Tenant, sqldb.Nanos(w.CreatedAt), w.APIKeyID,
		w.Name, w.Description, w.URL, w.Active, w.Paused, list(w.EventTypes), dict(w.Filters), w.Condition, list(headers),
		sqldb.AsJSON(payloadToRow(w.Payload)), w.RetryCount, wholeSeconds(w.Timeout), w.RateLimit, w.MaxInFlight,
		w.ExternalReference, dict(w.Metadata), list(keys), w.DeveloperClientID, w.ThirdParty, w.Held,
		int64(w.Generation), int64(w.Version), sqldb.Nanos(w.UpdatedAt), //nolint:gosec // both grow by ones
	}
}

func scanWebhook(row sqldb.Scanner) (webhook.Webhook, error) {
	var (
		w       webhook.Webhook
		headers []headerRow
		keys    []signingKeyRow
		payload payloadRow
		timeout *int64
	)
	err := row.Scan(&w.ID, &w.Tenant, sqldb.Stamp{T: &w.CreatedAt}, &w.APIKeyID,
		&w.Name, &w.Description, &w.URL, &w.Active, &w.Paused, sqldb.Document{To: &w.EventTypes}, sqldb.Document{To: &w.Filters}, &w.Condition,
		sqldb.Document{To: &headers}, sqldb.Document{To: &payload}, &w.RetryCount, &timeout, &w.RateLimit, &w.MaxInFlight,
		&w.ExternalReference, sqldb.Document{To: &w.Metadata}, sqldb.Document{To: &keys}, &w.DeveloperClientID, &w.ThirdParty, &w.Held,
		&w.Generation, &w.Version, sqldb.Stamp{T: &w.UpdatedAt})
	if err != nil {
		return webhook.Webhook{}, err
	}
	for _, h := range headers {
		w.Headers = append(w.Headers, h.header())
	}
	for _, k := range keys {
		key := webhook.SigningKey{Scheme: webhook.Scheme(k.Scheme), Secret: webhook.Sealed{KeyID: k.KeyID, Bytes: k.Secret}}
		if k.ExpiresAt != 0 {
			key.ExpiresAt = time.Unix(0, k.ExpiresAt).UTC()
		}
		w.SigningKeys = append(w.SigningKeys, key)
	}
	w.Payload, w.Timeout = payload.payload(), fromSeconds(timeout)
	if len(w.Filters) == 0 {
		w.Filters = nil
	}
	if len(w.Metadata) == 0 {
		w.Metadata = nil
	}
	if len(w.EventTypes) == 0 {
		w.EventTypes = nil
	}
	return w, nil
}

var selectWebhooks = "SELECT " + strings.Join(webhookColumns, ", ") + " FROM webhooks"

// CreateWebhook stores a new webhook as version 1 of generation 1 and returns it so. Its tenant is
// made if it is new.
func (s *Store) CreateWebhook(ctx context.Context, by Author, w webhook.Webhook) (webhook.Webhook, error) {
	w.Generation, w.Version = 1, 1
	err := s.change(ctx, func(tx *sql.Tx) error {
		if err := ensureTenant(ctx, tx, by, w.Tenant, w.CreatedAt); err != nil {
			return err
		}
		values := webhookValues(w)
		_, err := tx.ExecContext(ctx, "INSERT INTO webhooks ("+strings.Join(webhookColumns, ", ")+
			") VALUES ("+sqldb.Places(len(values))+")", values...)
		if err != nil {
			return err
		}
		return announced(ctx, tx, by, aboutWebhook(w), nil, storedAs(webhookColumns, values))
	})
	if err != nil {
		return webhook.Webhook{}, fmt.Errorf("create webhook %s: %w", w.ID, err)
	}
	return w, nil
}

// Webhook is the tenant's webhook of that id. It errs with ErrNotFound, also for another tenant's.
func (s *Store) Webhook(ctx context.Context, tenant, id string) (webhook.Webhook, error) {
	w, err := sqldb.One(ctx, s.Read, scanWebhook, selectWebhooks+" WHERE tenant = $1 AND id = $2", tenant, id)
	if err != nil {
		return webhook.Webhook{}, fmt.Errorf("webhook %s: %w", id, err)
	}
	return w, nil
}

var listedWebhooks = listed[webhook.Webhook]{"webhooks", webhookColumns, scanWebhook}

// Webhooks lists a tenant's webhooks, as WebhookList has it.
func (s *Store) Webhooks(ctx context.Context, tenant string, q lists.Query) ([]webhook.Webhook, lists.Found, error) {
	rows, found, err := page(ctx, s, listedWebhooks, scope{tenant: tenant}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list webhooks: %w", err)
	}
	return rows, found, nil
}

// UpdateWebhook stores w, which was read at w.Version, as the next version and returns it so. It
// errs with ErrConflict if the webhook has another version by now, with ErrNotFound if it is gone.
// ID, tenant, creation time and creator stay.
func (s *Store) UpdateWebhook(ctx context.Context, by Author, w webhook.Webhook) (webhook.Webhook, error) {
	return s.updateWebhook(ctx, w, func(tx *sql.Tx, was, is webhook.Webhook) error {
		return announced(ctx, tx, by, aboutWebhook(is), storedAs(webhookColumns, webhookValues(was)), storedAs(webhookColumns, webhookValues(is)))
	})
}

// ResealWebhook is UpdateWebhook for secrets that were sealed with another key, which stay what they are: nobody's
// change, so it needs no author.
func (s *Store) ResealWebhook(ctx context.Context, w webhook.Webhook) (webhook.Webhook, error) {
	return s.updateWebhook(ctx, w, func(tx *sql.Tx, was, is webhook.Webhook) error {
		was.Headers, was.SigningKeys, was.Version = is.Headers, is.SigningKeys, is.Version
		if !reflect.DeepEqual(webhookValues(was), webhookValues(is)) {
			return fmt.Errorf("webhook %s: more than its secrets was changed", w.ID)
		}
		return announce(ctx, tx, KindWebhook, is.ID)
	})
}

func (s *Store) updateWebhook(ctx context.Context, w webhook.Webhook, tell func(tx *sql.Tx, was, is webhook.Webhook) error) (webhook.Webhook, error) {
	before := w.Version
	w.Version++
	err := s.change(ctx, func(tx *sql.Tx) error {
		was, err := sqldb.One(ctx, tx, scanWebhook, selectWebhooks+" WHERE tenant = $1 AND id = $2", w.Tenant, w.ID)
		if err != nil {
			return err
		}
		values := webhookValues(w)[webhookFixed:]
		n := len(values)
		done, err := affected(tx.ExecContext(ctx, "UPDATE webhooks SET ("+strings.Join(webhookColumns[webhookFixed:], ", ")+") = ("+
			sqldb.Places(n)+") WHERE "+fmt.Sprintf("tenant = $%d AND id = $%d AND version = $%d", n+1, n+2, n+3),
			append(values, w.Tenant, w.ID, int64(before))...)) //nolint:gosec // grows by ones
		if err != nil {
			return err
		}
		if !done || was.Version != before { // at this version, was is what the update has found
			return ErrConflict
		}
		return tell(tx, was, w)
	})
	if err != nil {
		return webhook.Webhook{}, fmt.Errorf("update webhook %s: %w", w.ID, err)
	}
	return w, nil
}

// DeleteWebhook removes a tenant's webhook, if version is not 0 only at that version. It errs with ErrNotFound and
// ErrConflict.
func (s *Store) DeleteWebhook(ctx context.Context, by Author, tenant, id string, version uint64) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		was, err := removed(ctx, tx, scanWebhook, "webhooks", webhookColumns, tenant, id)
		if err != nil {
			return err
		}
		if version != 0 && was.Version != version {
			return ErrConflict
		}
		return announced(ctx, tx, by, aboutWebhook(was), storedAs(webhookColumns, webhookValues(was)), nil)
	})
	if err != nil {
		return fmt.Errorf("delete webhook %s: %w", id, err)
	}
	return nil
}

func aboutWebhook(w webhook.Webhook) Subject {
	return Subject{Kind: KindWebhook, ID: w.ID, Tenant: w.Tenant}
}

// removed deletes a tenant's row and returns it as it was. It errs with ErrNotFound.
func removed[T any](ctx context.Context, tx *sql.Tx, scan func(sqldb.Scanner) (T, error), table string, columns []string, of, id string) (T, error) {
	return sqldb.One(ctx, tx, scan, "DELETE FROM "+table+" WHERE tenant = $1 AND id = $2 RETURNING "+strings.Join(columns, ", "), of, id)
}

// WebhooksOfAll are webhooks of all tenants in the order of their ids: the first of those behind the id after, which
// may be empty.
func (s *Store) WebhooksOfAll(ctx context.Context, after string, limit int) ([]webhook.Webhook, error) {
	rows, err := sqldb.All(ctx, s.Read, scanWebhook, selectWebhooks+" WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("read all webhooks: %w", err)
	}
	return rows, nil
}

// Scrub removes from the file of SQLite what rows held before they were changed. PostgreSQL does so by itself, when it
// vacuums and recycles its log.
func (s *Store) Scrub(ctx context.Context) error {
	if s.Postgres() {
		return nil
	}
	for _, statement := range []string{"VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := s.Write.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("scrub: %w", err)
		}
	}
	return nil
}
