package openai

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// maxNesting limits the depth of objects in a strict schema.
const maxNesting = 10

// kept are the keywords that a strict schema may contain unchanged. Other keywords are dropped if they only narrow the
// matching values, because every answer is checked against the whole schema later.
var kept = map[string]bool{
	"title": true, "description": true, "enum": true, "const": true, "pattern": true, "format": true, "multipleOf": true,
	"minimum": true, "maximum": true, "exclusiveMinimum": true, "exclusiveMaximum": true, "minItems": true, "maxItems": true,
}

// structural are the keywords that change a schema's meaning and that strict schemas do not support.
var structural = []string{
	"allOf", "patternProperties", "prefixItems", "additionalItems", "unevaluatedProperties", "dependentSchemas", "$dynamicRef", "$anchor",
}

var formats = []string{"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}

// strict is a schema in the form that the API can enforce.
type strict struct {
	schema   string
	nullable bool // null represents omitted properties: see withoutNulls
}

// strictly rewrites a JSON Schema so that every object is closed and requires all of its properties, as the API's
// strict mode requires. An optional property becomes nullable. The order of properties is kept, because the model
// writes them in that order. ok is false if the schema has no strict form: an object with free keys, a value of any
// type, a root that is not an object, or an unsupported keyword.
func strictly(schema []byte) (out strict, ok bool) {
	root := gjson.ParseBytes(schema)
	either := root.Get("anyOf").Exists() || root.Get("oneOf").Exists()
	if !gjson.ValidBytes(schema) || !root.IsObject() || kinds(root) != "object" || either {
		return strict{}, false
	}
	w := &strictWriter{}
	text := w.node(root, 0)
	return strict{schema: text, nullable: w.nullable}, !w.failed
}

// kinds returns a schema's type, if it has exactly one.
func kinds(node gjson.Result) string {
	if t := node.Get("type"); t.Type == gjson.String {
		return t.String()
	}
	return ""
}

type strictWriter struct {
	nullable bool
	failed   bool
}

func (w *strictWriter) fail() string {
	w.failed = true
	return "{}"
}

// node encodes one schema.
func (w *strictWriter) node(node gjson.Result, depth int) string {
	has := func(word string) bool { return node.Get(word).Exists() }
	if !node.IsObject() || depth > maxNesting || slices.ContainsFunc(structural, has) {
		return w.fail()
	}
	if ref := node.Get("$ref"); ref.Exists() { // other keywords are not allowed beside it
		return `{"$ref":` + ref.Raw + `}`
	}
	var parts []string
	put := func(word, raw string) { parts = append(parts, strconv.Quote(word)+":"+raw) }
	typed, object := false, false
	node.ForEach(func(key, value gjson.Result) bool {
		switch word := key.String(); {
		case word == "type":
			typed, object = true, value.String() == "object"
			if value.IsArray() && strings.Contains(value.Raw, `"object"`) {
				w.fail()
			}
			put(word, value.Raw)
		case word == "format" && !slices.Contains(formats, value.String()), word == "pattern" && strings.Contains(value.String(), "(?"),
			strings.HasPrefix(word, "exclusive") && value.IsBool(): // from draft-04
		case kept[word]:
			put(word, value.Raw)
		case word == "items":
			put(word, w.node(value, depth+1))
		case word == "anyOf" || word == "oneOf":
			typed = true
			put("anyOf", w.list(value, depth))
		case word == "$defs" || word == "definitions":
			put(word, w.each(value, depth, nil))
		}
		return true
	})
	switch {
	case object:
		return "{" + strings.Join(append(parts, w.object(node, depth)...), ",") + "}"
	case node.Get("properties").Exists():
		return w.fail()
	case !typed:
		kind := kindOf(node)
		if kind == "" {
			return w.fail()
		}
		put("type", strconv.Quote(kind))
	case kinds(node) == "array" && !node.Get("items").Exists():
		return w.fail()
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// object encodes the keywords of a strict object.
func (w *strictWriter) object(node gjson.Result, depth int) []string {
	properties, open := node.Get("properties"), node.Get("additionalProperties")
	if open.Exists() && open.Raw != "false" || !properties.Exists() && !open.Exists() {
		w.fail()
		return nil
	}
	var names []string
	properties.ForEach(func(key, _ gjson.Result) bool {
		names = append(names, key.Raw)
		return true
	})
	text := w.each(properties, depth+1, required(node))
	return []string{`"properties":` + text, `"required":[` + strings.Join(names, ",") + `]`, `"additionalProperties":false`}
}

// each encodes a map of schemas. Schemas that are not needed become nullable, unless needed is nil.
func (w *strictWriter) each(schemas gjson.Result, depth int, needed map[string]bool) string {
	var parts []string
	schemas.ForEach(func(key, value gjson.Result) bool {
		text := w.node(value, depth)
		if needed != nil && !needed[key.String()] && !takesNull(value) {
			w.nullable = true
			text = orNull(text)
		}
		parts = append(parts, key.Raw+":"+text)
		return true
	})
	return "{" + strings.Join(parts, ",") + "}"
}

func (w *strictWriter) list(schemas gjson.Result, depth int) string {
	var parts []string
	for _, s := range schemas.Array() {
		parts = append(parts, w.node(s, depth+1))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// required returns the names that an object must have; never nil.
func required(node gjson.Result) map[string]bool {
	out := map[string]bool{}
	for _, name := range node.Get("required").Array() {
		out[name.String()] = true
	}
	return out
}

// orNull extends a strict schema to allow null.
func orNull(schema string) string {
	return `{"anyOf":[` + schema + `,{"type":"null"}]}`
}

// takesNull reports whether a schema itself allows null. It does not follow a reference; at worst the result allows null twice.
func takesNull(node gjson.Result) bool {
	hasNull := func(list gjson.Result, null string) bool {
		return slices.ContainsFunc(list.Array(), func(v gjson.Result) bool { return v.Raw == null })
	}
	if options := node.Get("enum"); options.Exists() {
		return hasNull(options, "null")
	}
	if hasNull(node.Get("type"), `"null"`) || node.Get("const").Raw == "null" {
		return true
	}
	return slices.ContainsFunc(append(node.Get("anyOf").Array(), node.Get("oneOf").Array()...), takesNull)
}

var kindNames = map[gjson.Type]string{gjson.String: "string", gjson.Number: "number", gjson.True: "boolean", gjson.False: "boolean"}

// kindOf returns the type of a schema with only values, if they all have the same type.
func kindOf(node gjson.Result) string {
	values := node.Get("enum").Array()
	if c := node.Get("const"); c.Exists() {
		values = append(values, c)
	}
	kind := ""
	for _, v := range values {
		k := kindNames[v.Type]
		if k == "" || kind != "" && k != kind {
			return ""
		}
		kind = k
	}
	return kind
}
