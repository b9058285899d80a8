package jsonschema

import "slices"

// unwrap returns the schema inside the wrappers that OpenAI and others use, and the path to it: the value of response_format or
// text.format, or {"name", "strict", "schema"}.
func unwrap(root *value) (*value, []string) {
	var way []string
	for range 4 {
		name, ok := wrapper(root)
		if !ok {
			break
		}
		root = root.member(name)
		way = append(way, name)
	}
	return root, way
}

// wrapper returns the member of a wrapper that holds the schema.
func wrapper(v *value) (string, bool) {
	if t := v.member("type"); t != nil && t.text != "json_schema" {
		return "", false
	}
	around := []string{"type", "name", "description", "strict", "title"}
	for _, inner := range []string{"schema", "json_schema", "response_format", "format", "text"} {
		in := v.member(inner)
		if in == nil || in.kind != object {
			continue
		}
		for _, name := range v.names {
			if name != inner && !slices.Contains(around, name) {
				return "", false
			}
		}
		return inner, true
	}
	return "", false
}

// withoutNullable returns the schema with nullable of OpenAPI 3.0 translated: it adds null to the types, and to the values of
// an enum. Without either, the schema becomes one branch of an anyOf. Its error is a [Problem].
func (d *document) withoutNullable() (*value, error) {
	var found bool
	for v := range d.at {
		found = found || v.kind == object && v.member("nullable") != nil
	}
	if !found {
		return d.root, nil
	}
	t := translator{d: d}
	root := t.translate(d.root)
	if t.problem != nil {
		return nil, *t.problem
	}
	return root, nil
}

type translator struct {
	d       *document
	inside  map[string]string // each $ref, by the places on its path
	problem *Problem
}

// translate copies a value. It changes only subschemas, because an example may have a member called nullable.
func (t *translator) translate(v *value) *value {
	if v.kind&(array|object) == 0 {
		return v
	}
	out := &value{kind: v.kind, names: slices.Clone(v.names), elems: make([]*value, len(v.elems))}
	for i, e := range v.elems {
		out.elems[i] = t.translate(e)
	}
	at, isSchema := t.d.at[v]
	nullable := v.member("nullable")
	if !isSchema || v.kind != object || nullable == nil {
		return out
	}
	out = out.without("nullable")
	if nullable.kind == boolean && nullable.yes {
		return t.orNull(out, at)
	}
	return out
}

// orNull returns a schema that allows null and every value of the old schema.
func (t *translator) orNull(v *value, at *place) *value {
	nothing := &value{kind: null}
	constrains, simple := false, true
	for _, name := range v.names {
		k := keywords[name]
		constrains = constrains || k.asserts
		switch name {
		case "$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "const":
			simple = false
		}
	}
	if !constrains {
		return v
	}
	types, enum := v.member("type"), v.member("enum")
	if !simple || types == nil && enum == nil {
		return t.either(v, at)
	}
	if types != nil {
		list := types.elems
		if types.kind == text {
			list = []*value{types}
		}
		if !slices.ContainsFunc(list, func(e *value) bool { return e.text == "null" }) {
			list = append(slices.Clone(list), &value{kind: text, text: "null"})
		}
		v = v.with("type", &value{kind: array, elems: list})
	}
	if enum != nil && !slices.ContainsFunc(enum.elems, func(e *value) bool { return e.kind == null }) {
		v = v.with("enum", &value{kind: array, elems: append(slices.Clone(enum.elems), nothing)})
	}
	return v
}

// either makes a schema one branch of an anyOf with null. Its names and descriptions stay outside.
func (t *translator) either(v *value, at *place) *value {
	inner, outer := &value{kind: object}, &value{kind: object}
	for i, name := range v.names {
		to := outer
		if k, known := keywords[name]; known && k.asserts {
			to = inner
			t.checkMove(at.down(name))
		}
		to.names, to.elems = append(to.names, name), append(to.elems, v.elems[i])
	}
	onlyNull := &value{kind: object, names: []string{"type"}, elems: []*value{{kind: text, text: "null"}}}
	return outer.with("anyOf", &value{kind: array, elems: []*value{inner, onlyNull}})
}

// checkMove reports a $ref that points below a place whose schemas move.
func (t *translator) checkMove(at *place) {
	if t.inside == nil {
		t.inside = map[string]string{}
		for v := range t.d.at {
			if ref := v.member("$ref"); ref != nil {
				for i, c := range ref.text {
					if c == '/' {
						t.inside[ref.text[:i]] = ref.text
					}
				}
				t.inside[ref.text] = ref.text
			}
		}
	}
	if ref, ok := t.inside[at.pointer()]; ok {
		t.problem = &Problem{at.up.down("nullable").tokens(), "cannot be translated, because " + ref + " points into this schema; write anyOf with {\"type\": \"null\"} instead"}
	}
}

func (v *value) without(name string) *value {
	out := *v
	out.names, out.elems = nil, nil
	for i, n := range v.names {
		if n != name {
			out.names, out.elems = append(out.names, n), append(out.elems, v.elems[i])
		}
	}
	return &out
}

// with returns a copy of an object with another value for one member. It adds a new member at the end.
func (v *value) with(name string, e *value) *value {
	out := *v
	out.names, out.elems = slices.Clone(v.names), slices.Clone(v.elems)
	if i := slices.Index(out.names, name); i >= 0 {
		out.elems[i] = e
		return &out
	}
	out.names, out.elems = append(out.names, name), append(out.elems, e)
	return &out
}
