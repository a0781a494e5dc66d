package sqldb_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// open opens a database with one table.
func open(ctx context.Context, cfg sqldb.Config) (*sqldb.DB, error) {
	file := &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE things (id TEXT PRIMARY KEY);\n-- +goose Down\nDROP TABLE things;\n")}
	schema := sqldb.Schema{Versions: "versions", Files: fstest.MapFS{"sqlite/00001_things.sql": file, "postgres/00001_things.sql": file}}
	return sqldb.Open(ctx, cfg, schema, slog.New(slog.DiscardHandler))
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for want, cfg := range map[string]sqldb.Config{
		"postgres-url: is required": {},
		"unable to open database":   {SQLitePath: filepath.Join(t.TempDir(), "missing", "doorstep.db")},
		"postgres: failed to":       {PostgresURL: "postgres://someone:hidden-word@127.0.0.1:1/doorstep"},
		"postgres":                  {PostgresURL: "postgres://someone:hidden-word@127.0.0.1:port/doorstep"},
	} {
		_, err := open(context.Background(), cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden-word") {
			t.Errorf("%v, want %q and no password", err, want)
		}
	}
}
