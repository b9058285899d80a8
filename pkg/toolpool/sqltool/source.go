package sqltool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultMaxRows = 200
	defaultTimeout = 10 * time.Second
	maxConnections = 4
	maxBytes       = 128 << 10 // of rows in one result
)

// Driver is what databases differ in.
type Driver struct {
	Name string // for people: PostgreSQL
	// Open makes a pool of connections that cannot write, each statement of which ends at the timeout. It connects to
	// nothing yet. Its error does not show the dsn.
	Open func(dsn string, timeout time.Duration) (*sql.DB, error)
	// Begin starts a transaction that cannot write.
	Begin *sql.TxOptions
	// Placeholder is the n-th parameter in a statement, from 1.
	Placeholder func(n int) string
	// Value makes a parameter from a JSON string, number (as written), true or false; JSON null is nil.
	Value func(v any) any
	// Problem says what the database objects to in a statement; "" if err has another cause.
	Problem func(err error) string
}

// Config is one database.
type Config struct {
	Name        string
	Driver      Driver
	DSN         string
	Description string        // what is in it, for the model
	MaxRows     int           // of one result. Defaults to 200.
	Timeout     time.Duration // of one statement. Defaults to 10 s.
	Lookups     []Lookup
}

// Source is an open database.
type Source struct {
	cfg     Config
	db      *sql.DB
	lookups []*lookup
	running sync.WaitGroup

	statements atomic.Int64
}

// Open makes a source. It does not connect: a database that is away fails calls, not the worker.
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

// Close waits for lookups under way and closes the connections.
func (s *Source) Close() error {
	s.running.Wait()
	return s.db.Close()
}

// Statements is how many statements were sent since Open.
func (s *Source) Statements() int64 {
	return s.statements.Load()
}

// Tools are the source's lookups.
func (s *Source) Tools() []toolpool.Tool {
	tools := make([]toolpool.Tool, len(s.lookups))
	for i, l := range s.lookups {
		tools[i] = l.tool()
	}
	return tools
}

// run sends one statement and reads its rows, at most limit.
func (s *Source) run(ctx context.Context, statement string, params []any, limit int) (*table, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	s.statements.Add(1)
	t, err := s.read(ctx, cancel, statement, params, limit)
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

func (s *Source) read(ctx context.Context, cancel context.CancelFunc, statement string, params []any, limit int) (*table, error) {
	tx, err := s.db.BeginTx(ctx, s.cfg.Driver.Begin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	rows, err := tx.QueryContext(ctx, statement, params...)
	if err != nil {
		return nil, err
	}
	t, err := readTable(rows, limit)
	if err == nil && t.cut {
		cancel() // closing alone would first read whatever rows are left
	}
	_ = rows.Close() // its error is that of reading
	return t, err
}

// statementError is the database's own objection to a statement.
type statementError struct{ problem string }

func (e *statementError) Error() string { return "the database says: " + strings.TrimSpace(e.problem) }
