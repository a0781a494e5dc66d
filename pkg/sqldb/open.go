package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	lite "modernc.org/sqlite"
)

// dialect is what differs between the two databases.
type dialect struct {
	name       string // of the migrations' directory and in errors
	serverLock bool   // locks are the server's, not this process's
}

var (
	sqlite   = dialect{name: "sqlite"}
	postgres = dialect{name: "postgres", serverLock: true}
)

const (
	sqliteReaders = 4
	// minConnections to PostgreSQL: the one that holds the outbox's lock, and one for all else.
	minConnections = 2

	// connectTime bounds a connection to PostgreSQL from dialling to being ready, where its URL has no connect_timeout.
	connectTime = 5 * time.Second
	// firstTime bounds what is asked first, and whether there are migrations to make: a server that takes a second for each
	// answer is waited for, one that hangs is told of.
	firstTime = 20 * time.Second
	// lockTime bounds taking a lock; heldTime what its holder asks now and then, who must hear soon that it may be lost.
	lockTime = 20 * time.Second
	heldTime = 5 * time.Second
)

func (db *DB) openPostgres(ctx context.Context, cfg Config) error {
	db.dialect = postgres
	pool := sql.OpenDB(connector{cfg.PostgresURL, cfg.Failed})
	pool.SetMaxOpenConns(cfg.MaxConnections)
	pool.SetMaxIdleConns(cfg.MaxIdle)
	pool.SetConnMaxIdleTime(cfg.MaxIdleTime)
	pool.SetConnMaxLifetime(cfg.ConnectionLifetime)
	db.Write, db.Read = pool, pool
	within, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	if err := db.Ping(within); err != nil {
		return err
	}
	return db.migrate(ctx)
}

// connector makes connections to PostgreSQL. Settings, and the files that they name, are read anew for each. The pool
// connects in the background too, without a deadline: a server that hangs would keep the place for ever.
type connector struct {
	url    string
	failed func() // nil: nobody counts
}

// Connect is driver.Connector's.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	cfg, err := pgx.ParseConfig(c.url)
	if err != nil {
		return nil, fmt.Errorf("postgres-url: %w", err) // pgx masks the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTime
	}
	conn, err := stdlib.GetConnector(*cfg).Connect(ctx)
	if err != nil {
		if c.failed != nil && !errors.Is(err, context.Canceled) {
			c.failed()
		}
		return nil, err
	}
	return postgresConn{conn.(*pgxConn)}, nil
}

type pgxConn = stdlib.Conn

// postgresConn is a connection that the pool gives to nobody once it is closed. pgx closes one whose statement ran out of
// time; where many do at once, those who wait would get one closed connection after another, until database/sql gives up.
type postgresConn struct{ *pgxConn }

// IsValid is driver.Validator's.
func (c postgresConn) IsValid() bool { return !c.Conn().IsClosed() }

// Driver is driver.Connector's.
func (connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (db *DB) openSQLite(ctx context.Context, path string) error {
	db.dialect = sqlite
	var err error
	// synchronous=NORMAL: in WAL mode a killed process loses nothing, a power cut at most the last
	// seconds, as the embedded log does.
	params := []string{"_txlock=immediate", "_pragma=journal_mode(WAL)", "_pragma=synchronous(NORMAL)"}
	for _, pragma := range db.schema.SQLitePragmas {
		params = append(params, "_pragma="+pragma)
	}
	if db.Write, err = openSQLite(path, params...); err != nil {
		return err
	}
	db.Write.SetMaxOpenConns(1)
	// Before the first connection: that one makes a new file a WAL file, and for this SQLite does not wait
	// until another process has done the same.
	unlock, err := lockFile(ctx, path+".migrate")
	if err != nil {
		return err
	}
	err = db.Write.PingContext(ctx)
	if err == nil {
		err = db.migrate(ctx)
	}
	if err = errors.Join(err, unlock()); err != nil {
		return fmt.Errorf("sqlite %s: %w", path, err)
	}
	if db.Read, err = openSQLite(path, "_pragma=query_only(1)"); err != nil {
		return err
	}
	db.Read.SetMaxOpenConns(sqliteReaders)
	db.Read.SetMaxIdleConns(sqliteReaders)
	return db.Ping(ctx)
}

func openSQLite(path string, params ...string) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)"
	connector, err := lite.NewConnector(strings.Join(append([]string{dsn}, params...), "&"))
	if err != nil {
		return nil, fmt.Errorf("sqlite %s: %w", path, err)
	}
	return sql.OpenDB(rawConnector{connector}), nil
}

// lockFile takes a lock between processes on one machine: an exclusive transaction in an empty
// SQLite file, which the system ends if the process dies.
func lockFile(ctx context.Context, path string) (unlock func() error, err error) {
	db, err := openSQLite(path, "_txlock=exclusive")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), db.Close())
	}
	return func() error {
		_ = tx.Rollback() // it wrote nothing; the end of ctx has done it already
		return db.Close()
	}, nil
}

// Lock is a named lock, held until Release or until its holder's connection ends.
type Lock struct {
	db   *DB
	name string
	conn *sql.Conn // PostgreSQL: the session that holds it
}

// TryLock takes the lock of that name if nobody holds it. PostgreSQL: among all who use its schema, for as
// long as the session lives, so it does not work through a pooler that shares sessions; a holder
// whose machine vanished is found out within 10 s. SQLite: within this DB, whose file one
// process owns.
func (db *DB) TryLock(ctx context.Context, name string) (*Lock, bool, error) {
	if !db.dialect.serverLock {
		db.mu.Lock()
		defer db.mu.Unlock()
		if db.locks[name] {
			return nil, false, nil
		}
		db.locks[name] = true
		return &Lock{db: db, name: name}, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	var held bool
	err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/' || $1::text, 0)) FROM
		(SELECT set_config('tcp_keepalives_idle', '4', false), set_config('tcp_keepalives_interval', '2', false),
			set_config('tcp_keepalives_count', '3', false)) AS s`, name).Scan(&held)
	if err != nil {
		discard(conn)
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !held {
		return nil, false, conn.Close()
	}
	return &Lock{db: db, name: name, conn: conn}, true, nil
}

// Held errs if the lock may have been lost.
func (l *Lock) Held(ctx context.Context) error {
	if l.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	if _, err := l.conn.ExecContext(ctx, `SELECT 1`); err != nil {
		return fmt.Errorf("lock %s: %w", l.name, err)
	}
	return nil
}

// Release gives the lock back; a server that does not answer gets a second for it.
func (l *Lock) Release() {
	if l.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		// The end of the session gives it back in any case, but the server comes to that some time later.
		_, _ = l.conn.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`)
		discard(l.conn)
		return
	}
	l.db.mu.Lock()
	defer l.db.mu.Unlock()
	delete(l.db.locks, l.name)
}

// discard ends a session, and with it the locks and settings that it has.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
