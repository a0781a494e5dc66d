package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// eventTypeColumns are in the order of eventTypeValues and scanEventType. The last two are large, and left out of lists.
var eventTypeColumns = []string{
	"id", "tenant", "type", `"group"`, "description", "kind", "deprecated", "attributes", "profile", "version", "created_at", "updated_at",
	"schema", "example",
}

const eventTypeLarge = 2

// eventTypeID is the key of an event type in the table and in the outbox.
func eventTypeID(of, name string) string { return of + "/" + name }

func eventTypeValues(t tenant.EventType) []any {
	return []any{
		eventTypeID(t.Tenant, t.Type), t.Tenant, t.Type, t.Group, t.Description, t.Kind, t.Deprecated, list(t.Attributes), t.Profile,
		int64(t.Version), sqldb.Nanos(t.CreatedAt), sqldb.Nanos(t.UpdatedAt), string(t.Schema), string(t.Example), //nolint:gosec // grows by ones
	}
}

func scanEventType(row sqldb.Scanner) (tenant.EventType, error) {
	var (
		t                   tenant.EventType
		id, schema, example string
	)
	err := row.Scan(&id, &t.Tenant, &t.Type, &t.Group, &t.Description, &t.Kind, &t.Deprecated, sqldb.Document{To: &t.Attributes}, &t.Profile,
		&t.Version, sqldb.Stamp{T: &t.CreatedAt}, sqldb.Stamp{T: &t.UpdatedAt}, &schema, &example)
	if err != nil {
		return tenant.EventType{}, err
	}
	if len(t.Attributes) == 0 {
		t.Attributes = nil
	}
	if schema != "" {
		t.Schema = []byte(schema)
	}
	if example != "" {
		t.Example = []byte(example)
	}
	return t, nil
}

var (
	selectEventTypes = "SELECT " + strings.Join(eventTypeColumns, ", ") + " FROM event_types"
	outlineColumns   = slices.Concat(eventTypeColumns[:len(eventTypeColumns)-eventTypeLarge], []string{"''", "''"})
	outlineQuery     = "SELECT " + strings.Join(outlineColumns, ", ") + " FROM event_types WHERE tenant = $1 ORDER BY type"
	replaceEventType = "ON CONFLICT (id) DO UPDATE SET " + excluded(eventTypeColumns[3:])
	catalogueQuery   = selectEventTypes + " WHERE tenant = $1 ORDER BY type"
)

// excluded sets columns to what a statement wanted to insert.
func excluded(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = c + " = excluded." + c
	}
	return strings.Join(parts, ", ")
}

// Outline is a tenant's catalogue in the order of its types, without schemas and examples.
func (s *Store) Outline(ctx context.Context, of string) ([]tenant.EventType, error) {
	types, err := sqldb.All(ctx, s.Read, scanEventType, outlineQuery, of)
	if err != nil {
		return nil, fmt.Errorf("read outline of catalogue: %w", err)
	}
	return types, nil
}

// EventTypes lists a tenant's event types, as EventTypeList has it; whole: with schemas and examples.
func (s *Store) EventTypes(ctx context.Context, of string, whole bool, q lists.Query) ([]tenant.EventType, lists.Found, error) {
	columns := outlineColumns
	if whole {
		columns = eventTypeColumns
	}
	rows, found, err := page(ctx, s, listed[tenant.EventType]{"event_types", columns, scanEventType}, scope{tenant: of}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list event types: %w", err)
	}
	return rows, found, nil
}

// Catalogue is Outline with schemas and examples.
func (s *Store) Catalogue(ctx context.Context, of string) ([]tenant.EventType, error) {
	types, err := sqldb.All(ctx, s.Read, scanEventType, catalogueQuery, of)
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	return types, nil
}

// EventType is an entry of a tenant's catalogue. It errs with ErrNotFound.
func (s *Store) EventType(ctx context.Context, of, name string) (tenant.EventType, error) {
	t, err := sqldb.One(ctx, s.Read, scanEventType, selectEventTypes+" WHERE id = $1", eventTypeID(of, name))
	if err != nil {
		return tenant.EventType{}, fmt.Errorf("event type %s: %w", name, err)
	}
	return t, nil
}

// ChangeCatalogue changes a tenant and its catalogue in one transaction, and no other change of either comes between what
// change is given and what it returns. The tenant is made if it is new; of the tenant its open, policy, payload, features
// and profile may be changed. What is as it was is neither written nor announced: versions and times are the Store's to set.
// It errs as change does, and then nothing is changed.
func (s *Store) ChangeCatalogue(
	ctx context.Context, by Author, of string, change func(tenant.Tenant, []tenant.EventType) (tenant.Tenant, []tenant.EventType, error),
) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if err := ensureTenant(ctx, tx, by, of, by.At); err != nil {
			return err
		}
		was, err := sqldb.One(ctx, tx, scanTenant, selectTenants+" WHERE id = $1", of)
		if err != nil {
			return err
		}
		had, err := sqldb.All(ctx, tx, scanEventType, catalogueQuery, of)
		if err != nil {
			return err
		}
		is, has, err := change(was, slices.Clone(had))
		if err != nil {
			return err
		}
		if !slices.Equal(tenantValues(was), tenantValues(is)) {
			is.UpdatedAt = by.At
			if err := updateTenant(ctx, tx, by, was, is); err != nil {
				return err
			}
		}
		return storeCatalogue(ctx, tx, by, of, had, has)
	})
	if err != nil {
		return fmt.Errorf("change catalogue of %s: %w", of, err)
	}
	return nil
}

// storeCatalogue writes and announces what differs between the event types that a tenant had and is to have.
func storeCatalogue(ctx context.Context, tx *sql.Tx, by Author, of string, had, has []tenant.EventType) error {
	var (
		changed []change
		rows    [][]any
		gone    [][]any
		before  = map[string]tenant.EventType{}
	)
	for _, t := range had {
		before[t.Type] = t
	}
	for _, t := range has {
		was, known := before[t.Type]
		delete(before, t.Type)
		t.Tenant, t.Version, t.CreatedAt, t.UpdatedAt = of, was.Version, was.CreatedAt, was.UpdatedAt
		if known && slices.Equal(eventTypeValues(was), eventTypeValues(t)) {
			continue
		}
		var old stored
		if t.Version++; known {
			old = storedEventType(was)
		} else {
			t.CreatedAt = by.At
		}
		t.UpdatedAt = by.At
		rows, changed = append(rows, eventTypeValues(t)), append(changed, change{aboutEventType(t), old, storedEventType(t)})
	}
	for _, t := range had {
		if _, goes := before[t.Type]; goes {
			gone, changed = append(gone, []any{eventTypeID(of, t.Type)}), append(changed, change{aboutEventType(t), storedEventType(t), nil})
		}
	}
	if err := insertRows(ctx, tx, "event_types", eventTypeColumns, replaceEventType, rows); err != nil {
		return err
	}
	for some := range slices.Chunk(gone, rowsAtOnce) {
		ids := slices.Concat(some...)
		if _, err := tx.ExecContext(ctx, "DELETE FROM event_types WHERE id IN ("+sqldb.Places(len(ids))+")", ids...); err != nil {
			return err
		}
	}
	return announcedAll(ctx, tx, by, changed)
}

func aboutEventType(t tenant.EventType) Subject {
	return Subject{Kind: KindEventType, ID: eventTypeID(t.Tenant, t.Type), Tenant: t.Tenant}
}

func storedEventType(t tenant.EventType) stored {
	return storedAs(eventTypeColumns, eventTypeValues(t))
}

// announceEventTypes announces a tenant's catalogue, which is about to go.
const announceEventTypes = "INSERT INTO outbox (kind, key, bulk) SELECT 'event_type', id, FALSE FROM event_types WHERE tenant = $1"
