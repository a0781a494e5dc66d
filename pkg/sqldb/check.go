package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// checkTime bounds the reading of a whole file for damage: a long history is read in part only.
const checkTime = 5 * time.Second

// CheckSQLite errs in one line, which names the file, if what is at path cannot be used: no SQLite database,
// damaged, or with tables of a newer version. A file that is not there or empty is fine. Nothing is changed, but a
// copy is made beside the file (PATH.vN) before tables of an older version N are migrated, where keep says so.
func CheckSQLite(ctx context.Context, path string, schema Schema, keep bool) error {
	head, err := readHead(path)
	if err != nil || len(head) == 0 {
		return err
	}
	if !bytes.Equal(head, []byte("SQLite format 3\x00")) {
		return damagedFile(path, errors.New("no SQLite database"))
	}
	db, err := openSQLite(path, "_txlock=deferred")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := quickCheck(ctx, db); err != nil {
		return damagedFile(path, err)
	}
	known, err := lastMigration(schema)
	if err != nil {
		return err
	}
	var has int64
	// schema.Versions is a constant of ours.
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+schema.Versions+` WHERE is_applied`).Scan(&has)
	switch {
	case err != nil && strings.Contains(err.Error(), "no such table"):
		return nil // its first migration was cut short
	case err != nil:
		return damagedFile(path, err)
	case has > known:
		return fmt.Errorf("%s has tables of a newer doorstep (schema %d, this one knows %d); run that version", path, has, known)
	case has > 0 && has < known && keep:
		return copyBefore(ctx, db, path, has)
	}
	return nil
}

// readHead reads what an SQLite file begins with; nothing where there is no file.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

func damagedFile(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w); put it back from a backup", path, err)
}

// quickCheck reads the file for damage, for as long as checkTime.
func quickCheck(ctx context.Context, db *sql.DB) error {
	within, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var said string
	err := db.QueryRowContext(within, `PRAGMA quick_check(1)`).Scan(&said)
	switch {
	case within.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case said != "ok":
		return errors.New(strings.Join(strings.Fields(said), " "))
	}
	return nil
}

// lastMigration is the number of the last migration of schema for SQLite.
func lastMigration(schema Schema) (int64, error) {
	files, err := fs.ReadDir(schema.Files, sqlite.name)
	if err != nil {
		return 0, err
	}
	var last int64
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			last = max(last, n)
		}
	}
	return last, nil
}

// copyBefore copies the database as it is to PATH.vN, once.
func copyBefore(ctx context.Context, db *sql.DB, path string, version int64) error {
	to := path + ".v" + strconv.FormatInt(version, 10)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO $1`, to+".tmp"); err != nil {
		return errors.Join(fmt.Errorf("copy %s before its migration: %w", path, err), os.Remove(to+".tmp"))
	}
	return os.Rename(to+".tmp", to)
}
