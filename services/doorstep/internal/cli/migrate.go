package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
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
	if cfg.PostgresURL == "" {
		dir, err := embedded.Open(ctx, embedded.Config{Dir: c.Data, SQL: true})
		if err != nil {
			return err
		}
		defer dir.Close()
		cfg.SQLitePath, name = dir.SQLPath(), "SQLite"
	}
	store, err := sqlstore.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer store.Close()
	version, err := store.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "%s is at schema version %d\n", name, version)
	return err
}
