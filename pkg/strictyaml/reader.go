package strictyaml

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

const (
	// maxDepth limits nested values. It also ends aliases that contain themselves.
	maxDepth = 200
	// maxFieldPath limits a field's path in a message, in bytes.
	maxFieldPath = 100
	// maxMerges limits the depth of merge keys within merge keys.
	maxMerges = 20
	// maxNodes limits the nodes of a file after its aliases are expanded.
	maxNodes = 2_000_000
)

// Node is a value in a YAML file.
type Node = ast.Node

// Reader reads the values of one YAML file. Its methods take a field's path and node. They record every mistake with its
// file, line and field, and continue. Methods with a second result return false if the value is invalid. It is not safe
// for concurrent use.
type Reader struct {
	File string // as the user named it
	Errs Errors // the mistakes so far, in the order in which they were found

	names   Names
	anchors map[string]Node
	visits  int
	merging int // depth of merge keys being expanded
}

// New returns the reader of a file that has no text, for nodes that were made by a program.
func New(file string, names Names) *Reader {
	return &Reader{File: file, names: names, anchors: map[string]Node{}}
}

// Failf records a mistake at n.
func (r *Reader) Failf(n Node, field, format string, args ...any) {
	r.failAtf(LineOf(n), field, format, args...)
}

func (r *Reader) failAtf(line int, field, format string, args ...any) {
	r.Errs = append(r.Errs, r.Mistakef(line, field, format, args...))
}

// Mistakef returns a mistake without recording it.
func (r *Reader) Mistakef(line int, field, format string, args ...any) *FieldError {
	if len(field) > maxFieldPath {
		field = strings.ToValidUTF8(field[:maxFieldPath], "") + "…"
	}
	return &FieldError{File: r.File, Line: line, Field: field, Message: fmt.Sprintf(format, args...)}
}

// LineOf returns the line on which n begins, from 1.
func LineOf(n Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

// Resolve follows anchors and aliases. It returns nil after it recorded a mistake.
func (r *Reader) Resolve(field string, n Node) Node {
	for range maxDepth {
		if r.visits++; r.visits > maxNodes {
			if r.visits == maxNodes+1 {
				r.Failf(n, field, "the file has more than %d values, with aliases expanded", maxNodes)
			}
			return nil
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			target, ok := r.anchors[v.Value.GetToken().Value]
			if !ok {
				r.Failf(v, field, "there is no anchor &%s", v.Value.GetToken().Value)
				return nil
			}
			n = target
		case *ast.TagNode:
			r.Failf(v, field, "YAML tags such as %s are not supported; put text that begins with ! in quotes", v.Start.Value)
			return nil
		case nil:
			return nil
		default:
			return n
		}
	}
	r.Failf(n, field, "the aliases form a cycle")
	return nil
}

// Entry is one key of a mapping with its value.
type Entry struct {
	Key   string
	Node  Node // the key
	Value Node
}

// Members returns the keys of a mapping in order. Duplicate keys are mistakes. Merge keys (<<) are expanded; explicit
// keys win over merged ones.
func (r *Reader) Members(field string, n Node) ([]Entry, bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		r.Failf(n, field, "must be a mapping, not %s", KindOf(n))
		return nil, false
	}
	var out, merged []Entry
	at := map[string]int{} // positions in out
	for it := m.MapRange(); it.Next(); {
		if it.Key().IsMergeKey() {
			from := r.Resolve(field, it.Value())
			if from == nil {
				return nil, false
			}
			if r.merging++; r.merging > maxMerges {
				r.Failf(it.Key(), field, "merge keys are nested more than %d deep", maxMerges)
				return nil, false
			}
			more, ok := r.Members(field, from)
			r.merging--
			if !ok {
				return nil, false
			}
			merged = append(merged, more...)
			continue
		}
		e := Entry{Key: KeyOf(it.Key()), Node: it.Key(), Value: it.Value()}
		if i, twice := at[e.Key]; twice {
			r.Failf(e.Node, Join(field, e.Key), "is given twice, first on line %d", LineOf(out[i].Node))
			continue
		}
		at[e.Key] = len(out)
		out = append(out, e)
	}
	for _, e := range merged {
		if _, written := at[e.Key]; !written {
			at[e.Key] = len(out)
			out = append(out, e)
		}
	}
	return out, true
}

// KeyOf returns the text of a key.
func KeyOf(n ast.MapKeyNode) string {
	var inner Node = n
	if m, ok := inner.(*ast.MappingKeyNode); ok {
		inner = m.Value
	}
	if s, ok := inner.(*ast.StringNode); ok {
		return s.Value
	}
	if inner == nil {
		return ""
	}
	return inner.GetToken().Value
}

// Join returns the path of a key in the field.
func Join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// Field is the reader of one known field of a mapping. Read is not called for null.
type Field struct {
	Name string
	Read func(field string, n Node)
}

// Fields calls the reader of each key of a mapping. A key without a reader is a mistake. A null counts as missing.
func (r *Reader) Fields(field string, n Node, fields ...Field) {
	if n = r.Resolve(field, n); n == nil {
		return
	}
	entries, ok := r.Members(field, n)
	if !ok {
		return
	}
	for _, e := range entries {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == e.Key })
		if i < 0 {
			known := make([]string, len(fields))
			for i, f := range fields {
				known[i] = f.Name
			}
			r.Failf(e.Node, Join(field, e.Key), "%s", r.names.unknown(field, e.Key, known))
			continue
		}
		value := r.Resolve(Join(field, e.Key), e.Value)
		if _, null := value.(*ast.NullNode); null || value == nil {
			continue
		}
		fields[i].Read(Join(field, e.Key), value)
	}
}

// Entries calls read for each entry of a mapping with arbitrary keys.
func (r *Reader) Entries(field string, n Node, read func(key, field string, n Node)) {
	if n = r.Resolve(field, n); n == nil {
		return
	}
	entries, _ := r.Members(field, n)
	for _, e := range entries {
		if value := r.Resolve(Join(field, e.Key), e.Value); value != nil {
			read(e.Key, Join(field, e.Key), value)
		}
	}
}

// List calls read for each item of a list.
func (r *Reader) List(field string, n Node, read func(field string, n Node)) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.Failf(n, field, "must be a list, not %s", KindOf(n))
		return
	}
	for i, item := range seq.Values {
		field := fmt.Sprintf("%s[%d]", field, i)
		if item = r.Resolve(field, item); item != nil {
			read(field, item)
		}
	}
}

// Text reads text. A bare number or truth value becomes its text as written.
func (r *Reader) Text(field string, n Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	r.Failf(n, field, "must be text, not %s%s", KindOf(n), NotText(n))
	return "", false
}

// Bool reads true or false.
func (r *Reader) Bool(field string, n Node) (bool, bool) {
	if v, ok := n.(*ast.BoolNode); ok {
		return v.Value, true
	}
	r.Failf(n, field, "must be true or false, not %s", KindOf(n))
	return false, false
}

// Int reads a whole number from low to high.
func (r *Reader) Int(field string, n Node, low, high int64) (int64, bool) {
	text, ok := numberOf(n)
	if !ok {
		r.Failf(n, field, "must be a whole number, not %s", KindOf(n))
		return 0, false
	}
	v, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && v < low:
		r.Failf(n, field, "must be at least %d", low)
	case err != nil || v > high:
		r.Failf(n, field, "must be a whole number of at most %d", high)
	default:
		return v, true
	}
	return 0, false
}

// Number reads a number from low to high.
func (r *Reader) Number(field string, n Node, low, high float64) (float64, bool) {
	text, ok := numberOf(n)
	if !ok {
		r.Failf(n, field, "must be a number, not %s", KindOf(n))
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < low || v > high {
		r.Failf(n, field, "must be from %g to %g", low, high)
		return 0, false
	}
	return v, true
}

// Duration reads a time with its unit, from low to high.
func (r *Reader) Duration(field string, n Node, low, high time.Duration) (time.Duration, bool) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		r.Failf(n, field, `must be a time with its unit, such as "90s", not %s`, KindOf(n))
		return 0, false
	}
	v, err := time.ParseDuration(s.Value)
	switch {
	case err != nil:
		r.Failf(n, field, `must be a time such as "90s", "10m" or "24h", not %q`, s.Value)
	case v < low || v > high:
		r.Failf(n, field, "must be from %s to %s", low, high)
	default:
		return v, true
	}
	return 0, false
}

// JSON reads any value as compact JSON, with keys in order and numbers as written.
func (r *Reader) JSON(field string, n Node) ([]byte, bool) { return r.appendJSON(nil, field, n, 0) }

// appendJSON writes n as compact JSON, with keys in order and numbers as written. See numberOf for the forms of numbers.
func (r *Reader) appendJSON(b []byte, field string, n Node, depth int) ([]byte, bool) {
	if n = r.Resolve(field, n); n == nil {
		return b, false
	}
	if depth > maxDepth {
		r.Failf(n, field, "is nested more than %d deep", maxDepth)
		return b, false
	}
	ok := true
	switch v := n.(type) {
	case *ast.SequenceNode:
		b = append(b, '[')
		for i, item := range v.Values {
			if i > 0 {
				b = append(b, ',')
			}
			var sound bool
			b, sound = r.appendJSON(b, fmt.Sprintf("%s[%d]", field, i), item, depth+1)
			ok = ok && sound
		}
		return append(b, ']'), ok
	case ast.MapNode:
		entries, ok := r.Members(field, n)
		b = append(b, '{')
		for i, e := range entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(plainjson.AppendString(b, e.Key), ':')
			var sound bool
			b, sound = r.appendJSON(b, Join(field, e.Key), e.Value, depth+1)
			ok = ok && sound
		}
		return append(b, '}'), ok
	case *ast.NullNode:
		return append(b, "null"...), true
	case *ast.BoolNode:
		return strconv.AppendBool(b, v.Value), true
	case *ast.LiteralNode:
		return plainjson.AppendString(b, v.Value.Value), true
	}
	if number, ok := numberOf(n); ok {
		return append(b, number...), true
	}
	switch v := n.(type) {
	case *ast.StringNode:
		return plainjson.AppendString(b, v.Value), true
	case *ast.IntegerNode, *ast.FloatNode:
		return plainjson.AppendString(b, n.GetToken().Value), true
	}
	r.Failf(n, field, "%s cannot be written as JSON", KindOf(n))
	return b, false
}

// KindOf names a value in a message: its text, or its kind.
func KindOf(n Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return strconv.Quote(Shorten(v.Value))
	case *ast.LiteralNode:
		return strconv.Quote(Shorten(v.Value.Value))
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	case *ast.NullNode:
		return "nothing"
	default:
		return "this kind of value"
	}
}

// Shorten cuts text that a message quotes.
func Shorten(s string) string {
	const limit = 40
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

// IsList reports whether n is a list.
func (r *Reader) IsList(n Node) bool { _, ok := n.(*ast.SequenceNode); return ok }

// IsBool reports whether n is true or false.
func (r *Reader) IsBool(n Node) bool { _, ok := n.(*ast.BoolNode); return ok }

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
