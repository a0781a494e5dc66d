package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// RawConn is a connection to SQLite as its driver has it.
type RawConn struct {
	driverConn
	prepared map[string]driver.StmtExecContext
}

// driverConn is what database/sql looks for in a connection of that driver.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// Prepared is a statement that stays prepared until the connection ends.
func (c *RawConn) Prepared(ctx context.Context, query string) (driver.StmtExecContext, error) {
	if known := c.prepared[query]; known != nil {
		return known, nil
	}
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	statement := made.(driver.StmtExecContext)
	if c.prepared == nil {
		c.prepared = map[string]driver.StmtExecContext{}
	}
	c.prepared[query] = statement
	return statement, nil
}

// Close ends the statements, too: while there is one, SQLite keeps the file open, and what the log of its writes holds
// does not get into it. database/sql closes a connection whenever a statement was interrupted.
func (c *RawConn) Close() error {
	var errs []error
	for _, statement := range c.prepared {
		errs = append(errs, statement.(driver.Stmt).Close())
	}
	c.prepared = nil
	return errors.Join(append(errs, c.driverConn.Close())...)
}

// rawConnector makes them.
type rawConnector struct{ driver.Connector }

// Connect is driver.Connector's.
func (r rawConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &RawConn{driverConn: conn.(driverConn)}, nil
}

// ChangeRaw is Change for statements that are given to SQLite's driver itself: database/sql takes as long to hand a row
// of values on as SQLite takes to bind them.
func (db *DB) ChangeRaw(ctx context.Context, f func(*RawConn) error) error {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := conn.Raw(func(c any) error { return f(c.(*RawConn)) }); err != nil {
		_ = tx.Rollback() // f's error says more
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", commitError(ctx, err))
	}
	return nil
}
