package jsonschema

import (
	"fmt"
	"slices"
)

// Keywords that count for values of one type alone.
var keywordsOf = []struct {
	kind  kind
	named string // the kind as a type
	many  string // in a message
	list  []string
}{
	{object, "object", "objects", []string{
		"properties", "required", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties", "minProperties", "maxProperties",
		"dependencies", "dependentRequired", "dependentSchemas",
	}},
	{array, "array", "arrays", []string{
		"items", "prefixItems", "additionalItems", "unevaluatedItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems",
	}},
	{text, "string", "strings", []string{"pattern", "minLength", "maxLength"}},
	{number, "number", "numbers", []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
}

// uselessKeywords finds keywords that count for no type of their schema, such as maximum beside the type string.
func (d *document) uselessKeywords() []Problem {
	var hints []Problem
	for _, n := range d.order {
		if n.types == 0 || n.source.kind != object {
			continue
		}
		for _, of := range keywordsOf {
			if n.named()&of.kind != 0 {
				continue
			}
			for _, name := range of.list {
				if n.source.member(name) != nil && len(hints) < maxProblems {
					hints = append(hints, Problem{d.at[n.source].down(name).tokens(), fmt.Sprintf(
						"counts for %s alone, and the type is %s; it has no effect. Change the type, or leave the keyword out", of.many, n.types)})
				}
			}
		}
	}
	return hints
}

// typeless finds schemas of values that limit values of one type and accept all of the others, such as properties without a type. most are the
// types that each subschema can accept. It fails for the root, and returns hints about others.
func (a *analysis) typeless(root *node, most map[*node]kind) []Problem {
	values := valuesOf(root)
	var hints []Problem
	seen := map[*node]bool{}
	for _, n := range a.doc.order {
		if !values[n] || n.types != 0 || most[n] != anything {
			continue
		}
		at, of := a.limited(n, seen)
		if at == nil {
			continue
		}
		message := fmt.Sprintf("%q limits %ss alone, and every other JSON value matches; add \"type\": %q", of.keyword, of.named, of.named)
		if n == root {
			a.doc.fail(a.doc.at[at.source], "%s", message)
			return nil
		}
		if len(hints) < maxProblems {
			hints = append(hints, Problem{a.doc.at[at.source].tokens(), message})
		}
	}
	return hints
}

// limit is a keyword that limits values of one type.
type limit struct{ keyword, named string }

// limited finds, among a subschema and those that apply to the same value, one that limits values of one type.
func (a *analysis) limited(n *node, seen map[*node]bool) (*node, limit) {
	if n.source.kind != object || seen[n] {
		return nil, limit{}
	}
	seen[n] = true
	var found []limit
	for _, of := range keywordsOf {
		i := slices.IndexFunc(of.list, func(name string) bool { return n.source.member(name) != nil })
		if i >= 0 {
			found = append(found, limit{of.list[i], of.named})
		}
	}
	if len(found) == 1 {
		return n, found[0]
	}
	for _, list := range [][]*node{n.refs, n.allOf, n.anyOf, n.oneOf, {n.then, n.otherwise}} {
		for _, s := range list {
			if s == nil {
				continue
			}
			if at, of := a.limited(s, seen); at != nil {
				return at, of
			}
		}
	}
	return nil, limit{}
}

// valuesOf returns the subschemas that describe a value by themselves: the root, and those of members and items. Conditions and the parts
// of an allOf only add to others.
func valuesOf(root *node) map[*node]bool {
	values := map[*node]bool{root: true}
	seen := map[*node]bool{root: true}
	queue := []*node{root}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		n.below(func(s *node) {
			values[s] = true
			if !seen[s] {
				seen[s] = true
				queue = append(queue, s)
			}
		})
		for _, s := range slices.Concat(n.refs, n.anyOf, n.oneOf) {
			if !seen[s] {
				seen[s] = true
				queue = append(queue, s)
			}
		}
	}
	return values
}
