package sqlstore_test

import (
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// Tables of an older version are copied before they are migrated, once, and whole.
func TestCheckKeepsACopyOfOlderTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doorstep.db")
	if err := sqlstore.CheckSQLite(t.Context(), path); err != nil {
		t.Errorf("no file yet: %v", err)
	}
	store, err := sqlstore.Open(t.Context(), sqldb.Config{SQLitePath: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	if err := sqlstore.CheckSQLite(t.Context(), path); err != nil {
		t.Errorf("of this version: %v", err)
	}
	if copies, _ := filepath.Glob(path + ".v*"); len(copies) > 0 {
		t.Errorf("copies %v although nothing is to be migrated", copies)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DELETE FROM goose_db_version WHERE version_id > 1`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sqlstore.CheckSQLite(t.Context(), path); err != nil {
			t.Fatalf("of an older version: %v", err)
		}
	}
	if err := sqlstore.CheckSQLite(t.Context(), path+".v1"); err != nil {
		t.Errorf("the copy: %v", err)
	}
	if _, err := os.Stat(path + ".v1"); err != nil {
		t.Error(err)
	}
}
