package sqldb

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	lite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Refused reports whether err says that the database does not take the values of a statement, now or later:
// whoever tries the same again gets the same. Errors of connections, locks, room and privileges are others.
func Refused(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// No partition for a row is a fault of the tables, and mended by making it.
		return pg.Code != checkViolation && (strings.HasPrefix(pg.Code, dataException) ||
			strings.HasPrefix(pg.Code, integrityViolation) || strings.HasPrefix(pg.Code, limitExceeded) ||
			strings.HasPrefix(pg.Code, cardinalityViolation))
	}
	if e, ok := errors.AsType[*lite.Error](err); ok {
		switch e.Code() & 0xff { // without what extends it
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
			return true
		}
	}
	return false
}

// Classes of PostgreSQL's error codes, and one code.
const (
	dataException        = "22"
	integrityViolation   = "23"
	limitExceeded        = "54" // e.g. a text too long for its index
	cardinalityViolation = "21" // e.g. one row twice in an upsert
	checkViolation       = "23514"
)
