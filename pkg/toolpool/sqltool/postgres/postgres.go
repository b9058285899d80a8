// Package postgres connects package sqltool to PostgreSQL through pgx.
package postgres

import (
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// maxMessage bounds one row on the wire, in bytes.
const maxMessage = 16 << 20

// Driver is PostgreSQL. Connections are read-only by default and every statement runs in a read-only transaction; a
// role that may only SELECT is still wise, because some functions have effects outside of tables.
func Driver() sqltool.Driver {
	return sqltool.Driver{
		Name:        "PostgreSQL",
		Open:        open,
		Begin:       &sql.TxOptions{ReadOnly: true},
		Placeholder: func(n int) string { return "$" + strconv.Itoa(n) },
		// The server knows a parameter's type, and pgx sends text as it is.
		Value: func(v any) any {
			switch v := v.(type) {
			case json.Number:
				return v.String()
			case bool:
				return strconv.FormatBool(v)
			}
			return v
		},
		Problem: func(err error) string {
			e, ok := errors.AsType[*pgconn.PgError](err)
			// Class 08, 28, 53, 57 and 3D are the server's or the operator's trouble, and may name them.
			if !ok || len(e.Code) < 2 || e.Code != "57014" && (e.Code[:2] == "08" || e.Code[:2] == "28" || e.Code[:2] == "53" || e.Code[:2] == "57" || e.Code[:2] == "3D") {
				return ""
			}
			text := e.Message
			if e.Hint != "" {
				text += ". " + e.Hint
			}
			return text
		},
	}
}

func open(dsn string, timeout time.Duration) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the dsn cannot be read: write it as postgres://user:password@host:5432/database")
	}
	cfg.RuntimeParams["default_transaction_read_only"] = "on"
	cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt(max(timeout.Milliseconds(), 1), 10)
	cfg.RuntimeParams["application_name"] = "batchagent"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = timeout
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	return stdlib.OpenDB(*cfg), nil
}
