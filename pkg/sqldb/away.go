package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	lite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrUnknown says that a database was asked to commit and did not answer: what was changed may stand, or not.
var ErrUnknown = errors.New("it is not known whether the change was made")

// Away says what keeps a database from doing what it was asked, in words that go on from "the database ": the same
// may work later, or once its operator has mended it. It is empty if err says something else, e.g. that a value is
// refused. The words name no address and no user.
func Away(err error) string {
	if err == nil {
		return ""
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return awayPostgres(pg.Code)
	}
	if e, ok := errors.AsType[*lite.Error](err); ok {
		return awaySQLite(e.Code() & 0xff)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err), errors.As(err, &network) && network.Timeout():
		return "did not answer in time"
	case errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone), errors.Is(err, ErrUnknown),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "cannot be reached"
	}
	return ""
}

// awayPostgres is Away of PostgreSQL's error codes (its documentation, appendix A).
func awayPostgres(code string) string {
	switch code {
	case "53300":
		return "has no connection left"
	case "53100":
		return "has no room on its disk"
	case "25006":
		return "takes no changes, it is read-only"
	case "57014", "25P03", "57P05": // a statement or session that took too long
		return "did not answer in time"
	case "55P03", "40001", "40P01":
		return "is busy with other changes"
	}
	switch {
	case strings.HasPrefix(code, "57P"):
		return "is stopping or starting"
	case strings.HasPrefix(code, "53"):
		return "is short of memory or disk"
	case strings.HasPrefix(code, "08"):
		return "cannot be reached"
	case strings.HasPrefix(code, "28"), code == "3D000", code == "42501":
		return "does not let Doorstep in"
	}
	return ""
}

func awaySQLite(code int) string {
	switch code {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "is busy with other changes"
	case sqlite3.SQLITE_FULL:
		return "has no room on its disk"
	case sqlite3.SQLITE_READONLY:
		return "takes no changes, it is read-only"
	case sqlite3.SQLITE_INTERRUPT:
		return "did not answer in time"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return "cannot be read or written on its disk"
	}
	return ""
}

// commitError is the error of a commit. The change was not made if the database says so, or was never asked.
func commitError(ctx context.Context, err error) error {
	pg, answered := errors.AsType[*pgconn.PgError](err)
	_, file := errors.AsType[*lite.Error](err)
	switch {
	// A session that is ended (FATAL) may be so behind its commit. What pgx calls safe to retry is no help: it says so
	// too of a COMMIT that was sent and whose connection ended before the answer.
	case answered && pg.SeverityUnlocalized != "FATAL", file:
		return err
	case err == ctx.Err(), errors.Is(err, sql.ErrTxDone): //nolint:errorlint // as it is: database/sql's own, before it asks
		return err
	}
	return errors.Join(ErrUnknown, err)
}
