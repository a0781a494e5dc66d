package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

type migrateCmd struct {
	SQL  settings.SQL `embed:""`
	Data string       `env:"DOORSTEP_DATA_DIR" type:"path" placeholder:"DIR" default:"./doorstep-data" help:"Data directory of the embedded database, for when no PostgreSQL is named."`
}

// Run brings the tables up to date. Services do so as well when they start; this is for those who
// want it done before.
func (c *migrateCmd) Run(ctx context.Context, streams IO) error {
	cfg, name := sqldb.Config(c.SQL), "PostgreSQL"
	history := cfg
	if cfg.PostgresURL == "" {
		dir, err := embedded.Open(ctx, embedded.Config{Dir: c.Data, SQL: true})
		if err != nil {
			return err
		}
		defer dir.Close()
		cfg.SQLitePath, history.SQLitePath, name = dir.SQLPath(), dir.HistoryPath(), "SQLite"
	}
	log := slog.New(slog.DiscardHandler)
	store, err := sqlstore.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer store.Close()
	past, err := sqlhistory.Open(ctx, history, log)
	if err != nil {
		return err
	}
	defer past.Close()
	return versions(ctx, streams, name, store.DB, past.DB)
}

// versions prints what the tables are now.
func versions(ctx context.Context, streams IO, name string, store, history *sqldb.DB) error {
	version, err := store.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	past, err := history.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "%s is at schema version %d, the history's at %d\n", name, version, past)
	return err
}
