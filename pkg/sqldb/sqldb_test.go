package sqldb_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
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

func TestRefused(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		db, err := open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		exec := func(ctx context.Context, query string, args ...any) error {
			_, err := db.Write.ExecContext(ctx, query, args...)
			return err
		}
		if err := exec(t.Context(), `INSERT INTO things (id) VALUES ('twice')`); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for name, tt := range map[string]struct {
			err  error
			want bool
		}{
			"a row that is there":  {exec(t.Context(), `INSERT INTO things (id) VALUES ('twice')`), true},
			"a zero byte":          {exec(t.Context(), `INSERT INTO things (id) VALUES ($1)`, "a\x00b"), db.Postgres()}, // SQLite takes it
			"an unknown table":     {exec(t.Context(), `INSERT INTO others (id) VALUES ('x')`), false},
			"nobody waits for it":  {exec(gone, `INSERT INTO things (id) VALUES ('y')`), false},
			"nothing is wrong":     {exec(t.Context(), `INSERT INTO things (id) VALUES ('z')`), false},
			"wrapped, with a text": {fmt.Errorf("record: %w", exec(t.Context(), `INSERT INTO things (id) VALUES ('twice')`)), true},
		} {
			if got := sqldb.Refused(tt.err); got != tt.want {
				t.Errorf("%s: refused %v, want %v: %v", name, got, tt.want, tt.err)
			}
		}
	})
}
