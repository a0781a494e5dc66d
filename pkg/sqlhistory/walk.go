package sqlhistory

import (
	"context"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Walk reads the deliveries of all tenants whose events were received since then, in the order of tenant,
// ReceivedAt and id: up to limit of those behind after, of which the zero row is before all.
func (s *Store) Walk(ctx context.Context, since time.Time, after history.Delivery, limit int) ([]history.Delivery, error) {
	rows, err := sqldb.All(ctx, s.Read, scanDelivery, walkQuery,
		text(after.Tenant), sqldb.Nanos(after.ReceivedAt), text(after.ID), sqldb.Nanos(since), limit)
	if err != nil {
		return nil, fmt.Errorf("read %d deliveries behind %s: %w", limit, after.ID, err)
	}
	return rows, nil
}

const walkQuery = "SELECT " + deliveryColumns + " FROM deliveries WHERE (tenant, received_at, id) > ($1, $2, $3) AND received_at >= $4" +
	" ORDER BY tenant, received_at, id LIMIT $5"

// Stored is the row with the tenant, ReceivedAt and id of a delivery. It errs with sqldb.ErrNotFound.
func (s *Store) Stored(ctx context.Context, of history.Delivery) (history.Delivery, error) {
	d, err := sqldb.One(ctx, s.Read, scanDelivery, storedQuery, text(of.Tenant), sqldb.Nanos(of.ReceivedAt), text(of.ID))
	if err != nil {
		return history.Delivery{}, fmt.Errorf("delivery %s: %w", of.ID, err)
	}
	return d, nil
}

const storedQuery = "SELECT " + deliveryColumns + " FROM deliveries WHERE tenant = $1 AND received_at = $2 AND id = $3"
