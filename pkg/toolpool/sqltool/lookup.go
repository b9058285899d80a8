package sqltool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	defaultWindow = 5 * time.Millisecond
	maxKeys       = 512 // in one statement
)

// Lookup is a tool that finds rows by one key. Calls that arrive within Window share one statement.
type Lookup struct {
	Name        string
	Description string
	Key         string        // the tool's argument, and the column of the result that assigns a row to its key
	Query       string        // with one placeholder in an IN list: SELECT id, state FROM orders WHERE id IN ({ids})
	Window      time.Duration // defaults to 5 ms
}

var keyPlaceholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// lookup collects keys into batches.
type lookup struct {
	Lookup
	source        *Source
	before, after string // of the placeholder

	mu   sync.Mutex
	next *gathering // guarded by mu; nil without a batch that accepts keys
}

// gathering is one batch of keys: it first accepts keys and then runs one statement.
type gathering struct {
	ctx     context.Context
	cancel  context.CancelFunc
	full    chan struct{} // closed when it accepts no more keys
	done    chan struct{} // closed once answers are set
	keys    []any
	index   map[string]int // of a key in keys
	answers []answer       // by index
	waiters int            // guarded by lookup.mu
}

type answer struct {
	rows [][]byte
	cut  bool
	err  error
}

// Check returns an error if the lookup's query is invalid.
func (l Lookup) Check() error {
	if n := len(keyPlaceholder.FindAllString(l.Query, -1)); n != 1 {
		return fmt.Errorf("lookup %s: the query must hold exactly one placeholder, as in \"WHERE id IN ({ids})\", not %d", l.Name, n)
	}
	if _, err := readStatement(l.Query); err != nil {
		return fmt.Errorf("lookup %s: %w", l.Name, err)
	}
	return nil
}

func newLookup(s *Source, l Lookup) (*lookup, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	places := keyPlaceholder.FindAllStringIndex(l.Query, -1)
	if l.Window <= 0 {
		l.Window = defaultWindow
	}
	return &lookup{Lookup: l, source: s, before: l.Query[:places[0][0]], after: l.Query[places[0][1]:]}, nil
}

func (l *lookup) tool() toolpool.Tool {
	parameters, _ := json.Marshal(map[string]any{ //nolint:errchkjson // strings only
		"type":       "object",
		"properties": map[string]any{l.Key: map[string]any{"type": []string{"string", "integer"}, "description": "the key to look up"}},
		"required":   []string{l.Key}, "additionalProperties": false,
	})
	return toolpool.Tool{
		Name:        l.Name,
		Description: l.Description + " Rows come back as JSON objects; an empty list means that there is none.",
		Parameters:  parameters,
		Version:     "1 " + l.Query,
		MaxBytes:    2 * maxBytes,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a map[string]any
			dec := json.NewDecoder(bytes.NewReader(args))
			dec.UseNumber()
			if err := dec.Decode(&a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			return l.ask(ctx, a[l.Key])
		},
	}
}

// ask adds a key to the current batch and waits for its rows.
func (l *lookup) ask(ctx context.Context, key any) (string, error) {
	text := fmt.Sprint(key)
	l.mu.Lock()
	g := l.next
	if g == nil {
		g = l.gather()
	}
	i, asked := g.index[text]
	if !asked {
		i = len(g.keys)
		g.index[text] = i
		g.keys = append(g.keys, key)
	}
	g.waiters++
	if len(g.keys) == maxKeys {
		l.next = nil
		close(g.full)
	}
	l.mu.Unlock()

	select {
	case <-g.done:
		a := g.answers[i]
		if a.err != nil {
			return "", a.err
		}
		return show(a.rows, a.cut), nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if g.waiters--; g.waiters == 0 {
			if l.next == g {
				l.next = nil
			}
			g.cancel()
		}
		return "", ctx.Err()
	}
}

// gather opens a batch, which belongs to no caller. The caller of gather holds mu.
func (l *lookup) gather() *gathering {
	ctx, cancel := context.WithCancel(context.Background())
	g := &gathering{ctx: ctx, cancel: cancel, full: make(chan struct{}), done: make(chan struct{}), index: map[string]int{}}
	l.next = g
	l.source.running.Go(func() {
		defer cancel()
		window := time.NewTimer(l.Window)
		defer window.Stop()
		select {
		case <-window.C:
		case <-g.full:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if l.next == g {
			l.next = nil
		}
		l.mu.Unlock()
		g.answers = l.answer(ctx, g.keys)
		close(g.done)
	})
	return g
}

// answer finds the rows of all keys. If the statement for all keys fails, or one of its rows matches no key, answer
// queries the keys without rows one by one. So one caller's bad key fails only that caller, and the database decides
// which keys are equal.
func (l *lookup) answer(ctx context.Context, keys []any) []answer {
	answers := make([]answer, len(keys))
	if len(keys) > 1 {
		missed, err := l.together(ctx, keys, answers)
		switch _, objected := errors.AsType[*statementError](err); {
		case err == nil && !missed:
			return answers
		case err != nil && !objected:
			for i := range answers {
				answers[i].err = err
			}
			return answers
		}
	}
	for i, key := range keys {
		if len(answers[i].rows) > 0 {
			continue
		}
		d := l.source.cfg.Driver
		t, err := l.source.execute(ctx, work{text: l.before + d.Placeholder(1) + l.after, params: []any{d.Value(key)}, limit: l.source.cfg.MaxRows})
		if err != nil {
			answers[i] = answer{err: err}
			continue
		}
		answers[i] = answer{rows: t.rows, cut: t.cut}
	}
	return answers
}

// together queries all keys in one statement. missed reports that a row matched no key, or that rows were cut.
func (l *lookup) together(ctx context.Context, keys []any, answers []answer) (missed bool, err error) {
	limit := l.source.cfg.MaxRows
	statement, params := l.statement(keys)
	t, err := l.source.execute(ctx, work{text: statement, params: params, limit: limit * len(keys)})
	if err != nil {
		return false, err
	}
	column := -1
	for i, c := range t.columns {
		if strings.EqualFold(c, l.Key) {
			column = i
		}
	}
	if column < 0 {
		return false, fmt.Errorf("the lookup %s selects no column %q, so rows cannot be assigned; the operator of the worker must fix it", l.Name, l.Key)
	}
	index := map[string]int{}
	for i, k := range keys {
		index[fmt.Sprint(k)] = i
	}
	for n, row := range t.rows {
		i, ok := index[keyText(t.values[n][column])]
		switch {
		case !ok:
			missed = true
		case len(answers[i].rows) == limit:
			answers[i].cut = true
		default:
			answers[i].rows = append(answers[i].rows, row)
		}
	}
	if t.cut { // some callers' rows may be missing
		clear(answers)
	}
	return missed || t.cut, nil
}

// statement fills the IN list. It pads lists to a power of two with the last key, so that a database prepares few
// different statements.
func (l *lookup) statement(keys []any) (string, []any) {
	n := 1
	for n < len(keys) {
		n *= 2
	}
	places, params := make([]string, n), make([]any, n)
	for i := range n {
		places[i] = l.source.cfg.Driver.Placeholder(i + 1)
		params[i] = l.source.cfg.Driver.Value(keys[min(i, len(keys)-1)])
	}
	return l.before + strings.Join(places, ", ") + l.after, params
}

func keyText(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}
