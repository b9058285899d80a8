package strictyaml

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

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
