package jsonschema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxShown   = 3   // problems in one message
	maxMessage = 600 // bytes of one message
	maxListed  = 10  // values of an enum, or names, in one problem
	maxQuoted  = 80  // bytes of one value
)

// InvalidError describes the parts of a value that do not match. Its text is short enough for a model.
type InvalidError struct {
	Problems []Problem
	More     bool // not all problems were collected
}

func (e *InvalidError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		line := p.Message
		if len(p.At) > 0 {
			line = "at " + strings.Join(p.At, ".") + ": " + line
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "the value does not match the schema"
	}
	out := strings.Join(lines[:min(len(lines), maxShown)], "; ")
	if len(out) > maxMessage {
		out = strings.ToValidUTF8(out[:maxMessage], "") + "…"
	}
	switch more := len(lines) - maxShown; {
	case e.More:
		out += "; and many more"
	case more > 0:
		out += fmt.Sprintf("; and %d more", more)
	}
	return out
}

// explainer collects the reasons why a value does not match. It follows one branch of an anyOf, so its work grows with the
// value and not with the number of paths through the schema.
type explainer struct {
	check
	at       []string
	problems []Problem
	more     bool
}

func (x *explainer) add(message string, args ...any) {
	if len(x.problems) >= maxProblems {
		x.more = true
		return
	}
	x.problems = append(x.problems, Problem{slices.Clone(x.at), fmt.Sprintf(message, args...)})
}

func (x *explainer) within(token string, explain func()) {
	x.at = append(x.at, token)
	explain()
	x.at = x.at[:len(x.at)-1]
}

// explain collects the problems of a value that does not match a subschema.
func (x *explainer) explain(n *node, v *value) {
	if x.more || !x.spend(1) {
		x.more = true
		return
	}
	before := len(x.problems)
	switch {
	case n.truth < 0:
		x.add("nothing is allowed here")
	case !n.takesKind(v):
		x.add("got %s, want %s", kindOf(v, n.types), n.types)
	case !x.oneOfEnums(n, v):
		x.enums(n, v)
	default:
		switch v.kind {
		case text:
			x.explainText(n, v)
		case number:
			x.explainNumber(n, v)
		case object:
			x.explainObject(n, v)
		case array:
			x.explainArray(n, v)
		}
		x.explainCombined(n, v)
		if len(x.problems) == before && !x.more {
			x.explainUnevaluated(n, v)
		}
	}
}

// kindOf returns the type of a value. It calls a number an integer only if types contain integer.
func kindOf(v *value, types kind) string {
	if v.kind == number && types&integer != 0 {
		return "number"
	}
	return v.kind.String()
}

func (x *explainer) enums(n *node, v *value) {
	for _, e := range n.enums {
		if v.kind == text && e.strings[v.text] || v.kind != text && e.others[string(v.appendKey(nil))] {
			continue
		}
		if len(e.values) == 1 {
			x.add("value must be %s", shown(e.values[0]))
		} else {
			x.add("value must be one of %s", shownList(e.values))
		}
		return
	}
}

func shown(v *value) string {
	out := string(v.appendJSON(nil))
	if v.kind == text {
		out = "'" + v.text + "'"
	}
	return cut(out)
}

// shownNumber cuts a long number in the middle, so that its size and its last digits show.
func shownNumber(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most/2] + "…" + s[len(s)-most/2:]
}

func cut(s string) string {
	if len(s) > maxQuoted {
		return strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return s
}

func shownList(values []*value) string {
	parts := make([]string, 0, maxListed)
	for _, v := range values[:min(len(values), maxListed)] {
		parts = append(parts, shown(v))
	}
	if more := len(values) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d others", strings.Join(parts, ", "), more)
	}
	return strings.Join(parts, ", ")
}

func quoted(names []string) string {
	parts := make([]string, 0, maxListed)
	for _, n := range names[:min(len(names), maxListed)] {
		parts = append(parts, strconv.Quote(cut(n)))
	}
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d others", strings.Join(parts, ", "), more)
	}
	return strings.Join(parts, ", ")
}

func (x *explainer) explainText(n *node, v *value) {
	length := utf8.RuneCountInString(v.text)
	if length < n.minLength {
		x.add("minLength: got %d, want %d", length, n.minLength)
	}
	if n.maxLength >= 0 && length > n.maxLength {
		x.add("maxLength: got %d, want %d", length, n.maxLength)
	}
	if n.pattern != nil && !n.pattern.match(v.text, x.budget) {
		x.add("'%s' does not match the pattern '%s'", cut(v.text), cut(n.pattern.text))
	}
	if n.format != nil && !n.format.numbers {
		if err := x.fits(n.format, v.text); err != nil {
			why := cut(err.Error())
			if example, ok := examples[n.format.name]; ok {
				why = "write it as " + example
			}
			x.add("'%s' is not a valid %s: %s", cut(v.text), n.format.name, why)
		}
	}
}

func (x *explainer) explainNumber(n *node, v *value) {
	d := parseDecimal(v.text)
	for _, b := range n.bounds {
		if !b.allows(d) {
			than := ""
			if b.exclusive {
				than = "less than "
				if b.lower {
					than = "more than "
				}
			}
			x.add("%s: got %s, want %s%s", b.keyword, shownNumber(v.text), than, shownNumber(b.value.String()))
		}
	}
	if n.multipleOf != nil && !d.multipleOf(*n.multipleOf) {
		x.add("multipleOf: got %s, want a multiple of %s", shownNumber(v.text), shownNumber(n.multipleOf.String()))
	}
	if n.format != nil && n.format.numbers {
		if err := n.format.check(v.text); err != nil {
			x.add("%s is not a valid %s: %v", shownNumber(v.text), n.format.name, err)
		}
	}
}

func (x *explainer) explainObject(n *node, v *value) {
	x.missing(n.required, v, "")
	if len(v.names) < n.minProps {
		x.add("minProperties: got %d, want %d", len(v.names), n.minProps)
	}
	if n.maxProps >= 0 && len(v.names) > n.maxProps {
		x.add("maxProperties: got %d, want %d", len(v.names), n.maxProps)
	}
	for _, need := range n.needs {
		if _, has := v.find(need.property); !has {
			continue
		}
		x.missing(need.names, v, fmt.Sprintf(", which %q needs", cut(need.property)))
		if need.schema != nil && !x.eval(need.schema, v, nil) {
			x.explain(need.schema, v)
		}
	}
	var unknown []string
	for i, name := range v.names {
		e := v.elems[i]
		if n.propNames != nil && !x.eval(n.propNames, x.nameOf(name, e), nil) {
			x.within(name, func() { x.explain(n.propNames, x.nameOf(name, e)) })
		}
		applied := x.describing(n, name)
		if len(applied) == 0 && n.rest != nil {
			if n.rest.truth < 0 {
				unknown = append(unknown, name)
				continue
			}
			applied = append(applied, n.rest)
		}
		for _, s := range applied {
			if !x.eval(s, e, nil) {
				x.within(name, func() { x.explain(s, e) })
			}
		}
	}
	if len(unknown) > 0 {
		x.add("unknown %s", quoted(unknown))
	}
}

// describing returns the subschemas for a member of this name.
func (x *explainer) describing(n *node, name string) []*node {
	var out []*node
	if s := n.props[name]; s != nil {
		out = append(out, s)
	}
	for _, p := range n.patterns {
		if p.pattern.match(name, x.budget) {
			out = append(out, p.node)
		}
	}
	return out
}

func (x *explainer) missing(names []string, v *value, why string) {
	var missing []string
	for _, name := range names {
		if _, ok := v.find(name); !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		x.add("missing %s%s", quoted(missing), why)
	}
}

func (x *explainer) explainArray(n *node, v *value) {
	if len(v.elems) < n.minItems {
		x.add("minItems: got %d, want %d", len(v.elems), n.minItems)
	}
	if n.maxItems >= 0 && len(v.elems) > n.maxItems {
		x.add("maxItems: got %d, want %d", len(v.elems), n.maxItems)
	}
	for i, e := range v.elems {
		s := n.itemAt(i)
		if s == nil {
			break
		}
		if x.eval(s, e, nil) {
			continue
		}
		if s.truth < 0 {
			x.add("got %d items, want at most %d", len(v.elems), i)
			break
		}
		x.within(strconv.Itoa(i), func() { x.explain(s, e) })
	}
	if n.contains != nil {
		if found := x.contained(n, v, nil); !n.countFits(found) {
			want := fmt.Sprintf("at least %d", n.leastContained())
			if found >= n.leastContained() {
				want = fmt.Sprintf("at most %d", n.maxContains)
			}
			x.add("contains: %d items match, want %s", found, want)
		}
	}
	if n.unique {
		if i, j := x.duplicate(v); i >= 0 {
			x.add("items at %d and %d are equal", i, j)
		}
	}
}

func (x *explainer) explainUnevaluated(n *node, v *value) {
	s, seen := n.unevaluatedProps, newMarks(v)
	if v.kind == array {
		s = n.unevaluatedItems
	}
	if s == nil || v.kind&(array|object) == 0 {
		return
	}
	inner := *n
	inner.unevaluatedProps, inner.unevaluatedItems = nil, nil
	x.apply(&inner, v, seen)
	var unknown []string
	for i, e := range v.elems {
		if seen.has(i) || x.eval(s, e, nil) {
			continue
		}
		name := strconv.Itoa(i)
		if v.kind == object {
			name = v.names[i]
		}
		if s.truth < 0 {
			unknown = append(unknown, name)
			continue
		}
		x.within(name, func() { x.explain(s, e) })
	}
	switch {
	case len(unknown) > 0 && v.kind == object:
		x.add("unknown %s", quoted(unknown))
	case len(unknown) > 0:
		x.add("items %s are not allowed", strings.Join(unknown[:min(len(unknown), maxListed)], ", "))
	}
}
