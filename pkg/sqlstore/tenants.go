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

// EnsureTenant makes an open tenant with the defaults if there is none of that id.
func (s *Store) EnsureTenant(ctx context.Context, id string, now time.Time) error {
	err := s.change(ctx, func(tx *sql.Tx) error { return ensureTenant(ctx, tx, id, now) })
	if err != nil {
		return fmt.Errorf("make tenant %s: %w", id, err)
	}
	return nil
}

func ensureTenant(ctx context.Context, tx *sql.Tx, id string, now time.Time) error {
	values := tenantValues(tenant.Tenant{ID: id, Name: id, Open: true, Version: 1, CreatedAt: now, UpdatedAt: now})
	res, err := tx.ExecContext(ctx, "INSERT INTO tenants ("+strings.Join(tenantColumns, ", ")+") VALUES ("+
		sqldb.Places(len(values))+") ON CONFLICT (id) DO NOTHING", values...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return announce(ctx, tx, KindTenant, id)
}

// Tenant is the tenant of that id. It errs with ErrNotFound.
func (s *Store) Tenant(ctx context.Context, id string) (tenant.Tenant, error) {
	t, err := sqldb.One(ctx, s.Read, scanTenant, selectTenants+" WHERE id = $1", id)
	if err != nil {
		return tenant.Tenant{}, fmt.Errorf("tenant %s: %w", id, err)
	}
	return t, nil
}

// Tenants lists all tenants, oldest first, with the cursor of the next page. It errs with ErrCursor.
func (s *Store) Tenants(ctx context.Context, p Page) ([]tenant.Tenant, string, error) {
	at, id, err := p.after()
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanTenant, selectTenants+
		" WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3", at, id, p.Limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list tenants: %w", err)
	}
	rows, next := cut(rows, p.Limit, func(t tenant.Tenant) (time.Time, string) { return t.CreatedAt, t.ID })
	return rows, next, nil
}
