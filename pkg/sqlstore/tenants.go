package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

var tenantColumns = []string{
	"id", "name", "open", "policy", "payload", "features", "profile", "version", "created_at", "updated_at",
}

func tenantValues(t tenant.Tenant) []any {
	return []any{
		t.ID, t.Name, t.Open, sqldb.AsJSON(policyToRow(t.Policy)), sqldb.AsJSON(payloadToRow(t.Payload)), dict(t.Features), t.Profile,
		int64(t.Version), sqldb.Nanos(t.CreatedAt), sqldb.Nanos(t.UpdatedAt), //nolint:gosec // grows by ones
	}
}

func scanTenant(row sqldb.Scanner) (tenant.Tenant, error) {
	var (
		t       tenant.Tenant
		policy  policyRow
		payload payloadRow
	)
	err := row.Scan(&t.ID, &t.Name, &t.Open, sqldb.Document{To: &policy}, sqldb.Document{To: &payload}, sqldb.Document{To: &t.Features}, &t.Profile,
		&t.Version, sqldb.Stamp{T: &t.CreatedAt}, sqldb.Stamp{T: &t.UpdatedAt})
	if err != nil {
		return tenant.Tenant{}, err
	}
	t.Policy, t.Payload = policy.policy(), payload.payload()
	if len(t.Features) == 0 {
		t.Features = nil
	}
	return t, nil
}

var selectTenants = "SELECT " + strings.Join(tenantColumns, ", ") + " FROM tenants"

var insertTenant = "INSERT INTO tenants (" + strings.Join(tenantColumns, ", ") + ") VALUES (" +
	sqldb.Places(len(tenantColumns)) + ") ON CONFLICT (id) DO NOTHING"

// EnsureTenant makes an open tenant with the defaults if there is none of that id.
func (s *Store) EnsureTenant(ctx context.Context, by Author, id string, now time.Time) error {
	by.Once = nil // it is not what was asked for
	err := s.change(ctx, func(tx *sql.Tx) error { return ensureTenant(ctx, tx, by, id, now) })
	if err != nil {
		return fmt.Errorf("make tenant %s: %w", id, err)
	}
	return nil
}

// hold keeps a tenant's row until the transaction ends: what is given to a tenant and its deletion come
// one after the other. It reports whether there is such a row.
func hold(ctx context.Context, tx *sql.Tx, id string) (bool, error) {
	return affected(tx.ExecContext(ctx, "UPDATE tenants SET id = id WHERE id = $1", id))
}

// ensureTenant makes the tenant if it is missing, and holds it.
func ensureTenant(ctx context.Context, tx *sql.Tx, by Author, id string, now time.Time) error {
	for {
		held, err := hold(ctx, tx, id)
		if err != nil || held {
			return err
		}
		made, err := createTenant(ctx, tx, by, tenant.Tenant{ID: id, Name: id, Open: true, Version: 1, CreatedAt: now, UpdatedAt: now})
		if err != nil || made {
			return err
		}
		// Another transaction made it meanwhile, and may have ended.
	}
}

// createTenant stores and announces t, and reports whether there was none of its id.
func createTenant(ctx context.Context, tx *sql.Tx, by Author, t tenant.Tenant) (bool, error) {
	made, err := affected(tx.ExecContext(ctx, insertTenant, tenantValues(t)...))
	if err != nil || !made {
		return false, err
	}
	return true, announced(ctx, tx, by, aboutTenant(t, true), nil, storedAs(tenantColumns, tenantValues(t)))
}

// affected reports whether a statement changed a row.
func affected(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// CreateTenant stores a new tenant as version 1 and returns it so. It errs with ErrExists.
func (s *Store) CreateTenant(ctx context.Context, by Author, t tenant.Tenant) (tenant.Tenant, error) {
	t.Version = 1
	err := s.change(ctx, func(tx *sql.Tx) error {
		made, err := createTenant(ctx, tx, by, t)
		if err == nil && !made {
			err = ErrExists
		}
		return err
	})
	if err != nil {
		return tenant.Tenant{}, fmt.Errorf("create tenant %s: %w", t.ID, err)
	}
	return t, nil
}

// UpdateTenant stores t, which was read at t.Version, as the next version and returns it so. It errs
// with ErrConflict if the tenant has another version by now, with ErrNotFound if it is gone. The
// creation time stays.
func (s *Store) UpdateTenant(ctx context.Context, by Author, t tenant.Tenant) (tenant.Tenant, error) {
	before := t.Version
	t.Version++
	err := s.change(ctx, func(tx *sql.Tx) error {
		was, err := sqldb.One(ctx, tx, scanTenant, selectTenants+" WHERE id = $1", t.ID)
		if err != nil {
			return err
		}
		if was.Version != before {
			return ErrConflict
		}
		return updateTenant(ctx, tx, by, was, t)
	})
	if err != nil {
		return tenant.Tenant{}, fmt.Errorf("update tenant %s: %w", t.ID, err)
	}
	return t, nil
}

// updateTenant stores and announces t, which was read as was, as the next version. It errs with ErrConflict if the tenant
// has another version by now.
func updateTenant(ctx context.Context, tx *sql.Tx, by Author, was, t tenant.Tenant) error {
	t.Version = was.Version + 1
	done, err := affected(tx.ExecContext(ctx, "UPDATE tenants SET name = $1, open = $2, policy = $3, payload = $4, features = $5, "+
		"profile = $6, version = $7, updated_at = $8 WHERE id = $9 AND version = $10",
		t.Name, t.Open, sqldb.AsJSON(policyToRow(t.Policy)), sqldb.AsJSON(payloadToRow(t.Payload)), dict(t.Features),
		t.Profile, int64(t.Version), sqldb.Nanos(t.UpdatedAt), t.ID, int64(was.Version))) //nolint:gosec // both grow by ones
	if err != nil {
		return err
	}
	if !done {
		return ErrConflict
	}
	return announced(ctx, tx, by, aboutTenant(t, false), storedAs(tenantColumns, tenantValues(was)), storedAs(tenantColumns, tenantValues(t)))
}

// TenantInUseError says that a tenant cannot be deleted because of what it owns.
type TenantInUseError struct {
	Webhooks int
	APIKeys  int
}

// Error is what it owns.
func (e *TenantInUseError) Error() string {
	return fmt.Sprintf("still owns webhooks (%d) and API keys (%d)", e.Webhooks, e.APIKeys)
}

// aboutTenant is the subject of a tenant's change. That it was made or removed is for the platform's audit log.
func aboutTenant(t tenant.Tenant, ofPlatform bool) Subject {
	return Subject{Kind: KindTenant, ID: t.ID, Tenant: t.ID, OfPlatform: ofPlatform}
}

// DeleteTenant removes a tenant that owns neither webhooks nor API keys, and with it its administrators,
// sessions and jobs, if version is not 0 only at that version. Its audit log becomes the platform's. It errs with a
// *TenantInUseError, with ErrNotFound and with ErrConflict.
func (s *Store) DeleteTenant(ctx context.Context, by Author, id string, version uint64) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if held, err := hold(ctx, tx, id); err != nil || !held {
			return cmp.Or(err, ErrNotFound)
		}
		webhooks, err := count(ctx, tx, "SELECT count(*) FROM webhooks WHERE tenant = $1", id)
		if err != nil {
			return err
		}
		keys, err := count(ctx, tx, "SELECT count(*) FROM api_keys WHERE tenant = $1", id)
		if err != nil {
			return err
		}
		if webhooks+keys > 0 {
			return &TenantInUseError{Webhooks: webhooks, APIKeys: keys}
		}
		if err := deleteBelongings(ctx, tx, id); err != nil {
			return err
		}
		was, err := sqldb.One(ctx, tx, scanTenant, "DELETE FROM tenants WHERE id = $1 RETURNING "+strings.Join(tenantColumns, ", "), id)
		if err != nil {
			return err
		}
		if version != 0 && was.Version != version {
			return ErrConflict
		}
		return announced(ctx, tx, by, aboutTenant(was, true), storedAs(tenantColumns, tenantValues(was)), nil)
	})
	if err != nil {
		return fmt.Errorf("delete tenant %s: %w", id, err)
	}
	return nil
}

func count(ctx context.Context, q sqldb.Queryer, query string, args ...any) (n int, err error) {
	return n, q.QueryRowContext(ctx, query, args...).Scan(&n)
}

// Tenant is the tenant of that id. It errs with ErrNotFound.
func (s *Store) Tenant(ctx context.Context, id string) (tenant.Tenant, error) {
	t, err := sqldb.One(ctx, s.Read, scanTenant, selectTenants+" WHERE id = $1", id)
	if err != nil {
		return tenant.Tenant{}, fmt.Errorf("tenant %s: %w", id, err)
	}
	return t, nil
}

var listedTenants = listed[tenant.Tenant]{"tenants", tenantColumns, scanTenant}

// Tenants lists all tenants, as TenantList has it.
func (s *Store) Tenants(ctx context.Context, q lists.Query) ([]tenant.Tenant, lists.Found, error) {
	return s.tenants(ctx, scope{everyone: true}, q)
}

// OwnTenant is Tenants for one who may see only this one.
func (s *Store) OwnTenant(ctx context.Context, id string, q lists.Query) ([]tenant.Tenant, lists.Found, error) {
	return s.tenants(ctx, scope{column: "id", tenant: id}, q)
}

func (s *Store) tenants(ctx context.Context, of scope, q lists.Query) ([]tenant.Tenant, lists.Found, error) {
	rows, found, err := page(ctx, s, listedTenants, of, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list tenants: %w", err)
	}
	return rows, found, nil
}
