// Package sqlstore keeps what customers register: webhooks, tenants, API keys and administrators, in
// PostgreSQL or, embedded, in SQLite; and who is signed in, and which jobs go on, of which no log is told.
//
// Every change of what is registered writes a row of the outbox in its own transaction, so what commits is announced and
// what rolls back never is. The outbox names what changed, not how: its reader takes the value that
// stands then, so the last record of a key in the log is the last value that was committed.
//
// It imports nouns and no wire: the console turns outbox rows into records.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

//go:embed migrations
var migrations embed.FS

// The faults that callers tell apart.
var (
	// ErrNotFound says that there is no such row in the tenant.
	ErrNotFound = sqldb.ErrNotFound
	// ErrConflict says that the row is not at the version any more that the change was based on.
	ErrConflict = errors.New("changed meanwhile")
	// ErrExists says that there is such a row already.
	ErrExists = errors.New("exists already")
)

// Store reads and writes the tables. It is safe for concurrent use.
type Store struct {
	*sqldb.DB
	changed chan struct{}
}

// schema is the tables as this version has them.
func schema() (sqldb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return sqldb.Schema{}, fmt.Errorf("migrations: %w", err)
	}
	return sqldb.Schema{Versions: "goose_db_version", Files: files}, nil
}

// Open connects, brings the tables up to date and returns the Store. It errs if the database does
// not answer; the caller tries again.
func Open(ctx context.Context, cfg sqldb.Config, log *slog.Logger) (*Store, error) {
	tables, err := schema()
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, cfg, tables, log)
	if err != nil {
		return nil, err
	}
	return &Store{DB: db, changed: make(chan struct{}, 1)}, nil
}

// change runs f in one transaction and wakes the reader of the outbox once it is committed.
func (s *Store) change(ctx context.Context, f func(*sql.Tx) error) error {
	if err := s.Change(ctx, f); err != nil {
		return err
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}
