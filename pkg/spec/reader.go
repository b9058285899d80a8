package spec

import (
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Node is a value in a YAML file.
type Node = ast.Node

// Reader reads other YAML files as strictly as a spec. It records every mistake with its file, line and field, and
// continues. Methods with a second result return false if the value is invalid. It is not safe for concurrent use.
type Reader struct{ d *document }

// Field is the reader of one known field of a mapping. Read is not called for null.
type Field struct {
	Name string
	Read func(field string, n Node)
}

// ReadFile reads a YAML file and calls read with its top node. It returns all mistakes at once, as [Errors].
func ReadFile(path string, read func(r *Reader, top Node)) error {
	data, err := readBounded(path, maxSpecBytes)
	if err != nil {
		return Errors{{File: path, Message: err.Error(), cause: err}}
	}
	d, top := parseYAML(path, data)
	if top != nil {
		read(&Reader{d}, top)
	}
	return d.errs.orNil()
}

// Fields calls the reader of each field of a mapping. Other fields are mistakes.
func (r *Reader) Fields(field string, n Node, fields ...Field) {
	readers := make([]fieldReader, len(fields))
	for i, f := range fields {
		readers[i] = fieldReader{f.Name, f.Read}
	}
	r.d.mapping(field, n, readers)
}

// Entries calls read for each entry of a mapping with arbitrary keys.
func (r *Reader) Entries(field string, n Node, read func(key, field string, n Node)) {
	if n = r.d.resolve(field, n); n == nil {
		return
	}
	entries, _ := r.d.entries(field, n)
	for _, e := range entries {
		if value := r.d.resolve(join(field, e.key), e.value); value != nil {
			read(e.key, join(field, e.key), value)
		}
	}
}

// List calls read for each item of a list.
func (r *Reader) List(field string, n Node, read func(field string, n Node)) {
	r.d.list(field, n, read)
}

// Text reads text. A bare number or truth value becomes its text as written.
func (r *Reader) Text(field string, n Node) (string, bool) { return r.d.text(field, n) }

// Bool reads true or false.
func (r *Reader) Bool(field string, n Node) (bool, bool) { return r.d.boolean(field, n) }

// Int reads a whole number from low to high.
func (r *Reader) Int(field string, n Node, low, high int64) (int, bool) {
	v, ok := r.d.integer(field, n, low, high)
	return int(v), ok
}

// Duration reads a time with its unit.
func (r *Reader) Duration(field string, n Node, low, high time.Duration) (time.Duration, bool) {
	return r.d.duration(field, n, low, high)
}

// JSON reads any value as compact JSON.
func (r *Reader) JSON(field string, n Node) ([]byte, bool) { return r.d.appendJSON(nil, field, n, 0) }

// IsList reports whether n is a list.
func (r *Reader) IsList(n Node) bool { _, ok := n.(*ast.SequenceNode); return ok }

// IsBool reports whether n is true or false.
func (r *Reader) IsBool(n Node) bool { _, ok := n.(*ast.BoolNode); return ok }

// Failf records a mistake at n.
func (r *Reader) Failf(n Node, field, format string, args ...any) {
	r.d.failf(n, field, format, args...)
}

// Line returns the line on which n begins, from 1.
func (r *Reader) Line(n Node) int { return lineOf(n) }

// Nearest returns the known name closest to name, or "" if known is empty.
func Nearest(name string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	return nearest(name, slices.Sorted(slices.Values(known)))
}

// Expand replaces ${NAME} in text by environment variables. A missing variable is a mistake at n.
func (r *Reader) Expand(field string, n Node, text string, lookup func(string) (string, bool)) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(text, func(v string) string {
		name := v[2 : len(v)-1]
		value, set := lookup(name)
		if !set {
			r.Failf(n, field, "the environment variable %s is not set", name)
			ok = false
		}
		return value
	})
	return out, ok
}

var variable = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)
