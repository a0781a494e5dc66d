// Package sqlhistory keeps what has happened to every event, as pkg/history makes it of the log, in
// PostgreSQL, in tables with a partition for each day, or, embedded, in SQLite.
//
// Kafka keeps the payloads and SQL is the index: a row names the position in the log where its payload
// stands. Writing a batch again, or batches in another order, changes nothing: a row is replaced only by
// what history.Delivery's Merge says holds over it.
package sqlhistory

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

//go:embed migrations
var migrations embed.FS

// Store reads and writes the history. It is safe for concurrent use.
type Store struct {
	*sqldb.DB
	log  *slog.Logger
	days days
}

// schema is the tables as this version has them.
func schema() (sqldb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return sqldb.Schema{}, fmt.Errorf("migrations: %w", err)
	}
	return sqldb.Schema{
		Versions: "goose_history_version", Files: files,
		// Rows come in by the thousand into indexes of all orders: pages are kept until they are full, 32 MiB of
		// them, and written to the file when the log has as much, not at every 4 MiB.
		SQLitePragmas: []string{"cache_size(-32768)", "wal_autocheckpoint(8000)"},
	}, nil
}

// Open connects, brings the tables up to date and returns the Store. It errs if the database does not
// answer; the caller tries again.
func Open(ctx context.Context, cfg sqldb.Config, log *slog.Logger) (*Store, error) {
	tables, err := schema()
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, cfg, tables, log)
	if err != nil {
		return nil, err
	}
	return &Store{DB: db, log: log}, nil
}

// DeliveryFilter says which deliveries of a tenant a list has. Empty fields do not filter.
type DeliveryFilter struct {
	Tenant            string // required
	WebhookID         string
	EventID           string
	EventType         string // exactly
	ExternalReference string
	Statuses          []delivery.Status
	From, To          time.Time // of ReceivedAt: from inclusive, to exclusive
}

// EventFilter says which events of a tenant a list has. Empty fields do not filter.
type EventFilter struct {
	Tenant            string // required
	ID                string
	Type              string // exactly
	ExternalReference string
	From, To          time.Time // of ReceivedAt: from inclusive, to exclusive
}

// Page asks for a part of a list, newest first unless Ascending. Lists are ordered by (ReceivedAt, ID),
// which never change, so that no row is skipped or comes twice while others are added.
type Page struct {
	After     string // the cursor that the part before ended with; empty: from the start
	Limit     int
	Ascending bool
	Bound     string // what else the cursor is bound to, e.g. a hash of the filters; at most 64 bytes
}

// ListedDelivery is a delivery with what a list says of its attempts.
type ListedDelivery struct {
	history.Delivery
	Attempts    int             // POSTs of all its runs
	LastAttempt history.Attempt // the last POST; zero: none
}
