package sqltool

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/batchagent/batchagent/pkg/internal/confine"
	"github.com/batchagent/batchagent/pkg/redact"
)

// apartLimits are the limits for one statement of a model. The source's timeout ends it earlier.
var apartLimits = confine.Limits{Memory: 256 << 20, CPU: time.Minute}

// Apart runs statements of models in other processes. It is for a database inside this program: a single function of a
// statement, such as instr over large values, cannot be cancelled.
type Apart struct{ task *confine.Task }

type apartWork struct {
	Name, DSN string
	Timeout   time.Duration
	Dir       string // base of relative paths
	Text      string
	Params    []apartParam
	Limit     int
	Secrets   []string
}

// apartParam holds a parameter, which may be nil.
type apartParam struct{ Value any }

type apartTable struct {
	Rows [][]byte
	Cut  bool
}

// NewApart creates an Apart for a driver. Each driver calls it at package level, with its own name.
func NewApart(name string, driver func() Driver) *Apart {
	return &Apart{confine.New("sql-"+name, apartLimits, func(in []byte) ([]byte, error) {
		return runApart(in, driver())
	})}
}

// runApart runs a statement in the other process.
func runApart(in []byte, driver Driver) ([]byte, error) {
	var w apartWork
	if err := gob.NewDecoder(bytes.NewReader(in)).Decode(&w); err != nil {
		return nil, fmt.Errorf("read the statement: %w", err)
	}
	if err := os.Chdir(w.Dir); err != nil {
		return nil, errors.New("the folder of the database cannot be entered")
	}
	s, err := Open(Config{Name: w.Name, Driver: driver, DSN: w.DSN, Timeout: w.Timeout, Secrets: redact.New(w.Secrets...)})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	params := make([]any, len(w.Params))
	for i, p := range w.Params {
		params[i] = p.Value
	}
	t, err := s.execute(context.Background(), work{text: w.Text, params: params, limit: w.Limit, byModel: true})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = gob.NewEncoder(&out).Encode(apartTable{t.rows, t.cut})
	return out.Bytes(), err
}

// execute is Source.execute in another process. The table has no values.
func (a *Apart) execute(ctx context.Context, cfg Config, w work) (*table, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working folder: %w", err)
	}
	var in bytes.Buffer
	params := make([]apartParam, len(w.params))
	for i, p := range w.params {
		params[i].Value = p
	}
	if err := gob.NewEncoder(&in).Encode(apartWork{cfg.Name, cfg.DSN, cfg.Timeout, dir, w.text, params, w.limit, cfg.Secrets.Texts()}); err != nil {
		return nil, errors.New("the parameters cannot be read")
	}
	// The statement's own timeout comes first and gives a better error.
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout+time.Second)
	defer cancel()
	out, err := a.task.Do(ctx, in.Bytes())
	if stopped, ok := errors.AsType[*confine.StoppedError](err); ok {
		return nil, fmt.Errorf("the statement %w; ask for less", stopped)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("the statement took longer than %s and was stopped", cfg.Timeout)
	}
	if err != nil {
		return nil, err
	}
	var t apartTable
	if err := gob.NewDecoder(bytes.NewReader(out)).Decode(&t); err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	return &table{rows: t.Rows, cut: t.Cut}, nil
}
