package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

var keyColumns = []string{
	"id", "tenant", "name", "prefix", "hash", "scopes", "developer_client_id", "version", "created_at", "expires_at",
}

func keyValues(k tenant.APIKey) []any {
	return []any{
		k.ID, k.Tenant, k.Name, k.Prefix, k.Hash[:], list(k.Scopes), k.DeveloperClientID,
		int64(k.Version), sqldb.Nanos(k.CreatedAt), sqldb.Nanos(k.ExpiresAt), //nolint:gosec // grows by ones
	}
}

func scanKey(row sqldb.Scanner) (tenant.APIKey, error) {
	var (
		k    tenant.APIKey
		hash []byte
	)
	err := row.Scan(&k.ID, &k.Tenant, &k.Name, &k.Prefix, &hash, sqldb.Document{To: &k.Scopes}, &k.DeveloperClientID,
		&k.Version, sqldb.Stamp{T: &k.CreatedAt}, sqldb.Stamp{T: &k.ExpiresAt})
	if err == nil && len(hash) != len(k.Hash) {
		err = fmt.Errorf("API key %s has a hash of %d bytes", k.ID, len(hash))
	}
	if err != nil {
		return tenant.APIKey{}, err
	}
	copy(k.Hash[:], hash)
	if len(k.Scopes) == 0 {
		k.Scopes = nil
	}
	return k, nil
}

var (
	selectKeys = "SELECT " + strings.Join(keyColumns, ", ") + " FROM api_keys"
	insertKeys = "INSERT INTO api_keys (" + strings.Join(keyColumns, ", ") + ")"
)

// CreateAPIKey stores a new key as version 1 and returns it so. Its tenant is made if it is new.
func (s *Store) CreateAPIKey(ctx context.Context, k tenant.APIKey) (tenant.APIKey, error) {
	k.Version = 1
	err := s.change(ctx, func(tx *sql.Tx) error {
		if k.Tenant != "" {
			if err := ensureTenant(ctx, tx, k.Tenant, k.CreatedAt); err != nil {
				return err
			}
		}
		values := keyValues(k)
		if _, err := tx.ExecContext(ctx, insertKeys+" VALUES ("+sqldb.Places(len(values))+")", values...); err != nil {
			return err
		}
		return announce(ctx, tx, KindAPIKey, k.ID)
	})
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("create API key %s: %w", k.ID, err)
	}
	return k, nil
}

// CreateFirstAPIKey stores the platform key k unless there is a platform key, and reports whether it
// did. Of several programs that start at once with one id for it, one does.
func (s *Store) CreateFirstAPIKey(ctx context.Context, k tenant.APIKey) (bool, error) {
	k.Tenant, k.Version = "", 1
	created := false
	err := s.change(ctx, func(tx *sql.Tx) error {
		// A look first: PostgreSQL cannot tell the types of placeholders that are only selected.
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM api_keys WHERE tenant = ''").Scan(&n); err != nil || n > 0 {
			return err
		}
		values := keyValues(k)
		res, err := tx.ExecContext(ctx, insertKeys+" VALUES ("+sqldb.Places(len(values))+") ON CONFLICT (id) DO NOTHING", values...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		created = true
		return announce(ctx, tx, KindAPIKey, k.ID)
	})
	if err != nil {
		return false, fmt.Errorf("create first API key: %w", err)
	}
	return created, nil
}

// APIKeyByHash is the key of that hash, whoever's it is. It errs with ErrNotFound.
func (s *Store) APIKeyByHash(ctx context.Context, hash [32]byte) (tenant.APIKey, error) {
	k, err := sqldb.One(ctx, s.Read, scanKey, selectKeys+" WHERE hash = $1", hash[:])
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("API key: %w", err)
	}
	return k, nil
}

// APIKeys lists a tenant's keys, of the platform for an empty tenant, oldest first, with the cursor
// of the next page. It errs with ErrCursor.
func (s *Store) APIKeys(ctx context.Context, of string, p Page) ([]tenant.APIKey, string, error) {
	at, id, err := p.after()
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanKey, selectKeys+
		" WHERE tenant = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4", of, at, id, p.Limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list API keys: %w", err)
	}
	rows, next := cut(rows, p.Limit, func(k tenant.APIKey) (time.Time, string) { return k.CreatedAt, k.ID })
	return rows, next, nil
}

// DeleteAPIKey removes a tenant's key, of the platform for an empty tenant, and the sessions of those who
// signed in with it. It errs with ErrNotFound.
func (s *Store) DeleteAPIKey(ctx context.Context, of, id string) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, deleteSessionsOfKey, of, id); err != nil {
			return err
		}
		return remove(ctx, tx, KindAPIKey, id, "DELETE FROM api_keys WHERE tenant = $1 AND id = $2", of, id)
	})
	if err != nil {
		return fmt.Errorf("delete API key %s: %w", id, err)
	}
	return nil
}
