package sqldbtest

import (
	"io/fs"
	"log/slog"
	"path"
	"testing"
	"testing/fstest"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// OpenAt opens a database with the first migrations of a schema only: as an earlier version leaves it. last is the
// number of the last one, as their files' names begin, e.g. "00001".
func OpenAt(t *testing.T, cfg sqldb.Config, schema sqldb.Schema, last string) *sqldb.DB {
	t.Helper()
	names, err := fs.Glob(schema.Files, "*/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	first, left := fstest.MapFS{}, 0
	for _, name := range names {
		if path.Base(name)[:len(last)] > last {
			left++
			continue
		}
		data, err := fs.ReadFile(schema.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		first[name] = &fstest.MapFile{Data: data}
	}
	if len(first) == 0 || left == 0 {
		t.Fatalf("of %v, %d are to be made and %d to be left", names, len(first), left)
	}
	schema.Files = first
	db, err := sqldb.Open(t.Context(), cfg, schema, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}
