package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

var keyColumns = []string{
	"id", "tenant", "name", "prefix", "hash", "scopes", "developer_client_id", "version", "created_at", "expires_at",
	"updated_at", "last_used_at",
}

func keyValues(k tenant.APIKey) []any {
	return []any{
		k.ID, k.Tenant, k.Name, k.Prefix, k.Hash[:], list(k.Scopes), k.DeveloperClientID,
		int64(k.Version), sqldb.Nanos(k.CreatedAt), sqldb.Nanos(k.ExpiresAt), //nolint:gosec // grows by ones
		sqldb.Nanos(k.UpdatedAt), sqldb.Nanos(k.LastUsedAt),
	}
}

func scanKey(row sqldb.Scanner) (tenant.APIKey, error) {
	var (
		k    tenant.APIKey
		hash []byte
	)
	err := row.Scan(&k.ID, &k.Tenant, &k.Name, &k.Prefix, &hash, sqldb.Document{To: &k.Scopes}, &k.DeveloperClientID,
		&k.Version, sqldb.Stamp{T: &k.CreatedAt}, sqldb.Stamp{T: &k.ExpiresAt}, sqldb.Stamp{T: &k.UpdatedAt}, sqldb.Stamp{T: &k.LastUsedAt})
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
func (s *Store) CreateAPIKey(ctx context.Context, by Author, k tenant.APIKey) (tenant.APIKey, error) {
	k.Version = 1
	err := s.change(ctx, func(tx *sql.Tx) error {
		if k.Tenant != "" {
			if err := ensureTenant(ctx, tx, by, k.Tenant, k.CreatedAt); err != nil {
				return err
			}
		}
		values := keyValues(k)
		if _, err := tx.ExecContext(ctx, insertKeys+" VALUES ("+sqldb.Places(len(values))+")", values...); err != nil {
			return err
		}
		return announced(ctx, tx, by, aboutKey(k), nil, storedAs(keyColumns, values))
	})
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("create API key %s: %w", k.ID, err)
	}
	return k, nil
}

// CreateFirstAPIKey stores the platform key k unless there is a platform key, and reports whether it
// did. Of several programs that start at once with one id for it, one does.
func (s *Store) CreateFirstAPIKey(ctx context.Context, by Author, k tenant.APIKey) (bool, error) {
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
		return announced(ctx, tx, by, aboutKey(k), nil, storedAs(keyColumns, values))
	})
	if err != nil {
		return false, fmt.Errorf("create first API key: %w", err)
	}
	return created, nil
}

func aboutKey(k tenant.APIKey) Subject { return Subject{Kind: KindAPIKey, ID: k.ID, Tenant: k.Tenant} }

// APIKey is the tenant's key of that id, of the platform for an empty tenant. It errs with ErrNotFound, also for
// another tenant's.
func (s *Store) APIKey(ctx context.Context, of, id string) (tenant.APIKey, error) {
	k, err := sqldb.One(ctx, s.Read, scanKey, selectKeys+" WHERE tenant = $1 AND id = $2", of, id)
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("API key %s: %w", id, err)
	}
	return k, nil
}

// UpdateAPIKey stores name, scopes and expiry of k, which was read at k.Version, as the next version and returns it so.
// It errs with ErrConflict if the key has another version by now, with ErrNotFound if it is gone. All else stays.
func (s *Store) UpdateAPIKey(ctx context.Context, by Author, k tenant.APIKey) (tenant.APIKey, error) {
	before := k.Version
	k.Version++
	err := s.change(ctx, func(tx *sql.Tx) error {
		was, err := sqldb.One(ctx, tx, scanKey, selectKeys+" WHERE tenant = $1 AND id = $2", k.Tenant, k.ID)
		if err != nil {
			return err
		}
		done, err := affected(tx.ExecContext(ctx, "UPDATE api_keys SET name = $1, scopes = $2, expires_at = $3, version = $4, updated_at = $5 "+
			"WHERE id = $6 AND version = $7", k.Name, list(k.Scopes), sqldb.Nanos(k.ExpiresAt),
			int64(k.Version), sqldb.Nanos(k.UpdatedAt), k.ID, int64(before))) //nolint:gosec // both grow by ones
		if err != nil {
			return err
		}
		if !done || was.Version != before {
			return ErrConflict
		}
		return announced(ctx, tx, by, aboutKey(k), storedAs(keyColumns, keyValues(was)), storedAs(keyColumns, keyValues(k)))
	})
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("update API key %s: %w", k.ID, err)
	}
	return k, nil
}

// APIKeyUsed notes when a key was last used, unless a later time is noted. It is no change: the log is not told of it.
func (s *Store) APIKeyUsed(ctx context.Context, id string, at time.Time) error {
	_, err := s.Write.ExecContext(ctx, "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1", sqldb.Nanos(at), id)
	if err != nil {
		return fmt.Errorf("note the use of API key %s: %w", id, err)
	}
	return nil
}

// APIKeyByHash is the key of that hash, whoever's it is. It errs with ErrNotFound.
func (s *Store) APIKeyByHash(ctx context.Context, hash [32]byte) (tenant.APIKey, error) {
	k, err := sqldb.One(ctx, s.Read, scanKey, selectKeys+" WHERE hash = $1", hash[:])
	if err != nil {
		return tenant.APIKey{}, fmt.Errorf("API key: %w", err)
	}
	return k, nil
}

var listedKeys = listed[tenant.APIKey]{"api_keys", keyColumns, scanKey}

// APIKeys lists a tenant's keys, of the platform for an empty tenant, as APIKeyList has it.
func (s *Store) APIKeys(ctx context.Context, of string, q lists.Query) ([]tenant.APIKey, lists.Found, error) {
	rows, found, err := page(ctx, s, listedKeys, scope{tenant: of}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list API keys: %w", err)
	}
	return rows, found, nil
}

// DeleteAPIKey removes a tenant's key, of the platform for an empty tenant, and the sessions of those who
// signed in with it; if version is not 0 only at that version. It errs with ErrNotFound and ErrConflict.
func (s *Store) DeleteAPIKey(ctx context.Context, by Author, of, id string, version uint64) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, deleteSessionsOfKey, of, id); err != nil {
			return err
		}
		was, err := removed(ctx, tx, scanKey, "api_keys", keyColumns, of, id)
		if err != nil {
			return err
		}
		if version != 0 && was.Version != version {
			return ErrConflict
		}
		return announced(ctx, tx, by, aboutKey(was), storedAs(keyColumns, keyValues(was)), nil)
	})
	if err != nil {
		return fmt.Errorf("delete API key %s: %w", id, err)
	}
	return nil
}
