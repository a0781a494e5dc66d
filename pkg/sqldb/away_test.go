package sqldb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
)

func TestAway(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return fmt.Errorf("read outbox: %w", &pgconn.PgError{Code: code}) }
	_, refused := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"nothing":                   {nil, ""},
		"no row":                    {sqldb.ErrNotFound, ""},
		"a value that is refused":   {pg("23505"), ""},
		"a statement that is wrong": {pg("42601"), ""},
		"nobody waits for it":       {context.Canceled, ""},
		"something else":            {errors.New("127.0.0.1:5432 somebody"), ""},

		"no connection left":     {pg("53300"), "has no connection left"},
		"stopping":               {pg("57P01"), "is stopping or starting"},
		"starting":               {pg("57P03"), "is stopping or starting"},
		"read-only":              {pg("25006"), "takes no changes, it is read-only"},
		"statement timeout":      {pg("57014"), "did not answer in time"},
		"a full disk":            {pg("53100"), "has no room on its disk"},
		"no memory":              {pg("53200"), "is short of memory or disk"},
		"a wrong password":       {pg("28P01"), "does not let Doorstep in"},
		"no such database":       {pg("3D000"), "does not let Doorstep in"},
		"a lock that is held":    {pg("55P03"), "is busy with other changes"},
		"out of time":            {fmt.Errorf("list: %w", context.DeadlineExceeded), "did not answer in time"},
		"refused":                {refused, "cannot be reached"},
		"the connection ended":   {fmt.Errorf("list: %w", io.ErrUnexpectedEOF), "cannot be reached"},
		"database/sql gave up":   {driver.ErrBadConn, "cannot be reached"},
		"the transaction ended":  {sql.ErrTxDone, "cannot be reached"},
		"a commit without words": {errors.Join(sqldb.ErrUnknown, errors.New("conn closed")), "cannot be reached"},
	} {
		if got := sqldb.Away(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// A server that takes connections and says nothing is given up, told of, and keeps no place in the pool.
func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	_, err = open(t.Context(), sqldb.Config{PostgresURL: "postgres://someone:hidden-word@" + l.Addr().String() + "/doorstep?sslmode=disable"})
	if err == nil || sqldb.Away(err) != "did not answer in time" || strings.Contains(err.Error(), "hidden-word") {
		t.Errorf("%v: %q", err, sqldb.Away(err))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("given up after %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	began = time.Now()
	_, err = open(ctx, sqldb.Config{PostgresURL: "postgres://someone:hidden-word@" + l.Addr().String() + "/doorstep?sslmode=disable"})
	if err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("told to stop: %v after %s", err, time.Since(began))
	}
}

// What the database refuses at a commit was not made; that is no unknown.
func TestACommitThatIsRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		db, err := open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, statement := range []string{
			"CREATE TABLE owners (id TEXT PRIMARY KEY)",
			"CREATE TABLE owned (owner TEXT REFERENCES owners(id) DEFERRABLE INITIALLY DEFERRED)",
		} {
			if _, err := db.Write.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		err = db.Change(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO owned (owner) VALUES ('nobody')")
			return err
		})
		if err == nil || errors.Is(err, sqldb.ErrUnknown) || !sqldb.Refused(err) {
			t.Errorf("a commit that breaks a reference: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = db.Change(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO owners (id) VALUES ('one')")
			cancel()
			return err
		})
		if err == nil || errors.Is(err, sqldb.ErrUnknown) {
			t.Errorf("a commit that is not asked for: %v", err)
		}
	})
}
