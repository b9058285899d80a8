package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/jsonschema"
)

const (
	maxBranches = 16 // limit of alternatives of one anyOf, oneOf or if
	maxMerge    = 64 // limit of nested references and merges
	maxNodes    = 10_000
)

// Schema is a compiled JSON Schema.
type Schema struct {
	root      *node
	validator *jsonschema.Schema
	hard      bool // some keywords need the validator after each draw
	invalid   string
}

// Param is a property of the root object.
type Param struct {
	Name     string
	Required bool
	Text     bool // a string without an enum or a constant
}

// Compile compiles a JSON Schema. References must point into the document; nothing is loaded.
func Compile(schema []byte) (*Schema, error) {
	doc, err := parse(schema)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	v, err := jsonschema.Compile(schema)
	if err != nil {
		return nil, err
	}
	b := builder{root: doc, done: map[*object]*node{}}
	s := &Schema{validator: v, root: b.build(doc, 0)}
	s.hard = b.hard
	s.invalid = s.wrongValue()
	return s, nil
}

// Invalid returns a text that the schema does not accept: JSON of another type if one exists, otherwise prose.
func (s *Schema) Invalid() string { return s.invalid }

// Params returns the properties of the root object in the order of the schema.
func (s *Schema) Params() []Param {
	n := s.root
	if len(n.branches) > 0 {
		n = n.branches[0]
	}
	out := make([]Param, 0, len(n.props))
	for _, p := range n.props {
		text := len(p.node.types) > 0 && p.node.types[0] == "string" && len(p.node.enum) == 0
		out = append(out, Param{Name: p.name, Required: p.required, Text: text})
	}
	return out
}

func (s *Schema) wrongValue() string {
	for _, text := range []string{`["simulated: not what the schema asks for"]`, `{"simulated":"not what the schema asks for"}`, `"simulated"`, `-1`} {
		if !s.accepts([]byte(text)) {
			return text
		}
	}
	return "simulated: this is not JSON"
}

// accepts validates a value within the limits of package jsonschema. It returns false beyond them.
func (s *Schema) accepts(value []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	var v any
	return dec.Decode(&v) == nil && s.validator.Valid(v)
}

// node is one schema after resolution: references and allOf are merged in.
type node struct {
	branches []*node  // alternatives for the value, each merged with the rest of the schema
	enum     [][]byte // encoded; a constant is an enum of one
	types    []string // empty only if never is set
	never    bool     // the schema "false"

	props         []prop
	closed        bool  // only listed properties are allowed
	extra         *node // schema of other properties; nil accepts anything
	minProps      int
	maxProps      int
	prefix        []*node
	items         *node // nil accepts anything
	contains      *node
	minItems      int
	maxItems      int
	minLen        int
	maxLen        int
	pattern       *syntax.Regexp // generates a text
	matches       *regexp.Regexp // checks a text
	format        string
	lo, hi        float64 // NaN without a limit
	loOpen        bool
	hiOpen        bool
	multiple      float64
	multipleDigit int // decimals of multiple
}

// newNode returns the schema that accepts anything. Values drawn from it are strings.
func newNode() *node {
	return &node{types: []string{"string"}, lo: math.NaN(), hi: math.NaN(), maxLen: -1, maxItems: -1, maxProps: -1}
}

type prop struct {
	name     string
	node     *node
	required bool
}

type builder struct {
	root any
	done map[*object]*node
	hard bool
	made int
}

// build compiles one schema. Schemas may refer to themselves, so a node is entered into done before it is complete.
func (b *builder) build(v any, depth int) *node {
	o := asObject(v)
	if o == nil {
		n := newNode()
		n.never = v == false
		return n
	}
	if n, ok := b.done[o]; ok {
		return n
	}
	n := newNode()
	b.made++
	if depth > maxMerge || b.made > maxNodes {
		b.hard = true
		return n
	}
	b.done[o] = n
	flat := b.flatten(o)
	if flat == nil {
		n.never = true
		return n
	}
	if alternatives := b.alternatives(flat); len(alternatives) > 0 {
		for _, alt := range alternatives {
			n.branches = append(n.branches, b.build(alt, depth+1))
		}
		return n
	}
	b.fill(n, flat, depth)
	return n
}

// flatten merges $ref and allOf into the schema itself. It returns nil for a schema that accepts nothing.
func (b *builder) flatten(o *object) *object {
	for range maxMerge {
		var parts []any
		switch {
		case o.vals["$ref"] != nil:
			target, ok := lookup(b.root, o.text("$ref"))
			if !ok {
				b.hard = true
				target = true
			}
			parts = []any{target}
			o = o.without("$ref")
		case o.vals["allOf"] != nil:
			parts = o.list("allOf")
			o = o.without("allOf")
		default:
			return o
		}
		for _, p := range parts {
			if p == false {
				return nil
			}
			if po := asObject(p); po != nil {
				if o.vals["anyOf"] != nil && po.vals["anyOf"] != nil || o.vals["oneOf"] != nil && po.vals["oneOf"] != nil {
					b.hard = true
				}
				o = merge(o, po)
			}
		}
	}
	b.hard = true
	return o.without("$ref", "allOf")
}

// alternatives returns the choices of anyOf, oneOf or if, each merged with the rest of the schema.
func (b *builder) alternatives(o *object) []*object {
	for _, key := range []string{"anyOf", "oneOf"} {
		list := o.list(key)
		if len(list) == 0 {
			continue
		}
		if key == "oneOf" {
			b.hard = true
		}
		rest := o.without(key)
		var out []*object
		for _, alt := range list[:min(len(list), maxBranches)] {
			switch alt := alt.(type) {
			case *object:
				out = append(out, mergeAll(rest, alt))
			case bool:
				if alt {
					out = append(out, rest)
				}
			}
		}
		return out
	}
	if cond := asObject(o.vals["if"]); cond != nil {
		b.hard = true
		rest := o.without("if", "then", "else")
		yes := mergeAll(rest, cond)
		if then := o.object("then"); then != nil {
			yes = mergeAll(yes, then)
		}
		no := rest
		if other := o.object("else"); other != nil {
			no = mergeAll(rest, other)
		}
		return []*object{yes, no}
	}
	return nil
}

// mergeAll merges b into a lazily, through allOf. References in b are resolved before its keywords are combined with a's.
func mergeAll(a, b *object) *object {
	out := newObject()
	out.set("allOf", []any{a, b})
	return out
}

// notByConstruction lists the keywords that only the validator supports.
var notByConstruction = []string{
	"not", "pattern", "patternProperties", "propertyNames", "contains", "minContains", "maxContains", "dependentRequired",
	"dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems", "uniqueItems", "minProperties",
	"maxProperties", "multipleOf", "$dynamicRef", "$recursiveRef", "$id", "$anchor",
}

func (b *builder) fill(n *node, o *object, depth int) {
	for _, k := range notByConstruction {
		if _, ok := o.vals[k]; ok {
			b.hard = true
		}
	}
	n.types = typesOf(o)
	n.never = len(n.types) == 0
	b.fillEnum(n, o)
	b.fillObject(n, o, depth)
	b.fillArray(n, o, depth)
	b.fillScalar(n, o)
}

func (b *builder) fillEnum(n *node, o *object) {
	values := o.list("enum")
	if c, ok := o.vals["const"]; ok {
		values = []any{c}
		b.hard = b.hard || o.vals["enum"] != nil
	}
	for _, v := range values {
		if o.vals["type"] == nil || slices.Contains(n.types, typeName(v)) || typeName(v) == "integer" && slices.Contains(n.types, "number") {
			n.enum = append(n.enum, encode(nil, v))
		}
	}
	if len(values) > 0 {
		rest := o.without("enum", "const", "type", "title", "description", "default", "examples", "deprecated")
		b.hard = b.hard || len(rest.keys) > 0
	}
}

func (b *builder) fillObject(n *node, o *object, depth int) {
	props, required := o.object("properties"), o.list("required")
	if props != nil {
		for _, name := range props.keys {
			n.props = append(n.props, prop{name: name, node: b.build(props.vals[name], depth+1), required: slices.Contains(required, any(name))})
		}
	}
	n.closed = o.vals["additionalProperties"] == false
	if extra := o.object("additionalProperties"); extra != nil {
		n.extra = b.build(extra, depth+1)
	}
	for _, r := range required {
		name, ok := r.(string)
		if !ok || props != nil && props.vals[name] != nil {
			continue
		}
		value := n.extra
		if value == nil {
			value = newNode()
		}
		n.props = append(n.props, prop{name: name, node: value, required: true})
	}
	n.minProps, n.maxProps = count(o, "minProperties", 0), count(o, "maxProperties", -1)
}

func (b *builder) fillArray(n *node, o *object, depth int) {
	for _, p := range o.list("prefixItems") {
		n.prefix = append(n.prefix, b.build(p, depth+1))
	}
	n.minItems, n.maxItems = count(o, "minItems", 0), count(o, "maxItems", -1)
	if items, ok := o.vals["items"]; ok {
		n.items = b.build(items, depth+1)
		if items == false {
			n.maxItems = len(n.prefix)
		}
	}
	if c, ok := o.vals["contains"]; ok {
		need := c
		if items, ok := o.vals["items"]; ok {
			need = both(items, c)
		}
		n.contains = b.build(need, depth+1)
		n.minItems = max(n.minItems, len(n.prefix)+count(o, "minContains", 1))
	}
}

func (b *builder) fillScalar(n *node, o *object) {
	n.minLen, n.maxLen = count(o, "minLength", 0), count(o, "maxLength", -1)
	n.format = o.text("format")
	if p := o.text("pattern"); p != "" {
		if re, err := syntax.Parse(p, syntax.Perl); err == nil {
			n.pattern = re
		}
		n.matches, _ = regexp.Compile(p) // the validator decides on patterns that Go does not support
	}
	if v, ok := o.number("minimum"); ok {
		n.lo = v
	}
	if v, ok := o.number("exclusiveMinimum"); ok && !(n.lo > v) {
		n.lo, n.loOpen = v, true
	}
	if v, ok := o.number("maximum"); ok {
		n.hi = v
	}
	if v, ok := o.number("exclusiveMaximum"); ok && !(n.hi < v) {
		n.hi, n.hiOpen = v, true
	}
	if v, ok := o.number("multipleOf"); ok && v > 0 {
		n.multiple = v
		if text, ok := o.vals["multipleOf"].(json.Number); ok {
			if _, decimals, ok := strings.Cut(text.String(), "."); ok {
				n.multipleDigit = len(decimals)
			}
		}
	}
}

// count reads a non-negative integer keyword.
func count(o *object, key string, otherwise int) int {
	f, ok := o.number(key)
	if !ok || f < 0 {
		return otherwise
	}
	return int(min(f, math.MaxInt32))
}

// typesOf returns the types that a schema allows, the most specific first; null is last.
func typesOf(o *object) []string {
	if t, ok := o.vals["type"]; ok {
		var out []string
		null := false
		for _, e := range asList(t) {
			if name, ok := e.(string); ok && name != "null" {
				out = append(out, name)
			} else if ok {
				null = true
			}
		}
		if null {
			out = append(out, "null")
		}
		return out
	}
	hints := []struct{ typ, keys string }{
		{"object", "properties required additionalProperties minProperties patternProperties"},
		{"array", "items prefixItems minItems maxItems contains uniqueItems"},
		{"string", "pattern minLength maxLength format"},
		{"number", "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"},
	}
	for _, h := range hints {
		for k := range strings.FieldsSeq(h.keys) {
			if _, ok := o.vals[k]; ok {
				return []string{h.typ}
			}
		}
	}
	return []string{"string"}
}

func typeName(v any) string {
	switch v := v.(type) {
	case *object:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) {
			return "integer"
		}
		return "number"
	default:
		return "null"
	}
}
