// Package sqldb opens PostgreSQL or, embedded, SQLite, brings its tables up to date, and holds what their
// users share: transactions, named locks, and how times and JSON are stored.
//
// Placeholders ($1), upserts, row values and RETURNING are the same in both, so one set of statements
// serves both. The tables are those of the packages that use this one.
package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
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
	// Failed is called for each connection to PostgreSQL that fails; nil: nobody counts them.
	Failed func() `kong:"-" json:"-"`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	if c.PostgresURL == "" && c.SQLitePath == "" {
		return errors.New("postgres-url: is required")
	}
	if err := checkURL(c.PostgresURL); err != nil {
		return err
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

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not found")

// Schema is a set of tables with its migrations, independent of others in the same database.
type Schema struct {
	Versions string // table that holds which migrations were made, e.g. "goose_db_version"
	Files    fs.FS  // directories "sqlite" and "postgres" of goose's files

	// SQLitePragmas are set on the connection that writes, e.g. "cache_size(-8192)", beside those of all.
	SQLitePragmas []string
}

// DB is a database with a schema. It is safe for concurrent use.
type DB struct {
	Write *sql.DB // SQLite: one connection
	Read  *sql.DB // PostgreSQL: the same pool

	dialect dialect
	schema  Schema
	log     *slog.Logger

	mu    sync.Mutex
	locks map[string]bool // held through this DB; SQLite only
}

// Open connects and brings the tables up to date. It errs if the database does not answer; the caller
// tries again.
func Open(ctx context.Context, cfg Config, schema Schema, log *slog.Logger) (*DB, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	db := &DB{schema: schema, log: log, locks: map[string]bool{}}
	var err error
	if cfg.PostgresURL != "" {
		err = db.openPostgres(ctx, cfg.pool())
	} else {
		err = db.openSQLite(ctx, cfg.SQLitePath)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Postgres reports whether this is PostgreSQL.
func (db *DB) Postgres() bool { return db.dialect == postgres }

// Close ends all connections.
func (db *DB) Close() error {
	var errs []error
	if db.Write != nil {
		errs = append(errs, db.Write.Close())
	}
	if db.Read != nil && db.Read != db.Write {
		errs = append(errs, db.Read.Close())
	}
	return errors.Join(errs...)
}

// Ping errs if the database does not answer.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Read.PingContext(ctx); err != nil {
		return fmt.Errorf("%s: %w", db.dialect.name, err)
	}
	return nil
}

// Change runs f in one transaction. It errs with ErrUnknown if the database did not say whether it was committed.
func (db *DB) Change(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := db.Write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // f's error says more
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", commitError(ctx, err))
	}
	return nil
}

// Queryer is what reads have in common: a pool or a transaction.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Scanner is a row of a result.
type Scanner interface{ Scan(dest ...any) error }

// All reads every row of a query.
func All[T any](ctx context.Context, q Queryer, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
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

// One reads the row of a query, ErrNotFound if there is none.
func One[T any](ctx context.Context, q Queryer, scan func(Scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return v, err
}
