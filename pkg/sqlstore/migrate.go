package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the tables up to date. Two processes that start at once do it one after the other:
// PostgreSQL by a session lock, SQLite by the lock that its caller holds.
func (s *Store) migrate(ctx context.Context) error {
	p, err := s.migrations()
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	for _, m := range done {
		s.log.Info("migrated", "database", s.dialect.name, "migration", m.Source.Path, "duration", m.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.dialect.name, err)
	}
	return nil
}

func (s *Store) migrations() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+s.dialect.name)
	if err != nil {
		return nil, err
	}
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	of := goose.DialectSQLite3
	if s.dialect == postgres {
		of = goose.DialectPostgres
		// Asked for once a second, for at most a minute.
		l, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(l))
	}
	p, err := goose.NewProvider(of, s.write, files, opts...)
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", s.dialect.name, err)
	}
	return p, nil
}

// SchemaVersion is the number of the last migration that the tables have.
func (s *Store) SchemaVersion(ctx context.Context) (int64, error) {
	p, err := s.migrations()
	if err != nil {
		return 0, err
	}
	return p.GetDBVersion(ctx)
}
