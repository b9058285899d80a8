package collect

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/jsonschema"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// kind is the type of a column, or of a part of one.
type kind int

const (
	unknownKind kind = iota // no value is known yet
	boolKind
	intKind   // 64 bits
	longKind  // the same, with a value that a float64 does not hold
	floatKind // 64 bits
	textKind  // a text as it is, any other value as JSON
	jsonKind  // a list or an object as JSON
	listKind
	structKind
)

// shape is the type of a value.
type shape struct {
	kind    kind
	typed   bool // by a schema; values that do not match turn the shape into text or JSON
	element *shape
	members []member // of a struct, in order
}

type member struct {
	name  string
	shape *shape
}

// exact is the limit up to which a float64 holds every integer.
const exact = 1 << 53

// take widens the shape, so that it holds the value too. No value changes by it.
func (s *shape) take(v any) {
	switch {
	case v == nil:
	case s.typed && s.fits(v):
	case s.typed && (s.kind == listKind || s.kind == structKind):
		*s = shape{kind: jsonKind, typed: true}
		if !nested(v) {
			s.kind = textKind
		}
	case s.typed:
		*s = shape{kind: textKind, typed: true}
	default:
		s.kind = widened(s.kind, kindOf(v))
	}
}

// kindOf returns the narrowest kind of a decoded JSON value.
func kindOf(v any) kind {
	switch v := v.(type) {
	case bool:
		return boolKind
	case string:
		return textKind
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			if i > exact || i < -exact {
				return longKind
			}
			return intKind
		}
		if (&shape{kind: floatKind}).fits(v) {
			return floatKind
		}
		return textKind
	default:
		return jsonKind
	}
}

func widened(a, b kind) kind {
	switch {
	case a == unknownKind || a == b:
		return b
	case min(a, b) == intKind && max(a, b) == longKind:
		return longKind
	case min(a, b) == intKind && max(a, b) == floatKind:
		return floatKind
	}
	return textKind
}

func nested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// fits reports whether a column of the shape holds the value unchanged.
func (s *shape) fits(v any) bool {
	if v == nil {
		return true
	}
	switch s.kind {
	case boolKind:
		_, ok := v.(bool)
		return ok
	case intKind, longKind:
		n, ok := v.(json.Number)
		if ok {
			_, ok = integer(n)
		}
		return ok
	case floatKind:
		n, ok := v.(json.Number)
		if !ok {
			return false
		}
		f, err := n.Float64()
		whole := !strings.ContainsAny(n.String(), ".eE")
		return err == nil && holds(f, n.String()) && (!whole || math.Abs(f) <= exact)
	case textKind:
		return true
	case jsonKind:
		return nested(v)
	case listKind:
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(e any) bool { return !s.element.fits(e) })
	case structKind:
		object, ok := v.(map[string]any)
		if !ok {
			return false
		}
		known := 0
		for _, m := range s.members {
			value, has := object[m.name]
			if has {
				known++
			}
			if !m.shape.fits(value) {
				return false
			}
		}
		return known == len(object)
	}
	return false
}

// integer returns the value of a number without a fraction. Servers also write 3.0 and 1e2 for an integer.
func integer(n json.Number) (int64, bool) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i, true
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > exact || !strings.ContainsAny(n.String(), ".eE") || !holds(f, n.String()) {
		return 0, false
	}
	return int64(f), true
}

// maxShapeDepth limits the depth of nested lists and structs. Deeper values are JSON.
const maxShapeDepth = 12

// schemaShapes reads the shapes of values from a JSON Schema.
type schemaShapes struct{ root json.RawMessage }

// shape returns the shape of the values that a schema accepts. It is unknown if the schema does not determine it.
func (r schemaShapes) shape(schema json.RawMessage, depth int) *shape {
	var s struct {
		Ref        string            `json:"$ref"`
		Type       json.RawMessage   `json:"type"`
		Enum       []any             `json:"enum"`
		Properties json.RawMessage   `json:"properties"`
		Items      json.RawMessage   `json:"items"`
		AnyOf      []json.RawMessage `json:"anyOf"`
		OneOf      []json.RawMessage `json:"oneOf"`
	}
	out := &shape{}
	if depth > maxShapeDepth || json.Unmarshal(schema, &s) != nil {
		return out
	}
	if s.Ref != "" {
		return r.shape(r.at(s.Ref), depth+1)
	}
	if len(s.Type) == 0 {
		return r.union(slices.Concat(s.AnyOf, s.OneOf), s.Enum, depth)
	}
	switch onlyType(s.Type) {
	case "boolean":
		return &shape{kind: boolKind, typed: true}
	case "integer":
		return &shape{kind: intKind, typed: true}
	case "number":
		return &shape{kind: floatKind, typed: true}
	case "string":
		return &shape{kind: textKind, typed: true}
	case "array":
		element := r.shape(s.Items, depth+1)
		if !element.known() {
			return &shape{kind: jsonKind, typed: true}
		}
		return &shape{kind: listKind, typed: true, element: element}
	case "object":
		out = &shape{kind: structKind, typed: true}
		for _, name := range keysOf(s.Properties) {
			m := r.shape(memberOf(s.Properties, name), depth+1)
			if depth > 0 && !m.known() {
				return &shape{kind: jsonKind, typed: true}
			}
			out.members = append(out.members, member{name, m})
		}
		if len(out.members) == 0 {
			return &shape{kind: jsonKind, typed: true}
		}
	}
	return out
}

func (s *shape) known() bool { return s.kind != unknownKind }

// union returns the shape of a choice: that of the only alternative besides null, or that of all values of an enum.
func (r schemaShapes) union(choices []json.RawMessage, enum []any, depth int) *shape {
	var found *shape
	for _, c := range choices {
		var s struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(c, &s) == nil && s.Type == "null" {
			continue
		}
		if found != nil {
			return &shape{}
		}
		found = r.shape(c, depth+1)
	}
	if found != nil {
		return found
	}
	for _, v := range enum {
		if _, text := v.(string); v != nil && !text {
			return &shape{}
		}
	}
	if len(enum) > 0 {
		return &shape{kind: textKind, typed: true}
	}
	return &shape{}
}

// at returns the part of the schema that a local reference names, or nil.
func (r schemaShapes) at(ref string) json.RawMessage {
	path, local := strings.CutPrefix(ref, "#")
	if !local {
		return nil
	}
	here := r.root
	for _, step := range strings.Split(strings.TrimPrefix(path, "/"), "/") {
		if step != "" {
			here = memberOf(here, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
		}
	}
	return here
}

// onlyType returns the type in the keyword type, without null. It is "" for several types.
func onlyType(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var several []string
	if json.Unmarshal(raw, &several) != nil {
		return ""
	}
	several = slices.DeleteFunc(several, func(t string) bool { return t == "null" })
	if len(several) != 1 {
		return ""
	}
	return several[0]
}

// keysOf returns the names of an object's members in their order.
func keysOf(raw json.RawMessage) []string {
	var out []string
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		var skipped json.RawMessage
		if err != nil || !ok || d.Decode(&skipped) != nil {
			return out
		}
		out = append(out, name)
	}
	return out
}

func memberOf(raw json.RawMessage, name string) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	return members[name]
}

// decoded reads a JSON value, with its numbers as they were written.
func decoded(raw json.RawMessage) (v any, err error) {
	if len(raw) == 0 {
		return nil, nil //nolint:nilnil // a missing value is null
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// textOf returns a value as text: a text as it is, any other value as JSON.
func textOf(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	text, err := plainjson.Marshal(v)
	return string(text), err
}

// holds reports whether a float64 has the value of a JSON number: its shortest text is an equal number.
func holds(f float64, number string) bool {
	return jsonschema.EqualNumbers(strconv.FormatFloat(f, 'e', -1, 64), number)
}
