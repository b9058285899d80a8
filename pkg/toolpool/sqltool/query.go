package sqltool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

// QueryTool returns the tool sql_query over all sources. sources must not be empty.
func QueryTool(sources []*Source) toolpool.Tool {
	var about strings.Builder
	names := make([]string, len(sources))
	byName := map[string]*Source{}
	for i, s := range sources {
		names[i] = s.cfg.Name
		byName[s.cfg.Name] = s
		fmt.Fprintf(&about, " %q is %s, parameters are written %s, %s", s.cfg.Name, s.cfg.Driver.Name, s.cfg.Driver.Placeholder(1), s.cfg.Driver.Placeholder(2))
		if s.cfg.Description != "" {
			fmt.Fprintf(&about, ": %s", s.cfg.Description)
		}
		about.WriteByte('.')
	}
	properties := map[string]any{
		"query":  map[string]any{"type": "string", "minLength": 1, "description": "one SELECT statement; values go into params, not into the text"},
		"params": map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "number", "boolean", "null"}}, "maxItems": 100, "description": "the statement's parameters, in order"},
	}
	required := []string{"query"}
	if len(sources) > 1 {
		properties["source"] = map[string]any{"type": "string", "enum": names, "description": "the database"}
		required = append(required, "source")
	}
	parameters, _ := json.Marshal(map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}) //nolint:errchkjson // strings only
	return toolpool.Tool{
		Name:        "sql_query",
		Description: "Read from a database with one SELECT statement. Rows come back as JSON objects." + about.String(),
		Parameters:  parameters,
		Version:     "1",
		MaxBytes:    2 * maxBytes,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a struct {
				Source string
				Query  string
				Params []any
			}
			dec := json.NewDecoder(bytes.NewReader(args))
			dec.UseNumber()
			if err := dec.Decode(&a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			s := sources[0]
			if len(sources) > 1 {
				s = byName[a.Source]
			}
			if s == nil {
				return "", errors.New("there is no such source")
			}
			return s.query(ctx, a.Query, a.Params)
		},
	}
}

func (s *Source) query(ctx context.Context, statement string, params []any) (string, error) {
	statement, err := readStatement(statement)
	if err != nil {
		return "", err
	}
	if err := s.checkPowers(ctx); err != nil {
		return "", err
	}
	values := make([]any, len(params))
	for i, p := range params {
		values[i] = s.cfg.Driver.Value(p)
	}
	t, err := s.execute(ctx, work{text: statement, params: values, limit: s.cfg.MaxRows, byModel: true})
	if err != nil {
		return "", err
	}
	return show(t.rows, t.cut), nil
}
