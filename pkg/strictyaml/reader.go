package strictyaml

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
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
	Errs Errors // all mistakes that were found so far

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
