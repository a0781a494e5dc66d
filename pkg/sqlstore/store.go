// Package sqlstore keeps what customers register: webhooks, tenants and API keys, in PostgreSQL or,
// embedded, in SQLite. One set of statements serves both; dialect.go holds what differs.
//
// Every change writes a row of the outbox in its own transaction, so what commits is announced and
// what rolls back never is. The outbox names what changed, not how: its reader takes the value that
// stands then, so the last record of a key in the log is the last value that was committed.
//
// It imports nouns and no wire: the console turns outbox rows into records.
package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Config says where the tables are.
type Config struct {
	// PostgresURL is a PostgreSQL 15+ URL or DSN. It may hold a password and is never logged.
	PostgresURL string `name:"postgres-url" env:"DOORSTEP_POSTGRES_URL" help:"PostgreSQL (15 or newer) for webhooks, keys and history, e.g. postgres://user@host/doorstep. Empty with 'up': SQLite under the data directory. sslmode=verify-full, sslrootcert, sslcert and sslkey work as in libpq."`
	// The pool of connections to PostgreSQL. 0 stands for the default.
	MaxConnections     int           `name:"postgres-max-connections" env:"DOORSTEP_POSTGRES_MAX_CONNECTIONS" default:"16" help:"Connections to PostgreSQL, at most; one of them holds the outbox's lock. PostgreSQL's own default allows 100, which all processes share."`
	MaxIdle            int           `name:"postgres-max-idle" env:"DOORSTEP_POSTGRES_MAX_IDLE" default:"4" help:"Connections to PostgreSQL that are kept open while idle: what makes the next burst quick."`
	MaxIdleTime        time.Duration `name:"postgres-max-idle-time" env:"DOORSTEP_POSTGRES_MAX_IDLE_TIME" default:"5m" help:"Idle time after which one of them is closed all the same; below what firewalls between forget a connection after."`
	ConnectionLifetime time.Duration `name:"postgres-connection-lifetime" env:"DOORSTEP_POSTGRES_CONNECTION_LIFETIME" default:"30m" help:"Age at which a connection is replaced, so that a moved server, a rotated certificate and the memory of old sessions do not stay."`
	// SQLitePath is a file, made if missing. It is used where PostgresURL is empty.
	SQLitePath string `kong:"-"`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	if c.PostgresURL == "" && c.SQLitePath == "" {
		return errors.New("postgres-url: is required")
	}
	p := c.pool()
	switch {
	case p.MaxConnections < minConnections:
		return fmt.Errorf("postgres-max-connections: must be at least %d: one holds the outbox's lock", minConnections)
	case p.MaxIdle < 1 || p.MaxIdle > p.MaxConnections:
		return errors.New("postgres-max-idle: must be from 1 to postgres-max-connections")
	case p.MaxIdleTime < 0:
		return errors.New("postgres-max-idle-time: must be above 0")
	case p.ConnectionLifetime < 0:
		return errors.New("postgres-connection-lifetime: must be above 0")
	}
	return nil
}

// pool is c with the defaults of the pool where nothing is said. They stand in the settings' tags too.
func (c Config) pool() Config {
	c.MaxConnections = cmp.Or(c.MaxConnections, 16)
	c.MaxIdle = cmp.Or(c.MaxIdle, min(4, c.MaxConnections))
	c.MaxIdleTime = cmp.Or(c.MaxIdleTime, 5*time.Minute)
	c.ConnectionLifetime = cmp.Or(c.ConnectionLifetime, 30*time.Minute)
	return c
}

// The faults that callers tell apart.
var (
	// ErrNotFound says that there is no such row in the tenant.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the row is not at the version any more that the change was based on.
	ErrConflict = errors.New("changed meanwhile")
	// ErrCursor says that a cursor was not made by the list that it is given to.
	ErrCursor = errors.New("not a cursor of this list")
)

// Store reads and writes the tables. It is safe for concurrent use.
type Store struct {
	dialect dialect
	write   *sql.DB // SQLite: one connection
	read    *sql.DB // PostgreSQL: the same pool
	log     *slog.Logger
	changed chan struct{}

	mu    sync.Mutex
	locks map[string]bool // held through this Store; SQLite only
}

// Open connects, brings the tables up to date and returns the Store. It errs if the database does
// not answer; the caller tries again.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{log: log, changed: make(chan struct{}, 1), locks: map[string]bool{}}
	var err error
	if cfg.PostgresURL != "" {
		err = s.openPostgres(ctx, cfg.pool())
	} else {
		err = s.openSQLite(ctx, cfg.SQLitePath)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() error {
	var errs []error
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.read != nil && s.read != s.write {
		errs = append(errs, s.read.Close())
	}
	return errors.Join(errs...)
}

// Ping errs if the database does not answer.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.read.PingContext(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.dialect.name, err)
	}
	return nil
}

// change runs f in one transaction and wakes the reader of the outbox once it is committed.
func (s *Store) change(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // f's error says more
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// queryer is what reads have in common: a pool or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is a row of a result.
type scanner interface{ Scan(dest ...any) error }

// all reads every row of a query.
func all[T any](ctx context.Context, q queryer, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// one reads the row of a query, ErrNotFound if there is none.
func one[T any](ctx context.Context, q queryer, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return v, err
}
