package spec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// document is a YAML file while it is being read. Its methods take a field's path and node. They return the value and
// whether it is valid. They record every mistake and continue.
type document struct {
	file    string
	anchors map[string]ast.Node
	visits  int
	merging int // depth of merge keys being expanded
	errs    Errors
}

const (
	// maxNesting limits open brackets and braces; the YAML parser's time grows with the square of their number.
	maxNesting = 10_000
	// maxDepth limits nested values in inline inputs and schemas. It also ends aliases that contain themselves.
	maxDepth = 200
	// maxFieldPath limits a field's path in a message, in bytes.
	maxFieldPath = 100
	// maxMerges limits the depth of merge keys within merge keys.
	maxMerges = 20
	// maxNodes limits the nodes of a file after its aliases are expanded.
	maxNodes = 2_000_000
)

// parseYAML returns the top node of a file. It returns nil, and the reason in d.errs, if the file is invalid. JSON is
// also YAML.
func parseYAML(file string, data []byte) (*document, ast.Node) {
	d := &document{file: file, anchors: map[string]ast.Node{}}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if line := tooNested(data); line > 0 {
		d.failAtf(line, "", "brackets are nested more than %d deep", maxNesting)
		return d, nil
	}
	if line := tooManyKeys(data); line > 0 {
		d.failAtf(line, "", "one mapping has more than %d keys; at most %d are allowed, also in a schema", maxKeys, maxKeys)
		return d, nil
	}
	if line := tooManyDocuments(data); line > 0 {
		d.failAtf(line, "", "the file holds more than %d YAML documents; a spec is one", maxDocuments)
		return d, nil
	}
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		line := syntax.Token.Position.Line
		d.failAtf(line, "", "not valid YAML: %s%s", syntax.Message, quoteAdvice(data, line))
		return d, nil
	}
	if err != nil {
		d.failAtf(1, "", "not valid YAML: %v", err)
		return d, nil
	}
	if len(tree.Docs) > 1 {
		d.failAtf(2, "", "the file holds %d YAML documents; a spec is one", len(tree.Docs))
		return d, nil
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		d.failAtf(1, "", "the file is empty")
		return d, nil
	}
	found := anchorFinder{d.anchors, map[string]bool{}}
	ast.Walk(found, tree.Docs[0].Body)
	for name, value := range d.anchors {
		if text, ok := value.(*ast.StringNode); ok && !found.used[name] {
			d.failf(text, "", "&%s is an anchor of YAML that no * refers to; put text that begins with & in quotes", name)
		}
	}
	return d, tree.Docs[0].Body
}

// anchorFinder collects the values of anchors by name, and the names that aliases use.
type anchorFinder struct {
	values map[string]ast.Node
	used   map[string]bool
}

func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AnchorNode:
		if n.Name != nil {
			f.values[n.Name.GetToken().Value] = n.Value
		}
	case *ast.AliasNode:
		if n.Value != nil {
			f.used[n.Value.GetToken().Value] = true
		}
	}
	return f
}

// tooNested returns the line on which more than maxNesting brackets are open, or 0. Brackets in text also count: no
// prompt leaves so many open.
func tooNested(data []byte) int {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			if depth++; depth > maxNesting {
				return tooNestedTokens(data)
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	return 0
}

// tooNestedTokens is tooNested by tokens: brackets in strings do not count. It does not recurse, and is slower than
// tooNested.
func tooNestedTokens(data []byte) int {
	depth := 0
	for _, t := range lexer.Tokenize(string(data)) {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if depth++; depth > maxNesting {
				return t.Position.Line
			}
		case token.SequenceEndType, token.MappingEndType:
			depth = max(0, depth-1)
		}
	}
	return 0
}

func (d *document) failf(n ast.Node, field, format string, args ...any) {
	d.failAtf(lineOf(n), field, format, args...)
}

func (d *document) failAtf(line int, field, format string, args ...any) {
	d.errs = append(d.errs, d.mistakef(line, field, format, args...))
}

func (d *document) mistakef(line int, field, format string, args ...any) *FieldError {
	if len(field) > maxFieldPath {
		field = strings.ToValidUTF8(field[:maxFieldPath], "") + "…"
	}
	return &FieldError{File: d.file, Line: line, Field: field, Message: fmt.Sprintf(format, args...)}
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

// resolve follows anchors and aliases. It returns nil after it recorded a mistake.
func (d *document) resolve(field string, n ast.Node) ast.Node {
	for range maxDepth {
		if d.visits++; d.visits > maxNodes {
			if d.visits == maxNodes+1 {
				d.failf(n, field, "the file has more than %d values, with aliases expanded", maxNodes)
			}
			return nil
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			target, ok := d.anchors[v.Value.GetToken().Value]
			if !ok {
				d.failf(v, field, "there is no anchor &%s", v.Value.GetToken().Value)
				return nil
			}
			n = target
		case *ast.TagNode:
			d.failf(v, field, "YAML tags such as %s are not supported; put text that begins with ! in quotes", v.Start.Value)
			return nil
		case nil:
			return nil
		default:
			return n
		}
	}
	d.failf(n, field, "the aliases form a cycle")
	return nil
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	node  ast.Node // the key
	value ast.Node
}

// entries returns the keys of a mapping in order. Duplicate keys are mistakes. Merge keys (<<) are expanded; explicit
// keys win over merged ones.
func (d *document) entries(field string, n ast.Node) ([]entry, bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.failf(n, field, "must be a mapping, not %s", kindOf(n))
		return nil, false
	}
	var out, merged []entry
	at := map[string]int{} // positions in out
	for it := m.MapRange(); it.Next(); {
		if it.Key().IsMergeKey() {
			from := d.resolve(field, it.Value())
			if from == nil {
				return nil, false
			}
			if d.merging++; d.merging > maxMerges {
				d.failf(it.Key(), field, "merge keys are nested more than %d deep", maxMerges)
				return nil, false
			}
			more, ok := d.entries(field, from)
			d.merging--
			if !ok {
				return nil, false
			}
			merged = append(merged, more...)
			continue
		}
		e := entry{key: keyOf(it.Key()), node: it.Key(), value: it.Value()}
		if i, twice := at[e.key]; twice {
			d.failf(e.node, join(field, e.key), "is given twice, first on line %d", lineOf(out[i].node))
			continue
		}
		at[e.key] = len(out)
		out = append(out, e)
	}
	for _, e := range merged {
		if _, written := at[e.key]; !written {
			at[e.key] = len(out)
			out = append(out, e)
		}
	}
	return out, true
}

func keyOf(n ast.MapKeyNode) string {
	var inner ast.Node = n
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

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// fieldReader reads one known field of a mapping.
type fieldReader struct {
	name string
	read func(field string, n ast.Node)
}

// mapping calls the reader of each key of a mapping. A key without a reader is a mistake. A null counts as missing.
func (d *document) mapping(field string, n ast.Node, readers []fieldReader) {
	if n = d.resolve(field, n); n == nil {
		return
	}
	entries, ok := d.entries(field, n)
	if !ok {
		return
	}
	for _, e := range entries {
		i := slices.IndexFunc(readers, func(r fieldReader) bool { return r.name == e.key })
		if i < 0 {
			known := make([]string, len(readers))
			for i, r := range readers {
				known[i] = r.name
			}
			d.failf(e.node, join(field, e.key), "%s", unknown(field, e.key, known))
			continue
		}
		value := d.resolve(join(field, e.key), e.value)
		if _, null := value.(*ast.NullNode); null || value == nil {
			continue
		}
		readers[i].read(join(field, e.key), value)
	}
}

// list calls read for each item of a list.
func (d *document) list(field string, n ast.Node, read func(field string, n ast.Node)) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.failf(n, field, "must be a list, not %s", kindOf(n))
		return
	}
	for i, item := range seq.Values {
		field := fmt.Sprintf("%s[%d]", field, i)
		if item = d.resolve(field, item); item != nil {
			read(field, item)
		}
	}
}

// text reads text. A bare number or truth value becomes its text as written.
func (d *document) text(field string, n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	d.failf(n, field, "must be text, not %s%s", kindOf(n), notText(n))
	return "", false
}

func (d *document) boolean(field string, n ast.Node) (bool, bool) {
	if v, ok := n.(*ast.BoolNode); ok {
		return v.Value, true
	}
	d.failf(n, field, "must be true or false, not %s", kindOf(n))
	return false, false
}

func (d *document) integer(field string, n ast.Node, low, high int64) (int64, bool) {
	text, ok := numberOf(n)
	if !ok {
		d.failf(n, field, "must be a whole number, not %s", kindOf(n))
		return 0, false
	}
	v, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && v < low:
		d.failf(n, field, "must be at least %d", low)
	case err != nil || v > high:
		d.failf(n, field, "must be a whole number of at most %d", high)
	default:
		return v, true
	}
	return 0, false
}

func (d *document) number(field string, n ast.Node, low, high float64) (float64, bool) {
	text, ok := numberOf(n)
	if !ok {
		d.failf(n, field, "must be a number, not %s", kindOf(n))
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < low || v > high {
		d.failf(n, field, "must be from %g to %g", low, high)
		return 0, false
	}
	return v, true
}

func (d *document) duration(field string, n ast.Node, low, high time.Duration) (time.Duration, bool) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		d.failf(n, field, `must be a time with its unit, such as "90s", not %s`, kindOf(n))
		return 0, false
	}
	v, err := time.ParseDuration(s.Value)
	switch {
	case err != nil:
		d.failf(n, field, `must be a time such as "90s", "10m" or "24h", not %q`, s.Value)
	case v < low || v > high:
		d.failf(n, field, "must be from %s to %s", low, high)
	default:
		return v, true
	}
	return 0, false
}

// appendJSON writes n as compact JSON, with keys in order and numbers as written. See numberOf for the forms of numbers.
func (d *document) appendJSON(b []byte, field string, n ast.Node, depth int) ([]byte, bool) {
	if n = d.resolve(field, n); n == nil {
		return b, false
	}
	if depth > maxDepth {
		d.failf(n, field, "is nested more than %d deep", maxDepth)
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
			b, sound = d.appendJSON(b, fmt.Sprintf("%s[%d]", field, i), item, depth+1)
			ok = ok && sound
		}
		return append(b, ']'), ok
	case ast.MapNode:
		entries, ok := d.entries(field, n)
		b = append(b, '{')
		for i, e := range entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(plainjson.AppendString(b, e.key), ':')
			var sound bool
			b, sound = d.appendJSON(b, join(field, e.key), e.value, depth+1)
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
	d.failf(n, field, "%s cannot be written as JSON", kindOf(n))
	return b, false
}

func kindOf(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return strconv.Quote(shorten(v.Value))
	case *ast.LiteralNode:
		return strconv.Quote(shorten(v.Value.Value))
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

// shorten cuts text that a message quotes.
func shorten(s string) string {
	const limit = 40
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}
