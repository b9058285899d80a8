package sqltool

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/redact"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultMaxRows = 200
	defaultTimeout = 10 * time.Second
	maxConnections = 4
	maxBytes       = 128 << 10 // bytes of rows in one result
)

// Driver holds the differences between databases.
type Driver struct {
	Name string // name for users, such as PostgreSQL
	// Open creates a pool of read-only connections on which each statement ends at the timeout. It does not connect
	// yet. Its error does not contain the dsn.
	Open func(dsn string, timeout time.Duration) (*sql.DB, error)
	// Begin are the options of a read-only transaction.
	Begin *sql.TxOptions
	// Placeholder returns the n-th parameter in a statement, from 1.
	Placeholder func(n int) string
	// Value converts a JSON string, number (as written), true or false into a parameter. JSON null is nil.
	Value func(v any) any
	// Problem returns the database's objection to a statement; "" if err has another cause.
	Problem func(err error) string
	// Powers is a query for the rights of the connection's role beyond reading tables. It returns one row with one text
	// column per reason why models must not write its statements. "" if the database has no such roles.
	Powers string
	// Release is a statement that frees resources beyond the transaction, such as locks. "" if the database has none.
	Release string
	// Apart runs the statements of models in other processes. Nil runs them in this process; the database must then be
	// able to stop them.
	Apart *Apart
}

// Config is one database.
type Config struct {
	Name        string
	Driver      Driver
	DSN         string
	Description string        // description of its content, for the model
	MaxRows     int           // of one result; defaults to 200
	Timeout     time.Duration // of one statement; defaults to 10 s
	Lookups     []Lookup
	// Secrets are redacted in values before they are cut. Nil redacts nothing.
	Secrets *redact.Secrets
}

// Source is an open database.
type Source struct {
	cfg     Config
	db      *sql.DB
	lookups []*lookup
	running sync.WaitGroup

	statements atomic.Int64
	harmless   atomic.Bool // its role has no powers, by an earlier check
}

// Open creates a source. It does not connect: an unreachable database fails calls, not the worker.
func Open(cfg Config) (*Source, error) {
	if cfg.MaxRows <= 0 {
		cfg.MaxRows = defaultMaxRows
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	s := &Source{cfg: cfg}
	for _, l := range cfg.Lookups {
		made, err := newLookup(s, l)
		if err != nil {
			return nil, fmt.Errorf("sql source %s: %w", cfg.Name, err)
		}
		s.lookups = append(s.lookups, made)
	}
	db, err := cfg.Driver.Open(cfg.DSN, cfg.Timeout)
	if err != nil {
		return nil, fmt.Errorf("sql source %s: %w", cfg.Name, err)
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(time.Minute)
	s.db = db
	return s, nil
}

// Close waits for running lookups and closes the connections.
func (s *Source) Close() error {
	s.running.Wait()
	return s.db.Close()
}

// Statements returns the number of statements sent since Open.
func (s *Source) Statements() int64 {
	return s.statements.Load()
}

// Tools returns the source's lookups.
func (s *Source) Tools() []toolpool.Tool {
	tools := make([]toolpool.Tool, len(s.lookups))
	for i, l := range s.lookups {
		tools[i] = l.tool()
	}
	return tools
}

// work is one statement.
type work struct {
	text    string
	params  []any
	limit   int  // of rows
	byModel bool // written by a model, not by the operator
}

// execute sends one statement and reads its rows.
func (s *Source) execute(ctx context.Context, w work) (*table, error) {
	if w.byModel && s.cfg.Driver.Apart != nil {
		s.statements.Add(1)
		return s.cfg.Driver.Apart.execute(ctx, s.cfg, w)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	s.statements.Add(1)
	t, err := s.read(ctx, cancel, w)
	if err == nil {
		return t, nil
	}
	if problem := s.cfg.Driver.Problem(err); problem != "" {
		return nil, &statementError{problem}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("the statement took longer than %s and was stopped", s.cfg.Timeout)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if cause, ok := errors.AsType[*valueError](err); ok {
		return nil, cause
	}
	return nil, fmt.Errorf("the database %s cannot be reached; go on without it or try again later", s.cfg.Name)
}

func (s *Source) read(ctx context.Context, cancel context.CancelFunc, w work) (*table, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // returns it to the pool
	if w.byModel && s.cfg.Driver.Release != "" {
		defer s.release(ctx, conn)
	}
	tx, err := conn.BeginTx(ctx, s.cfg.Driver.Begin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	rows, err := tx.QueryContext(ctx, w.text, w.params...)
	if err != nil {
		return nil, err
	}
	t, err := readTable(rows, w.limit, s.cfg.Secrets)
	if err == nil && t.cut {
		cancel() // Close alone would first read the remaining rows
	}
	_ = rows.Close() // its error equals that of reading
	return t, err
}

// release frees the resources of a model's statement. If that fails, the connection is not reused.
func (s *Source) release(ctx context.Context, conn *sql.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	if _, err := conn.ExecContext(ctx, s.cfg.Driver.Release); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // returns ErrBadConn, which discards the connection
	}
}

// Check returns an error if models must not write statements for this source, because its role has more rights than
// reading tables. It returns nil for an unreachable database; the check then runs before the first statement.
func (s *Source) Check(ctx context.Context) error {
	err := s.checkPowers(ctx)
	if _, ok := errors.AsType[*powersError](err); ok {
		return err
	}
	return nil
}

func (s *Source) checkPowers(ctx context.Context) error {
	if s.cfg.Driver.Powers == "" || s.harmless.Load() {
		return nil
	}
	t, err := s.execute(ctx, work{text: s.cfg.Driver.Powers, limit: 1})
	if err != nil {
		return err
	}
	if len(t.values) > 0 {
		return &powersError{source: s.cfg.Name, reason: keyText(t.values[0][0])}
	}
	s.harmless.Store(true)
	return nil
}

// powersError reports a role that models must not use.
type powersError struct{ source, reason string }

func (e *powersError) Error() string {
	return fmt.Sprintf("sql_query may not use the database %s: %s. Its operator must give it a role that may only read, or set query: false",
		e.source, e.reason)
}

// statementError is the database's objection to a statement.
type statementError struct{ problem string }

func (e *statementError) Error() string { return "the database says: " + strings.TrimSpace(e.problem) }
