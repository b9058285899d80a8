package spec

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/jsonschema"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// schemaInstruction precedes the schema if no prompt contains it.
const schemaInstruction = "Answer with one JSON value that matches this JSON Schema, and with nothing else:\n"

// schemaText is a schema with its source text.
type schemaText struct {
	doc  *strictyaml.Reader
	root ast.Node
	errs *Errors // of the spec; mistakes in the schema are added
}

// outputSchema reads a schema that is inline, in {file: path}, or at a path. It returns compact JSON with the keys in
// their original order, because servers that constrain an answer to a schema write the fields in that order.
func (l *loader) outputSchema(field string, n ast.Node) json.RawMessage {
	file := ""
	switch v := n.(type) {
	case *ast.StringNode:
		file = v.Value
	case ast.MapNode:
		if !slices.ContainsFunc(keysOf(v), func(key string) bool { return key == fileField }) {
			l.schema = schemaText{l.Reader, n, &l.Errs}
			return l.compileSchema(field)
		}
		var ok bool
		if file, ok = l.fileOnly(field, n); !ok {
			return nil
		}
	}
	switch filepath.Ext(file) {
	case extJSON, extYAML, extYML:
	default:
		l.Failf(n, field, "must be a JSON Schema, or the path of a .json file that holds one, not %s", strictyaml.KindOf(n))
		return nil
	}
	data, ok := l.readFile(field, n, file)
	if !ok {
		return nil
	}
	if filepath.Ext(file) == extJSON {
		if err := checkJSON(data); err != nil {
			l.Failf(n, field, "%s is %v", l.shown(file), err)
			return nil
		}
	}
	doc, root := strictyaml.Parse(l.shown(file), data, meanings)
	if root == nil {
		l.Errs = append(l.Errs, doc.Errs...)
		return nil
	}
	l.schema = schemaText{doc, root, &l.Errs}
	schema := l.compileSchema(field)
	if doc != l.Reader {
		l.Errs = append(l.Errs, doc.Errs...)
	}
	return schema
}

func keysOf(m ast.MapNode) []string {
	var keys []string
	for it := m.MapRange(); it.Next(); {
		keys = append(keys, strictyaml.KeyOf(it.Key()))
	}
	return keys
}

// compileSchema checks the schema and returns its JSON form. It returns nil, and records the mistakes in the schema's
// document, if the schema is invalid.
func (l *loader) compileSchema(field string) json.RawMessage {
	compact, ok := l.schema.doc.JSON(field, l.schema.root)
	if !ok {
		return nil
	}
	report, err := jsonschema.Lint(compact)
	if err != nil {
		l.schema.fail(field, nil, err.Error())
		return nil
	}
	for _, p := range report.Problems {
		l.schema.fail(field, p.At, p.Message)
	}
	for _, p := range report.Hints {
		l.spec.Hints = append(l.spec.Hints, l.schema.mistake(field, p.At, p.Message).Error())
	}
	return report.Schema
}

// fail records a mistake at a place in the schema.
func (s schemaText) fail(field string, at []string, msg string) {
	*s.errs = append(*s.errs, s.mistake(field, at, msg))
}

func (s schemaText) mistake(field string, at []string, msg string) *FieldError {
	if len(at) > 0 {
		msg = fmt.Sprintf("at %s: %s", pointer(at), msg)
	}
	return s.doc.Mistakef(s.line(at), field, "%s", msg)
}

// line returns the line of a place in the schema, or the line of its innermost parent with a known line.
func (s schemaText) line(at []string) int {
	n := s.doc.Resolve("", s.root)
	line := strictyaml.LineOf(n)
	for _, token := range at {
		var next ast.Node
		switch v := n.(type) {
		case *ast.SequenceNode:
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(v.Values) {
				next = v.Values[i]
				line = strictyaml.LineOf(next)
			}
		case ast.MapNode:
			for it := v.MapRange(); it.Next(); {
				if strictyaml.KeyOf(it.Key()) == token {
					next = it.Value()
					line = strictyaml.LineOf(it.Key())
				}
			}
		}
		if next == nil {
			return line
		}
		if n = s.doc.Resolve("", next); n == nil {
			return line
		}
	}
	return line
}

// pointer returns a path as a JSON pointer.
func pointer(at []string) string {
	var b strings.Builder
	for _, token := range at {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// squeeze drops all white space, so that a schema is found in any layout.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}
