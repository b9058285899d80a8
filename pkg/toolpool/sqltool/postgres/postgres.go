// Package postgres connects package sqltool to PostgreSQL through pgx.
package postgres

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// maxMessage limits one row on the wire, in bytes.
const maxMessage = 16 << 20

// powers finds rights that let a SELECT act on the server itself, which a read-only transaction does not prevent.
// Superusers and members of some roles can access files of the server's machine
// (https://www.postgresql.org/docs/current/predefined-roles.html). The check includes the session's user, because
// set_config('role', …) can switch back to it.
const powers = `SELECT CASE WHEN r.rolsuper THEN 'its role is a superuser' WHEN r.rolreplication THEN 'its role may replicate'
	ELSE 'its role is a member of ' || p.rolname END
FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_roles p ON pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER') AND p.rolname IN
	('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend')
WHERE r.rolname IN (session_user, current_user) AND (r.rolsuper OR r.rolreplication OR p.oid IS NOT NULL)`

// Driver returns the driver for PostgreSQL. Connections are read-only by default, and every statement runs in a
// read-only transaction. The server accepts one statement at a time, because pgx uses the extended protocol only.
func Driver() sqltool.Driver {
	return sqltool.Driver{
		Name:        "PostgreSQL",
		Open:        open,
		Begin:       &sql.TxOptions{ReadOnly: true},
		Placeholder: func(n int) string { return "$" + strconv.Itoa(n) },
		// The server infers a parameter's type, and pgx sends text unchanged.
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
			if text := ofParameters(err); text != "" {
				return text
			}
			e, ok := errors.AsType[*pgconn.PgError](err)
			// Classes 08, 28, 53, 57 and 3D are problems of the server or the operator, and may contain their names.
			if !ok || len(e.Code) < 2 || e.Code != "57014" && (e.Code[:2] == "08" || e.Code[:2] == "28" || e.Code[:2] == "53" || e.Code[:2] == "57" || e.Code[:2] == "3D") {
				return ""
			}
			text := e.Message
			if e.Hint != "" {
				text += ". " + e.Hint
			}
			return text
		},
		Powers:  powers,
		Release: "SELECT pg_catalog.pg_advisory_unlock_all()",
	}
}

// ofParameters returns the client's objection to parameters or to the size of a row; "" if err has another cause.
func ofParameters(err error) string {
	if _, ok := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); ok {
		return fmt.Sprintf("a row is larger than %d bytes; ask for less", maxMessage)
	}
	text := err.Error()
	for _, words := range []string{"arguments, got", "cannot encode", "unable to encode", "failed to encode", "protocol limited to"} {
		if strings.Contains(text, words) {
			return text
		}
	}
	return ""
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
	if cfg.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol { // for poolers; it allows several statements
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	return stdlib.OpenDB(*cfg), nil
}
