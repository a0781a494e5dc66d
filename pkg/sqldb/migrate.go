package sqldb

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// migrate brings the tables up to date. Two processes that start at once do it one after the other:
// PostgreSQL by a session lock, SQLite by the lock that its caller holds.
func (db *DB) migrate(ctx context.Context) error {
	p, err := db.migrations()
	if err != nil {
		return err
	}
	// A migration takes as long as it takes; that there is none is said at once.
	within, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	pending, err := p.HasPending(within)
	if err != nil || !pending {
		if err != nil {
			err = fmt.Errorf("migrate %s: %w", db.dialect.name, err)
		}
		return err
	}
	done, err := p.Up(ctx)
	for _, m := range done {
		db.log.Info("migrated", "database", db.dialect.name, "migration", m.Source.Path, "duration", m.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrate %s: %w", db.dialect.name, err)
	}
	return nil
}

func (db *DB) migrations() (*goose.Provider, error) {
	files, err := fs.Sub(db.schema.Files, db.dialect.name)
	if err != nil {
		return nil, err
	}
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName(db.schema.Versions)}
	of := goose.DialectSQLite3
	if db.dialect == postgres {
		of = goose.DialectPostgres
		// Asked for once a second, for at most a minute.
		l, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(l))
	}
	p, err := goose.NewProvider(of, db.Write, files, opts...)
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", db.dialect.name, err)
	}
	return p, nil
}

// SchemaVersion is the number of the last migration that the tables have.
func (db *DB) SchemaVersion(ctx context.Context) (int64, error) {
	p, err := db.migrations()
	if err != nil {
		return 0, err
	}
	return p.GetDBVersion(ctx)
}
