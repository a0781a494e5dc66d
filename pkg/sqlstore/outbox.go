package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Kind is what a change is about.
type Kind string

// The kinds.
const (
	KindWebhook       Kind = "webhook"       // key: webhook id
	KindTenant        Kind = "tenant"        // key: tenant id
	KindAPIKey        Kind = "api_key"       // key: the key's id
	KindAdministrator Kind = "administrator" // key: administrator id
	KindEventType     Kind = "event_type"    // key: tenant id / type

	KindJob      Kind = "job"      // the audit log is told of it, the log is not
	KindDelivery Kind = "delivery" // the same
)

// Change is a row of the outbox: the thing of that kind and key was made, changed or removed.
type Change struct {
	Seq  int64
	Kind Kind
	Key  string
}

// Current is what stands now where changes were made: exactly one field is set beside Kind and Key,
// none if the thing is gone.
type Current struct {
	Kind          Kind
	Key           string
	Webhook       *webhook.Webhook
	Tenant        *tenant.Tenant
	APIKey        *tenant.APIKey
	Administrator *tenant.Administrator
	EventType     *tenant.EventType
}

// announce writes the outbox row of a change into its transaction.
func announce(ctx context.Context, tx *sql.Tx, kind Kind, key string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO outbox (kind, key, bulk) VALUES ($1, $2, $3)", string(kind), key, false)
	return err
}

// Changed receives after changes made through this Store, one value for any number of them. Changes
// of other programs are found by asking Changes now and then.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Changes are the first rows of the outbox, those of a Republish last. A row appears once its
// transaction has committed, which need not be in the order of seq: so rows are always read from
// the start, and only DeleteChanges moves on.
func (s *Store) Changes(ctx context.Context, limit int) ([]Change, error) {
	changes, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (c Change, err error) { return c, row.Scan(&c.Seq, &c.Kind, &c.Key) },
		"SELECT seq, kind, key FROM outbox ORDER BY bulk, seq LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return changes, nil
}

// Announced reports whether a change of that kind and key is still to be written to the log. What only a Republish would
// write again does not count.
func (s *Store) Announced(ctx context.Context, kind Kind, key string) (bool, error) {
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (seq int64, err error) { return seq, row.Scan(&seq) },
		"SELECT seq FROM outbox WHERE kind = $1 AND key = $2 AND bulk = $3 LIMIT 1", string(kind), key, false)
	if err != nil {
		return false, fmt.Errorf("read outbox: %w", err)
	}
	return len(rows) > 0, nil
}

// Current reads what stands now where changes were made, one value for each kind and key, in the
// order of their first change. It is called after Changes, so it sees those changes or later ones.
func (s *Store) Current(ctx context.Context, changes []Change) ([]Current, error) {
	var (
		out   []Current
		index = map[Change]int{} // by kind and key
		keys  = map[Kind][]any{}
	)
	for _, c := range changes {
		c.Seq = 0
		if _, seen := index[c]; !seen {
			index[c] = len(out)
			out = append(out, Current{Kind: c.Kind, Key: c.Key})
			keys[c.Kind] = append(keys[c.Kind], c.Key)
		}
	}
	at := func(kind Kind, key string) *Current { return &out[index[Change{Kind: kind, Key: key}]] }
	webhooks, err := current(ctx, s.Read, scanWebhook, selectWebhooks, keys[KindWebhook])
	if err != nil {
		return nil, err
	}
	for _, w := range webhooks {
		at(KindWebhook, w.ID).Webhook = &w
	}
	tenants, err := current(ctx, s.Read, scanTenant, selectTenants, keys[KindTenant])
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		at(KindTenant, t.ID).Tenant = &t
	}
	apiKeys, err := current(ctx, s.Read, scanKey, selectKeys, keys[KindAPIKey])
	if err != nil {
		return nil, err
	}
	for _, k := range apiKeys {
		at(KindAPIKey, k.ID).APIKey = &k
	}
	administrators, err := current(ctx, s.Read, scanAdministrator, selectAdministrators, keys[KindAdministrator])
	if err != nil {
		return nil, err
	}
	for _, a := range administrators {
		at(KindAdministrator, a.ID).Administrator = &a
	}
	types, err := current(ctx, s.Read, scanEventType, selectEventTypes, keys[KindEventType])
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		at(KindEventType, eventTypeID(t.Tenant, t.Type)).EventType = &t
	}
	return out, nil
}

func current[T any](ctx context.Context, q sqldb.Queryer, scan func(sqldb.Scanner) (T, error), query string, keys []any) ([]T, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	rows, err := sqldb.All(ctx, q, scan, query+" WHERE id IN ("+sqldb.Places(len(keys))+")", keys...)
	if err != nil {
		return nil, fmt.Errorf("read what changed: %w", err)
	}
	return rows, nil
}

// DeleteChanges removes rows whose values are in the log. A change made since they were read has a
// row of its own, which stays.
func (s *Store) DeleteChanges(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	seqs := make([]any, len(changes))
	for i, c := range changes {
		seqs[i] = c.Seq
	}
	_, err := s.Write.ExecContext(ctx, "DELETE FROM outbox WHERE seq IN ("+sqldb.Places(len(seqs))+")", seqs...)
	if err != nil {
		return fmt.Errorf("delete %d outbox rows: %w", len(changes), err)
	}
	return nil
}

// Republish announces everything there is and is not announced yet, behind all other changes: a
// topic that was lost or trimmed is whole again once the outbox is empty.
func (s *Store) Republish(ctx context.Context) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		for _, of := range []struct {
			kind  Kind
			table string
		}{{KindTenant, "tenants"}, {KindAPIKey, "api_keys"}, {KindAdministrator, "administrators"}, {KindEventType, "event_types"}, {KindWebhook, "webhooks"}} {
			_, err := tx.ExecContext(ctx, "INSERT INTO outbox (kind, key, bulk) SELECT '"+string(of.kind)+"', id, TRUE FROM "+of.table+
				" WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.kind = '"+string(of.kind)+"' AND outbox.key = "+of.table+".id)")
			if err != nil {
				return fmt.Errorf("republish %s: %w", of.table, err)
			}
		}
		return nil
	})
}
