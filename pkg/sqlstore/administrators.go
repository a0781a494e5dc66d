package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

var administratorColumns = []string{
	"id", "tenant", "email", "name", "language", "notices", "version", "created_at", "updated_at",
}

func scanAdministrator(row sqldb.Scanner) (tenant.Administrator, error) {
	var a tenant.Administrator
	err := row.Scan(&a.ID, &a.Tenant, &a.Email, &a.Name, &a.Language, sqldb.Document{To: &a.Notices},
		&a.Version, sqldb.Stamp{T: &a.CreatedAt}, sqldb.Stamp{T: &a.UpdatedAt})
	if err != nil {
		return tenant.Administrator{}, err
	}
	if len(a.Notices) == 0 {
		a.Notices = nil
	}
	return a, nil
}

var (
	selectAdministrators = "SELECT " + strings.Join(administratorColumns, ", ") + " FROM administrators"
	insertAdministrator  = "INSERT INTO administrators (" + strings.Join(administratorColumns, ", ") + ", email_lower) VALUES (" +
		sqldb.Places(len(administratorColumns)+1) + ")"
)

const emailQuery = "SELECT count(*) FROM administrators WHERE tenant = $1 AND email_lower = $2 AND id <> $3"

// lower is an e-mail address as it is compared: a tenant has each once, however it is written. The
// databases' own lower differ.
func lower(email string) string { return strings.ToLower(email) }

// CreateAdministrator stores a new administrator as version 1 and returns it so. Its tenant is made if it
// is new. It errs with ErrExists if the tenant has an administrator of that e-mail address.
func (s *Store) CreateAdministrator(ctx context.Context, by Author, a tenant.Administrator) (tenant.Administrator, error) {
	a.Version = 1
	err := s.change(ctx, func(tx *sql.Tx) error {
		// The tenant is held from here on, so nobody else adds or changes an administrator of it.
		if err := ensureTenant(ctx, tx, by, a.Tenant, a.CreatedAt); err != nil {
			return err
		}
		if err := emailIsFree(ctx, tx, a); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertAdministrator, a.ID, a.Tenant, a.Email, a.Name, a.Language, list(a.Notices),
			int64(a.Version), sqldb.Nanos(a.CreatedAt), sqldb.Nanos(a.UpdatedAt), lower(a.Email)) //nolint:gosec // grows by ones
		if err != nil {
			return err
		}
		return announced(ctx, tx, by, aboutAdministrator(a), nil, storedAdministrator(a))
	})
	if err != nil {
		return tenant.Administrator{}, fmt.Errorf("create administrator %s: %w", a.ID, err)
	}
	return a, nil
}

// emailIsFree errs with ErrExists if another administrator of the tenant has the address.
func emailIsFree(ctx context.Context, tx *sql.Tx, a tenant.Administrator) error {
	n, err := count(ctx, tx, emailQuery, a.Tenant, lower(a.Email), a.ID)
	if err == nil && n > 0 {
		err = ErrExists
	}
	return err
}

// Administrator is the tenant's administrator of that id. It errs with ErrNotFound, also for another
// tenant's.
func (s *Store) Administrator(ctx context.Context, of, id string) (tenant.Administrator, error) {
	a, err := sqldb.One(ctx, s.Read, scanAdministrator, selectAdministrators+" WHERE tenant = $1 AND id = $2", of, id)
	if err != nil {
		return tenant.Administrator{}, fmt.Errorf("administrator %s: %w", id, err)
	}
	return a, nil
}

var listedAdministrators = listed[tenant.Administrator]{"administrators", administratorColumns, scanAdministrator}

// Administrators lists a tenant's administrators, as AdministratorList has it.
func (s *Store) Administrators(ctx context.Context, of string, q lists.Query) ([]tenant.Administrator, lists.Found, error) {
	rows, found, err := page(ctx, s, listedAdministrators, scope{tenant: of}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list administrators: %w", err)
	}
	return rows, found, nil
}

// UpdateAdministrator stores a, which was read at a.Version, as the next version and returns it so. It errs
// with ErrConflict if the administrator has another version by now, with ErrNotFound if it is gone, and
// with ErrExists as CreateAdministrator does. ID, tenant and creation time stay.
func (s *Store) UpdateAdministrator(ctx context.Context, by Author, a tenant.Administrator) (tenant.Administrator, error) {
	before := a.Version
	a.Version++
	err := s.change(ctx, func(tx *sql.Tx) error {
		if held, err := hold(ctx, tx, a.Tenant); err != nil || !held {
			return cmp.Or(err, ErrNotFound)
		}
		now, err := sqldb.One(ctx, tx, scanAdministrator, selectAdministrators+" WHERE tenant = $1 AND id = $2", a.Tenant, a.ID)
		if err != nil {
			return err
		}
		if now.Version != before {
			return ErrConflict
		}
		if err := emailIsFree(ctx, tx, a); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE administrators SET email = $1, email_lower = $2, name = $3, language = $4, "+
			"notices = $5, version = $6, updated_at = $7 WHERE id = $8",
			a.Email, lower(a.Email), a.Name, a.Language, list(a.Notices), int64(a.Version), sqldb.Nanos(a.UpdatedAt), a.ID) //nolint:gosec // grows by ones
		if err != nil {
			return err
		}
		return announced(ctx, tx, by, aboutAdministrator(a), storedAdministrator(now), storedAdministrator(a))
	})
	if err != nil {
		return tenant.Administrator{}, fmt.Errorf("update administrator %s: %w", a.ID, err)
	}
	return a, nil
}

func aboutAdministrator(a tenant.Administrator) Subject {
	return Subject{Kind: KindAdministrator, ID: a.ID, Tenant: a.Tenant}
}

func storedAdministrator(a tenant.Administrator) stored {
	return storedAs(administratorColumns, []any{
		a.ID, a.Tenant, a.Email, a.Name, a.Language, list(a.Notices), int64(a.Version), //nolint:gosec // grows by ones
		sqldb.Nanos(a.CreatedAt), sqldb.Nanos(a.UpdatedAt),
	})
}

// DeleteAdministrator removes a tenant's administrator, if version is not 0 only at that version. It errs with ErrNotFound
// and ErrConflict.
func (s *Store) DeleteAdministrator(ctx context.Context, by Author, of, id string, version uint64) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		// Held as for a change of it, which would else announce what is gone.
		if held, err := hold(ctx, tx, of); err != nil || !held {
			return cmp.Or(err, ErrNotFound)
		}
		was, err := removed(ctx, tx, scanAdministrator, "administrators", administratorColumns, of, id)
		if err != nil {
			return err
		}
		if version != 0 && was.Version != version {
			return ErrConflict
		}
		return announced(ctx, tx, by, aboutAdministrator(was), storedAdministrator(was), nil)
	})
	if err != nil {
		return fmt.Errorf("delete administrator %s: %w", id, err)
	}
	return nil
}

const announceAdministrators = "INSERT INTO outbox (kind, key, bulk) SELECT '" + string(KindAdministrator) +
	"', id, FALSE FROM administrators WHERE tenant = $1"

// deleteBelongings removes what goes with a tenant, which is held, and announces of what anybody was told.
func deleteBelongings(ctx context.Context, tx *sql.Tx, of string) error {
	for _, statement := range []string{announceAdministrators, announceEventTypes} {
		if _, err := tx.ExecContext(ctx, statement, of); err != nil {
			return err
		}
	}
	for _, table := range []string{"administrators", "event_types", "sessions", "jobs", "idempotency_keys"} {
		if _, err := tx.ExecContext(ctx, deleteOfTenant(table), of); err != nil {
			return err
		}
	}
	return bequeath(ctx, tx, of)
}

func deleteOfTenant(table string) string { return "DELETE FROM " + table + " WHERE tenant = $1" }
