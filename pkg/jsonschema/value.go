package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// kind is the type of a JSON value, as a bit.
type kind uint8

const (
	null kind = 1 << iota
	boolean
	number
	text
	array
	object
	integer // only in types that a schema names

	anything = null | boolean | number | text | array | object
)

var kindNames = []struct {
	kind kind
	name string
}{{null, "null"}, {boolean, "boolean"}, {number, "number"}, {integer, "integer"}, {text, "string"}, {array, "array"}, {object, "object"}}

func (k kind) String() string {
	var names []string
	for _, n := range kindNames {
		if k&n.kind != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, " or ")
}

// value is a JSON value. The members of a checked object are sorted by name; those of a schema keep the order of the text.
type value struct {
	kind  kind
	yes   bool
	text  string   // of a string, or of a number as written
	names []string // of an object's members
	elems []*value // of an array, or an object's members
	id    uint32   // unique within the checked value
}

// member returns the value of the member with this name, or nil.
func (v *value) member(name string) *value {
	for i, n := range v.names {
		if n == name {
			return v.elems[i]
		}
	}
	return nil
}

// find returns the index of a member in an object with sorted members.
func (v *value) find(name string) (int, bool) {
	if len(v.names) > 8 {
		return slices.BinarySearch(v.names, name)
	}
	i := slices.Index(v.names, name)
	return i, i >= 0
}

// builder converts the output of encoding/json into values.
type builder struct {
	next   uint32
	budget *budget
}

func (b *builder) build(v any, depth int) *value {
	if !b.budget.spend(1) {
		return nil
	}
	if depth > maxFrames {
		b.budget.err = &LimitError{"the value has too many levels", maxFrames}
		return nil
	}
	out := &value{id: b.next}
	b.next++
	switch v := v.(type) {
	case nil:
		out.kind = null
	case bool:
		out.kind, out.yes = boolean, v
	case string:
		out.kind, out.text = text, v
	case json.Number:
		out.kind, out.text = number, string(v)
	case float64:
		out.kind, out.text = number, strconv.FormatFloat(v, 'g', -1, 64)
	case int:
		out.kind, out.text = number, strconv.Itoa(v)
	case []any:
		out.kind, out.elems = array, make([]*value, len(v))
		for i, e := range v {
			out.elems[i] = b.build(e, depth+1)
		}
	case map[string]any:
		out.kind, out.names, out.elems = object, make([]string, 0, len(v)), make([]*value, len(v))
		for name := range v {
			out.names = append(out.names, name)
		}
		sort.Strings(out.names)
		for i, name := range out.names {
			out.elems[i] = b.build(v[name], depth+1)
		}
	default:
		b.budget.err = fmt.Errorf("%T is no JSON value", v)
	}
	return out
}

// parse reads the text of a schema and keeps the order of members. A text beyond a limit is a [*LimitError].
func parse(data []byte) (*value, error) {
	if len(data) > MaxBytes {
		return nil, &LimitError{fmt.Sprintf("the schema has %d bytes", len(data)), MaxBytes}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the schema is not valid JSON: the text ends too early")
	}
	if IsLimit(err) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("the schema is not valid JSON: %w", err)
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("the schema is not valid JSON: more text after the value, at byte %d", dec.InputOffset())
	}
	return v, nil
}

func parseValue(dec *json.Decoder, depth int) (*value, error) {
	if depth > MaxDepth {
		return nil, &LimitError{"the schema has too many nested levels", MaxDepth}
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case bool:
		return &value{kind: boolean, yes: t}, nil
	case string:
		return &value{kind: text, text: t}, nil
	case json.Number:
		return &value{kind: number, text: string(t)}, checkNumber(string(t))
	case json.Delim:
		if t == '[' {
			return parseArray(dec, depth)
		}
		return parseObject(dec, depth)
	}
	return &value{kind: null}, nil
}

func parseArray(dec *json.Decoder, depth int) (*value, error) {
	out := &value{kind: array}
	for dec.More() {
		e, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		out.elems = append(out.elems, e)
	}
	_, err := dec.Token()
	return out, err
}

func parseObject(dec *json.Decoder, depth int) (*value, error) {
	out := &value{kind: object}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("the name of a member is not a string")
		}
		if seen[name] {
			return nil, fmt.Errorf("%.80q is given twice in one object", name)
		}
		seen[name] = true
		e, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		out.names, out.elems = append(out.names, name), append(out.elems, e)
	}
	_, err := dec.Token()
	return out, err
}

func checkNumber(n string) error {
	mantissa := n
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		if e, err := strconv.Atoi(n[i+1:]); err != nil || e > MaxExponent || e < -MaxExponent {
			return &LimitError{fmt.Sprintf("the number %.40s in the schema has a large exponent", n), MaxExponent}
		}
		mantissa = n[:i]
	}
	if len(mantissa) > MaxDigits {
		return &LimitError{fmt.Sprintf("the number %.40s… in the schema has %d digits", n, len(mantissa)), MaxDigits}
	}
	return nil
}

// appendJSON writes a value with its members in order.
func (v *value) appendJSON(b []byte) []byte {
	switch v.kind {
	case null:
		return append(b, "null"...)
	case boolean:
		return strconv.AppendBool(b, v.yes)
	case number:
		return append(b, v.text...)
	case text:
		return plainjson.AppendString(b, v.text)
	case array:
		b = append(b, '[')
		for i, e := range v.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.appendJSON(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		for i, e := range v.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(plainjson.AppendString(b, v.names[i]), ':')
			b = e.appendJSON(b)
		}
		return append(b, '}')
	}
}

// appendKey writes the canonical text of a value: equal values have the same text. 1.0 equals 1, and the order of members does
// not count.
func (v *value) appendKey(b []byte) []byte {
	switch v.kind {
	case null:
		return append(b, 'z')
	case boolean:
		return strconv.AppendBool(b, v.yes)
	case number:
		return append(parseDecimal(v.text).appendTo(append(b, '#')), ';')
	case text:
		return appendLong(b, v.text)
	case array:
		b = append(b, '[')
		for _, e := range v.elems {
			b = e.appendKey(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		order := make([]int, len(v.names))
		for i := range order {
			order[i] = i
		}
		sort.Slice(order, func(i, j int) bool { return v.names[order[i]] < v.names[order[j]] })
		for _, i := range order {
			b = v.elems[i].appendKey(appendLong(b, v.names[i]))
		}
		return append(b, '}')
	}
}

func appendLong(b []byte, s string) []byte {
	b = append(strconv.AppendInt(b, int64(len(s)), 10), '"')
	return append(b, s...)
}

// size estimates the work of writing a value's key, in steps.
func (v *value) size() int {
	n := 1 + len(v.text)/64
	for _, e := range v.elems {
		n += e.size()
	}
	return n
}

func jsonNumber(s string) json.Number { return json.Number(s) }
