package sample

import (
	"encoding/json"
	"slices"
)

// merge returns a schema that is at least as strict as both. "allOf" and keywords beside "$ref" need it. If two keywords cannot
// be combined, a's value is kept and the validator decides.
func merge(a, b *object) *object {
	out := newObject()
	for _, k := range a.keys {
		out.set(k, a.vals[k])
	}
	for _, k := range b.keys {
		vb := b.vals[k]
		va, both := out.vals[k]
		if !both {
			out.set(k, vb)
			continue
		}
		out.set(k, combine(k, va, vb))
	}
	return out
}

func combine(key string, a, b any) any {
	switch key {
	case "properties", "$defs", "definitions", "patternProperties", "dependentSchemas":
		oa, ob := asObject(a), asObject(b)
		if oa == nil || ob == nil {
			return a
		}
		return combineProperties(oa, ob)
	case "required":
		return union(a, b)
	case "enum", "type":
		return intersect(asList(a), asList(b))
	case "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains":
		return pick(a, b, func(x, y float64) bool { return x >= y })
	case "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains":
		return pick(a, b, func(x, y float64) bool { return x <= y })
	case "items", "additionalProperties", "contains":
		return both(a, b)
	case "allOf":
		return slices.Concat(asList(a), asList(b))
	case "title", "description":
		return b
	}
	return a
}

func combineProperties(a, b *object) *object {
	out := newObject()
	for _, k := range a.keys {
		out.set(k, a.vals[k])
	}
	for _, k := range b.keys {
		if v, ok := out.vals[k]; ok {
			out.set(k, both(v, b.vals[k]))
		} else {
			out.set(k, b.vals[k])
		}
	}
	return out
}

// both returns a schema that requires a and b.
func both(a, b any) any {
	if a == true {
		return b
	}
	if b == true {
		return a
	}
	if a == false || b == false {
		return false
	}
	out := newObject()
	out.set("allOf", []any{a, b})
	return out
}

func union(a, b any) []any {
	out := slices.Clone(asList(a))
	for _, v := range asList(b) {
		if !contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func intersect(a, b []any) []any {
	out := []any{}
	for _, v := range a {
		if contains(b, v) || v == "integer" && contains(b, "number") {
			out = append(out, v)
		} else if v == "number" && contains(b, "integer") {
			out = append(out, "integer")
		}
	}
	return out
}

func contains(l []any, v any) bool {
	want := encode(nil, v)
	return slices.ContainsFunc(l, func(e any) bool { return string(encode(nil, e)) == string(want) })
}

func pick(a, b any, better func(x, y float64) bool) any {
	na, _ := a.(json.Number)
	nb, _ := b.(json.Number)
	x, errA := na.Float64()
	y, errB := nb.Float64()
	if errA == nil && (errB != nil || better(x, y)) {
		return a
	}
	return b
}

func asList(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case nil:
		return nil
	default:
		return []any{v}
	}
}
