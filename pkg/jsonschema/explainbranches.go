package jsonschema

import "slices"

func (x *explainer) explainCombined(n *node, v *value) {
	for _, s := range slices.Concat(n.refs, n.allOf) {
		if !x.eval(s, v, nil) {
			x.explain(s, v)
		}
	}
	if n.anyOf != nil && x.matching(n.anyOf, v, nil, true) == 0 {
		x.explainBranches(n.anyOf, v)
	}
	if n.oneOf != nil {
		switch found := x.matching(n.oneOf, v, nil, false); {
		case found == 0:
			x.explainBranches(n.oneOf, v)
		case found > 1:
			x.add("matches %d alternatives of oneOf, want exactly one", found)
		}
	}
	if n.not != nil && x.eval(n.not, v, nil) {
		x.add("matches what \"not\" forbids")
	}
	if n.cond != nil {
		branch := n.otherwise
		if x.eval(n.cond, v, nil) {
			branch = n.then
		}
		if branch != nil && !x.eval(branch, v, nil) {
			x.explain(branch, v)
		}
	}
}

// explainBranches explains the branch closest to the value.
func (x *explainer) explainBranches(branches []*node, v *value) {
	var candidates []*node
	var best *node
	bestScore := 0
	kinds := kind(0)
	for _, s := range branches {
		score := x.closeness(s, v, 0)
		if score <= otherKind {
			kinds |= x.kindsOf(s, 0)
			continue
		}
		candidates = append(candidates, s)
		if best == nil || score > bestScore {
			best, bestScore = s, score
		}
	}
	switch {
	case best == nil && kinds != 0:
		x.add("got %s, want %s", kindOf(v, kinds), kinds)
	case best == nil:
		x.add("matches none of %d alternatives", len(branches))
	case !x.discriminated(candidates, v):
		x.explain(best, v)
	}
}

// discriminated explains a member that selects the branch, if its value selects none of them.
func (x *explainer) discriminated(branches []*node, v *value) bool {
	if len(branches) < 2 || v.kind != object {
		return false
	}
	for i, name := range v.names {
		var allowed []*value
		for _, s := range branches {
			e := x.enumAt(s, name, 0)
			if !x.spend(1) || e == nil || x.eval(e, v.elems[i], nil) {
				allowed = nil
				break
			}
			allowed = append(allowed, e.enums[0].values...)
		}
		if allowed != nil {
			x.within(name, func() { x.add("value must be one of %s", shownList(allowed)) })
			return true
		}
	}
	return false
}

// enumAt returns the subschema of a member if it is an enum or a const.
func (x *explainer) enumAt(n *node, name string, depth int) *node {
	if !x.spend(1) {
		return nil
	}
	if s := n.props[name]; s != nil {
		if len(s.enums) > 0 {
			return s
		}
		return nil
	}
	for _, s := range slices.Concat(n.refs, n.allOf) {
		if depth < 8 {
			if e := x.enumAt(s, name, depth+1); e != nil {
				return e
			}
		}
	}
	return nil
}

// otherKind is the closeness of a branch with another type.
const otherKind = -1_000_000

// closeness scores how close a value is to a branch, without going deep.
func (x *explainer) closeness(n *node, v *value, depth int) int {
	if n.truth < 0 || !x.spend(1+len(v.text)/textPerStep) || !n.takesKind(v) {
		return otherKind
	}
	score := 0
	if len(n.enums) > 0 && !x.oneOfEnums(n, v) {
		score -= 20
	}
	if v.kind == object {
		score += x.surface(n, v)
	}
	if depth >= 8 {
		return score
	}
	for _, s := range slices.Concat(n.refs, n.allOf) {
		more := x.closeness(s, v, depth+1)
		if more <= otherKind {
			return otherKind
		}
		score += more
	}
	if depth > 2 {
		return score
	}
	for _, list := range [][]*node{n.anyOf, n.oneOf} {
		best := otherKind
		for _, s := range list {
			best = max(best, x.closeness(s, v, depth+3))
		}
		if list != nil && best <= otherKind {
			return otherKind
		}
		if list != nil {
			score += best
		}
	}
	return score
}

func (x *explainer) surface(n *node, v *value) int {
	score := 0
	for i, name := range v.names {
		s := n.props[name]
		switch {
		case s == nil && n.rest != nil && n.rest.truth < 0 && len(n.patterns) == 0:
			score -= 2
		case s == nil:
		case len(s.enums) > 0 && x.oneOfEnums(s, v.elems[i]):
			score += 20
		case len(s.enums) > 0:
			score -= 20
		case x.spend(len(v.elems[i].text)/textPerStep) && s.takesKind(v.elems[i]):
			score += 2
		}
	}
	for _, name := range n.required {
		if _, ok := v.find(name); !ok {
			score -= 2
		}
	}
	x.spend((len(n.required) + len(v.names)) / 4)
	return score
}

// kindsOf returns the types that a branch names.
func (x *explainer) kindsOf(n *node, depth int) kind {
	if n.types != 0 || depth > 8 || !x.spend(1) {
		return n.types
	}
	kinds := kind(0)
	for _, e := range n.enums {
		for _, v := range e.values {
			kinds |= v.kind
		}
	}
	for _, s := range slices.Concat(n.refs, n.allOf) {
		kinds |= x.kindsOf(s, depth+1)
	}
	if depth <= 2 {
		for _, s := range slices.Concat(n.anyOf, n.oneOf) {
			kinds |= x.kindsOf(s, depth+3)
		}
	}
	return kinds
}
