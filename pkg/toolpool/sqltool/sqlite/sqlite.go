// Package sqlite connects package sqltool to SQLite files, through a driver in pure Go.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// Run-time limits of a connection: https://sqlite.org/c3ref/c_limit_attached.html
const (
	limitLength   = 0 // bytes of one value or row
	limitAttached = 7

	maxValue = 16 << 20
)

// apart runs statements of models.
var apart = sqltool.NewApart("sqlite", driverHere)

// Driver returns the driver for SQLite. Files are opened with mode=ro and query_only, and no other file can be
// attached. Statements of models run in other processes.
func Driver() sqltool.Driver {
	d := driverHere()
	d.Apart = apart
	return d
}

// driverHere returns a driver that runs every statement in this process.
func driverHere() sqltool.Driver {
	return sqltool.Driver{
		Name:        "SQLite",
		Open:        open,
		Placeholder: func(n int) string { return fmt.Sprintf("?%d", n) },
		Value: func(v any) any {
			n, ok := v.(json.Number)
			if !ok {
				return v
			}
			if i, err := n.Int64(); err == nil {
				return i
			}
			f, err := n.Float64()
			if err != nil {
				return n.String()
			}
			return f
		},
		Problem: func(err error) string {
			e, ok := errors.AsType[*sqlite.Error](err)
			const busy, interrupted, ioError, cannotOpen, notADatabase = 5, 9, 10, 14, 26
			switch {
			case !ok && (errors.Is(err, driver.ErrBadConn) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
				return ""
			case !ok:
				return err.Error() // from the driver, about parameters
			}
			switch e.Code() & 0xff {
			case busy, interrupted, ioError, cannotOpen, notADatabase:
				return ""
			}
			return e.Error()
		},
	}
}

func open(dsn string, timeout time.Duration) (*sql.DB, error) {
	file := strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite:"), "//")
	if file == "" || strings.ContainsRune(file, '?') {
		return nil, errors.New("the dsn cannot be read: write it as sqlite:path/of/the/file.db")
	}
	q := url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)", fmt.Sprintf("busy_timeout(%d)", timeout.Milliseconds()), "trusted_schema(0)"}}
	return sql.OpenDB(connector{dsn: "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()}), nil
}

// connector opens connections that can only read, whatever a statement contains.
type connector struct{ dsn string }

func (c connector) Driver() driver.Driver {
	d := &sqlite.Driver{}
	d.RegisterConnectionHook(func(conn sqlite.ExecQuerierContext, _ string) error {
		guarded, ok := conn.(sqlite.AuthorizerRegisterer)
		if !ok {
			return errors.New("the SQLite driver has no authorizer")
		}
		return guarded.RegisterAuthorizer(readsOnly)
	})
	return d
}

// readsOnly allows reading tables. It denies SQLite's virtual tables of its file or state, because pages contain deleted rows.
func readsOnly(action sqlite.AuthorizerActionCode, table, _, _, _ string) sqlite.AuthorizerReturnCode {
	switch action {
	case sqlite.AuthRead:
		if madeUp(strings.ToLower(table)) {
			return sqlite.AuthorizerDeny
		}
		return sqlite.AuthorizerOK
	case sqlite.AuthSelect, sqlite.AuthFunction, sqlite.AuthRecursive, sqlite.AuthTransaction:
		return sqlite.AuthorizerOK
	}
	return sqlite.AuthorizerDeny
}

// madeUp reports whether a table is a virtual table of SQLite itself. Tables that read JSON do not count.
func madeUp(table string) bool {
	switch table {
	case "sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema", "sqlite_sequence":
		return false
	case "dbstat", "bytecode", "tables_used", "fsdir", "zipfile", "csv", "vtablog":
		return true
	}
	return strings.HasPrefix(table, "sqlite_") && !strings.HasPrefix(table, "sqlite_stat") || strings.HasPrefix(table, "pragma_")
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, err
	}
	if err := limit(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("limit the connection: %w", err)
	}
	return conn, nil
}

// limit limits the size of values, so that zeroblob(1000000000) fails. The driver allows that through database/sql only.
func limit(ctx context.Context, conn driver.Conn) error {
	db := sql.OpenDB(lender{conn})
	one, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err = sqlite.Limit(one, limitLength, maxValue); err == nil {
		_, err = sqlite.Limit(one, limitAttached, 0)
	}
	return errors.Join(err, one.Close(), db.Close())
}

// lender lends one connection to a sql.DB, which does not close it.
type lender struct{ conn driver.Conn }

func (l lender) Connect(context.Context) (driver.Conn, error) { return lent{l.conn}, nil }
func (l lender) Driver() driver.Driver                        { return &sqlite.Driver{} }

type lent struct{ driver.Conn }

func (lent) Close() error          { return nil }
func (l lent) Unwrap() driver.Conn { return l.Conn }
