package jsonschema

import (
	"context"
	"fmt"
	"slices"
)

// maxSweeps limits how often an analysis passes over the schema. Only contrived schemas need more than a few passes.
const maxSweeps = 50

// analysis finds out which values a schema accepts. It is conservative: it calls a subschema empty or unconstrained only if
// that is certain.
type analysis struct {
	doc   *document
	order []*node // nodes below come first
	kinds map[*node]kind
	enums map[*node]kind // types of the enum's values that match the rest of the subschema
}

// analyse reports a schema that accepts every value, or none, and limits that contradict each other. It returns hints.
func (d *document) analyse(root *node) []Problem {
	a := &analysis{doc: d, order: postOrder(root, d.order), enums: map[*node]kind{}}
	for _, n := range d.order {
		if why := n.contradiction(); why != "" {
			d.fail(d.at[n.source], "nothing can match: %s", why)
		}
	}
	if len(d.problems) > 0 {
		return nil
	}
	if a.unconstrained(root) {
		d.fail(nil, "constrains nothing: every JSON value matches. Give at least a type, such as {\"type\": \"object\", \"properties\": {…}}")
		return nil
	}
	a.matchEnums()
	most, stable := a.fix(anything)
	if stable && most[root] == 0 {
		n := a.cause(root, most)
		d.fail(d.at[n.source], "nothing can match: %s", n.emptyReason())
		return nil
	}
	hints := a.typeless(root, most)
	least, stable := a.fix(0)
	if stable && least[root] == 0 {
		n := a.cause(root, least)
		d.fail(d.at[n.source], "nothing can match: each value would have to hold another one, without end. Make a property optional, or let it be null")
	}
	return hints
}

// postOrder lists the nodes in an order in which those below come first, except in circles.
func postOrder(root *node, all []*node) []*node {
	var out []*node
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		n.inPlace(visit)
		n.below(visit)
		out = append(out, n)
	}
	visit(root)
	for _, n := range all {
		visit(n)
	}
	return out
}

// contradiction describes two limits of one subschema that exclude each other.
func (n *node) contradiction() string {
	for _, p := range []struct {
		low, high         int
		lowName, highName string
	}{
		{n.minLength, n.maxLength, "minLength", "maxLength"},
		{n.minItems, n.maxItems, "minItems", "maxItems"},
		{n.minProps, n.maxProps, "minProperties", "maxProperties"},
		{n.minContains, n.maxContains, "minContains", "maxContains"},
	} {
		if p.high >= 0 && p.low > p.high {
			return fmt.Sprintf("%s %d is above %s %d", p.lowName, p.low, p.highName, p.high)
		}
	}
	if n.maxProps >= 0 && len(n.required) > n.maxProps {
		return fmt.Sprintf("%d properties are required, and maxProperties is %d", len(n.required), n.maxProps)
	}
	if n.contains != nil && n.maxItems >= 0 && n.leastContained() > n.maxItems {
		return fmt.Sprintf("contains needs %d items, and maxItems is %d", n.leastContained(), n.maxItems)
	}
	for _, low := range n.bounds {
		for _, high := range n.bounds {
			if !low.lower || high.lower {
				continue
			}
			if c := low.value.cmp(high.value); c > 0 || c == 0 && (low.exclusive || high.exclusive) {
				return fmt.Sprintf("%s %s and %s %s leave no number", low.keyword, cut(low.value.String()), high.keyword, cut(high.value.String()))
			}
		}
	}
	for _, name := range n.required {
		if n.rest == nil || n.rest.truth >= 0 || len(n.patterns) > 0 {
			break
		}
		if _, ok := n.props[name]; !ok {
			return fmt.Sprintf("%q is required, and additionalProperties: false forbids it", cut(name))
		}
	}
	return ""
}

func (n *node) emptyReason() string {
	switch {
	case n.truth < 0:
		return "the schema is false"
	case len(n.enums) > 0:
		return "no value of the enum or const matches the rest of the schema"
	case n.not != nil:
		return "\"not\" forbids everything that is left"
	}
	return "its parts exclude each other"
}

// unconstrained reports whether every value matches.
func (a *analysis) unconstrained(root *node) bool {
	bound := map[*node]bool{}
	for range maxSweeps {
		changed := false
		for _, n := range a.order {
			if !bound[n] && n.constrains(bound) {
				bound[n], changed = true, true
			}
		}
		if !changed {
			return !bound[root]
		}
	}
	return false
}

// constrains reports whether a subschema refuses some value. bound holds the constraining nodes below it.
func (n *node) constrains(bound map[*node]bool) bool {
	if n.truth != 0 {
		return n.truth < 0
	}
	own := n.types != 0 && n.types&anything != anything || n.enums != nil || len(n.required) > 0 || len(n.bounds) > 0 || n.unique ||
		n.minProps > 0 || n.maxProps >= 0 || n.minItems > 0 || n.maxItems >= 0 || n.minLength > 0 || n.maxLength >= 0 ||
		n.pattern != nil || n.format != nil || n.multipleOf != nil || n.not != nil || len(n.oneOf) > 1 || n.contains != nil && n.leastContained() > 0 || n.maxContains >= 0
	if own {
		return true
	}
	any := func(list ...*node) bool {
		return slices.ContainsFunc(list, func(s *node) bool { return s != nil && bound[s] })
	}
	if any(n.refs...) || any(n.allOf...) || any(n.oneOf...) || any(n.prefix...) ||
		any(n.rest, n.propNames, n.unevaluatedProps, n.items, n.unevaluatedItems) || n.cond != nil && any(n.then, n.otherwise) {
		return true
	}
	if len(n.anyOf) > 0 && !slices.ContainsFunc(n.anyOf, func(s *node) bool { return !bound[s] }) {
		return true
	}
	for _, s := range n.props {
		if bound[s] {
			return true
		}
	}
	for _, p := range n.patterns {
		if bound[p.node] {
			return true
		}
	}
	return slices.ContainsFunc(n.needs, func(d dependency) bool { return len(d.names) > 0 || any(d.schema) })
}

// matchEnums finds, for each subschema with an enum, the types of its values that match the whole of it.
func (a *analysis) matchEnums() {
	b := &budget{ctx: context.Background(), limit: MaxSteps}
	c := check{budget: b}
	builder := builder{budget: b}
	for _, n := range a.order {
		if len(n.enums) == 0 {
			continue
		}
		kinds := kind(0)
		for _, v := range n.enums[0].values {
			if kinds&v.kind != 0 {
				continue
			}
			if sorted := builder.build(v.plain(), 0); b.err == nil && c.eval(n, sorted, nil) {
				kinds |= v.kind
			}
		}
		if b.err != nil {
			return
		}
		a.enums[n] = kinds
	}
}

// plain returns a value in the form in which encoding/json decodes it.
func (v *value) plain() any {
	switch v.kind {
	case boolean:
		return v.yes
	case number:
		return jsonNumber(v.text)
	case text:
		return v.text
	case array:
		out := make([]any, len(v.elems))
		for i, e := range v.elems {
			out[i] = e.plain()
		}
		return out
	case object:
		out := make(map[string]any, len(v.elems))
		for i, e := range v.elems {
			out[v.names[i]] = e.plain()
		}
		return out
	}
	return nil
}

// fix computes which types of values each subschema can accept. With start set to all types, it ignores that values must be
// finite; with none, it does not. stable is false if it took too long.
func (a *analysis) fix(start kind) (map[*node]kind, bool) {
	a.kinds = make(map[*node]kind, len(a.order))
	for _, n := range a.order {
		a.kinds[n] = start
	}
	for range maxSweeps {
		changed := false
		for _, n := range a.order {
			if k := a.possible(n); k != a.kinds[n] {
				a.kinds[n], changed = k, true
			}
		}
		if !changed {
			return a.kinds, true
		}
	}
	return a.kinds, false
}

func (a *analysis) possible(n *node) kind {
	if n.truth != 0 {
		if n.truth > 0 {
			return anything
		}
		return 0
	}
	kinds := n.named()
	if found, ok := a.enums[n]; ok {
		return kinds & found // each of these values matched completely
	}
	for _, list := range [][]*node{n.refs, n.allOf} {
		for _, s := range list {
			kinds &= a.kinds[s]
		}
	}
	for _, list := range [][]*node{n.anyOf, n.oneOf} {
		if list == nil {
			continue
		}
		some := kind(0)
		for _, s := range list {
			some |= a.kinds[s]
		}
		kinds &= some
	}
	if n.not != nil && n.not.truth > 0 {
		return 0
	}
	if kinds&object != 0 && !a.objectPossible(n) {
		kinds &^= object
	}
	if kinds&array != 0 && !a.arrayPossible(n) {
		kinds &^= array
	}
	return kinds
}

// named returns the types that a subschema names, with integer as number.
func (n *node) named() kind {
	switch {
	case n.types == 0:
		return anything
	case n.types&integer != 0:
		return n.types&anything | number
	}
	return n.types
}

func (a *analysis) objectPossible(n *node) bool {
	for _, name := range n.required {
		s, ok := n.props[name]
		if !ok && len(n.patterns) == 0 {
			s = n.rest
		}
		if s != nil && a.kinds[s] == 0 {
			return false
		}
	}
	return true
}

func (a *analysis) arrayPossible(n *node) bool {
	for i := range min(max(n.minItems, 0), len(n.prefix)+1) {
		if s := n.itemAt(i); s != nil && a.kinds[s] == 0 {
			return false
		}
	}
	return n.contains == nil || n.leastContained() == 0 || a.kinds[n.contains] != 0
}

// cause follows the reason why a subschema is empty down to its origin.
func (a *analysis) cause(n *node, kinds map[*node]kind) *node {
	for range len(a.order) {
		var next *node
		look := func(s *node) {
			if s != nil && kinds[s] == 0 && next == nil {
				next = s
			}
		}
		for _, s := range slices.Concat(n.refs, n.allOf) {
			look(s)
		}
		if n.named()&object != 0 {
			for _, name := range n.required {
				look(n.props[name])
			}
		}
		if n.named()&array != 0 && n.minItems > 0 {
			look(n.itemAt(0))
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}
