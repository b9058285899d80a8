package openai

import (
	"strings"

	"github.com/tidwall/gjson"
)

// withoutNulls removes the nulls that represent omitted properties. Such a property is optional in the schema and does not allow null.
// Text without such nulls, and text that is not JSON, is returned unchanged. schema is the original schema.
func withoutNulls(schema []byte, text string) string {
	if !strings.Contains(text, "null") || !gjson.Valid(text) {
		return text
	}
	d := &nullDropper{root: gjson.ParseBytes(schema)}
	out := d.value([]gjson.Result{d.root}, gjson.Parse(text), 0)
	if !d.dropped {
		return text
	}
	return out
}

type nullDropper struct {
	root    gjson.Result
	dropped bool
}

// value writes a value that one of the schemas describes.
func (d *nullDropper) value(schemas []gjson.Result, v gjson.Result, depth int) string {
	if !v.IsObject() && !v.IsArray() || depth > 4*maxNesting {
		return v.Raw
	}
	schemas = d.branches(schemas, 0)
	var parts []string
	if v.IsArray() {
		var items []gjson.Result
		for _, s := range schemas {
			if i := s.Get("items"); i.IsObject() {
				items = append(items, i)
			}
		}
		for _, e := range v.Array() {
			parts = append(parts, d.value(items, e, depth+1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	v.ForEach(func(key, e gjson.Result) bool {
		declared, optional := d.property(schemas, key.String())
		if e.Type == gjson.Null && optional {
			d.dropped = true
			return true
		}
		parts = append(parts, key.Raw+":"+d.value(declared, e, depth+1))
		return true
	})
	return "{" + strings.Join(parts, ",") + "}"
}

// property returns the schemas of a property. optional reports whether a null can only mean that the property was omitted.
func (d *nullDropper) property(schemas []gjson.Result, name string) (declared []gjson.Result, optional bool) {
	for _, s := range schemas {
		s.Get("properties").ForEach(func(key, value gjson.Result) bool {
			if key.String() != name {
				return true
			}
			declared = append(declared, value)
			return false
		})
	}
	if len(declared) == 0 {
		return nil, false
	}
	for _, s := range d.branches(declared, 0) {
		if takesNull(s) {
			return declared, false
		}
	}
	for _, s := range schemas {
		if required(s)[name] {
			return declared, false
		}
	}
	return declared, true
}

// branches follows references and alternatives to the schemas that describe a value.
func (d *nullDropper) branches(schemas []gjson.Result, depth int) []gjson.Result {
	if depth > maxNesting {
		return nil
	}
	var out []gjson.Result
	for _, s := range schemas {
		switch {
		case s.Get("$ref").Exists():
			out = append(out, d.branches(d.resolve(s.Get("$ref").String()), depth+1)...)
		case s.Get("anyOf").Exists():
			out = append(out, d.branches(s.Get("anyOf").Array(), depth+1)...)
		case s.Get("oneOf").Exists():
			out = append(out, d.branches(s.Get("oneOf").Array(), depth+1)...)
		default:
			out = append(out, s)
		}
	}
	return out
}

// resolve returns the target of a reference within the schema.
func (d *nullDropper) resolve(ref string) []gjson.Result {
	at := d.root
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if step == "" {
			continue
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		at = at.Get(gjson.Escape(step))
	}
	return []gjson.Result{at}
}
