package jsonschema

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// node is a compiled subschema. A node does not change once it is compiled.
type node struct {
	id     uint32
	source *value
	truth  int  // 1 accepts everything, -1 nothing
	shared bool // several paths lead to it, so its results are remembered

	types kind // 0 allows all
	enums []*enumeration

	refs                []*node
	allOf, anyOf, oneOf []*node
	not, cond           *node
	then, otherwise     *node // of cond; nil accepts everything

	props              map[string]*node
	patterns           []patternNode
	rest               *node // additionalProperties
	propNames          *node
	required           []string
	needs              []dependency
	minProps, maxProps int
	unevaluatedProps   *node

	prefix                   []*node
	items                    *node // items after prefix
	contains                 *node
	minContains, maxContains int
	minItems, maxItems       int
	unique                   bool
	unevaluatedItems         *node
	marksContained           bool // contains evaluates items, for unevaluatedItems

	minLength, maxLength int
	pattern              *pattern
	format               *format

	bounds     []bound
	multipleOf *decimal
}

type patternNode struct {
	pattern *pattern
	node    *node
}

// dependency is the requirement of an object that has a property.
type dependency struct {
	property string
	names    []string
	schema   *node
}

// bound is one of the four limits of a number.
type bound struct {
	keyword   string
	value     decimal
	lower     bool
	exclusive bool
}

// allows reports whether a number obeys the bound.
func (b bound) allows(n decimal) bool {
	c := n.cmp(b.value)
	if c == 0 {
		return !b.exclusive
	}
	return c > 0 == b.lower
}

// enumeration is an enum, or a const as an enum of one value.
type enumeration struct {
	strings map[string]bool
	others  map[string]bool // keys of other values
	values  []*value
}

func newEnumeration(list []*value) *enumeration {
	e := &enumeration{strings: map[string]bool{}, others: map[string]bool{}, values: list}
	for _, v := range list {
		if v.kind == text {
			e.strings[v.text] = true
		} else {
			e.others[string(v.appendKey(nil))] = true
		}
	}
	return e
}

// compile makes nodes of the whole document. Its error is a [*LimitError]. Mistakes are in d.problems.
func (d *document) compile() (*node, error) {
	d.index(d.root, "", nil)
	if d.limit != nil || len(d.problems) > 0 {
		return nil, d.limit
	}
	root := d.node(d.root)
	for i := 0; i < len(d.order); i++ { // filling a node adds others
		if d.limit != nil || len(d.problems) > 0 {
			break
		}
		d.fill(d.order[i])
	}
	if d.strict && len(d.problems) == 0 { // definitions without references are checked too
		for _, v := range d.indexed {
			d.node(v)
		}
		for i := 0; i < len(d.order) && d.limit == nil; i++ {
			if n := d.order[i]; n.id == 0 {
				d.fill(n)
			}
		}
	}
	if d.limit == nil && len(d.problems) == 0 {
		d.checkCircles()
		d.markShared(root)
	}
	return root, d.limit
}

// node returns the node of a subschema. It is filled later.
func (d *document) node(v *value) *node {
	if n, ok := d.nodes[v]; ok {
		return n
	}
	n := &node{
		source: v, minProps: -1, maxProps: -1, minItems: -1, maxItems: -1, minLength: -1, maxLength: -1, minContains: -1, maxContains: -1,
	}
	d.nodes[v] = n
	d.order = append(d.order, n)
	return n
}

func (d *document) fill(n *node) {
	n.id = uint32(len(d.order)) // replaced below; not 0 marks it as filled
	v := n.source
	if v.kind == boolean {
		n.truth = -1
		if v.yes {
			n.truth = 1
		}
		return
	}
	for i, name := range v.names {
		k, known := keywords[name]
		if !known || d.draft < k.first || d.draft > k.last || d.draft <= draft07 && name != "$ref" && v.member("$ref") != nil {
			continue
		}
		d.set(n, name, v.elems[i])
	}
	if n.cond == nil {
		n.then, n.otherwise = nil, nil
	}
	slices.SortFunc(n.needs, func(a, b dependency) int { return strings.Compare(a.property, b.property) })
}

func (d *document) set(n *node, name string, v *value) {
	switch name {
	case "$ref", "$dynamicRef", "$recursiveRef":
		d.refer(n, name, v.text)
	case "type":
		for _, t := range append(slices.Clone(v.elems), v) {
			k, _ := typeNamed(t.text)
			n.types |= k
		}
	case "enum":
		n.enums = append(n.enums, newEnumeration(v.elems))
	case "const":
		n.enums = append(n.enums, newEnumeration([]*value{v}))
	case "allOf":
		n.allOf = d.list(v)
	case "anyOf":
		n.anyOf = d.list(v)
	case "oneOf":
		n.oneOf = d.list(v)
	case "not":
		n.not = d.node(v)
	case "if":
		n.cond = d.node(v)
	case "then":
		n.then = d.node(v)
	case "else":
		n.otherwise = d.node(v)
	case "format":
		if f := formats()[v.text]; f != nil && f.check != nil {
			n.format = f
		}
	case "pattern":
		n.pattern = d.pattern(v.text, nil)
	case "minLength":
		n.minLength = count(v)
	case "maxLength":
		n.maxLength = count(v)
	case "multipleOf":
		m := parseDecimal(v.text)
		n.multipleOf = &m
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		n.bound(name, v)
	default:
		if !d.setObject(n, name, v) {
			d.setArray(n, name, v)
		}
	}
}

// bound adds a limit. In draft-04 the exclusive ones are booleans that change the limit beside them.
func (n *node) bound(name string, v *value) {
	if v.kind != number {
		return
	}
	lower := strings.HasSuffix(name, "inimum")
	exclusive := strings.HasPrefix(name, "exclusive")
	if !exclusive {
		other := "exclusiveMaximum"
		if lower {
			other = "exclusiveMinimum"
		}
		b := n.source.member(other)
		exclusive = b != nil && b.kind == boolean && b.yes
	}
	n.bounds = append(n.bounds, bound{name, parseDecimal(v.text), lower, exclusive})
}

func (d *document) setObject(n *node, name string, v *value) bool {
	switch name {
	case "properties":
		n.props = make(map[string]*node, len(v.elems))
		for i, e := range v.elems {
			n.props[v.names[i]] = d.node(e)
		}
	case "patternProperties":
		for i, e := range v.elems {
			n.patterns = append(n.patterns, patternNode{d.pattern(v.names[i], nil), d.node(e)})
		}
	case "additionalProperties":
		n.rest = d.node(v)
	case "propertyNames":
		n.propNames = d.node(v)
	case "unevaluatedProperties":
		n.unevaluatedProps = d.node(v)
	case "required":
		n.required = stringsOf(v)
	case "minProperties":
		n.minProps = count(v)
	case "maxProperties":
		n.maxProps = count(v)
	case "dependentRequired", "dependentSchemas", "dependencies":
		for i, e := range v.elems {
			need := dependency{property: v.names[i]}
			if e.kind == array {
				need.names = stringsOf(e)
			} else {
				need.schema = d.node(e)
			}
			n.needs = append(n.needs, need)
		}
	default:
		return false
	}
	return true
}

func (d *document) setArray(n *node, name string, v *value) {
	switch name {
	case "prefixItems":
		n.prefix = d.list(v)
	case "items":
		if v.kind == array {
			n.prefix = d.list(v)
		} else {
			n.items = d.node(v)
		}
	case "additionalItems":
		if i := n.source.member("items"); i != nil && i.kind == array {
			n.items = d.node(v)
		}
	case "unevaluatedItems":
		n.unevaluatedItems = d.node(v)
	case "contains":
		n.contains, n.marksContained = d.node(v), d.draft >= draft2020
	case "minContains":
		n.minContains = count(v)
	case "maxContains":
		n.maxContains = count(v)
	case "minItems":
		n.minItems = count(v)
	case "maxItems":
		n.maxItems = count(v)
	case "uniqueItems":
		n.unique = v.yes
	}
}

func (d *document) list(v *value) []*node {
	out := make([]*node, len(v.elems))
	for i, e := range v.elems {
		out[i] = d.node(e)
	}
	return out
}

// refer adds a reference. A dynamic reference equals $ref if only one resource has the anchor. A schema without other documents
// needs no more than that.
func (d *document) refer(n *node, keyword, ref string) {
	at := d.at[n.source].down(keyword)
	target := d.resolve(n.source, ref, at)
	if target == nil {
		return
	}
	if _, name, _ := strings.Cut(ref, "#"); keyword == "$dynamicRef" && d.dynamic[name] > 1 || keyword == "$recursiveRef" && d.recursive > 1 {
		d.fail(at, "%.80q may lead to several subschemas, depending on the way; use $ref", ref)
		return
	}
	n.refs = append(n.refs, d.node(target))
}

func count(v *value) int {
	n := parseDecimal(v.text)
	if n.cmp(parseDecimal("1000000000000")) > 0 {
		return math.MaxInt
	}
	out := 0
	for _, c := range n.digits {
		out = out*10 + int(c-'0')
	}
	for range n.exp {
		out *= 10
	}
	return out
}

// stringsOf returns the different strings of a list.
func stringsOf(v *value) []string {
	var out []string
	seen := make(map[string]bool, len(v.elems))
	for _, e := range v.elems {
		if !seen[e.text] {
			seen[e.text] = true
			out = append(out, e.text)
		}
	}
	return out
}

// inPlace visits the subschemas that apply to the same value. below visits those that apply to a part of it.
func (n *node) inPlace(visit func(*node)) {
	for _, list := range [][]*node{n.refs, n.allOf, n.anyOf, n.oneOf, {n.not, n.cond, n.then, n.otherwise}} {
		for _, s := range list {
			if s != nil {
				visit(s)
			}
		}
	}
	for _, need := range n.needs {
		if need.schema != nil {
			visit(need.schema)
		}
	}
}

func (n *node) below(visit func(*node)) {
	for _, s := range n.props {
		visit(s)
	}
	for _, p := range n.patterns {
		visit(p.node)
	}
	for _, s := range n.prefix {
		visit(s)
	}
	for _, s := range []*node{n.rest, n.propNames, n.unevaluatedProps, n.items, n.contains, n.unevaluatedItems} {
		if s != nil {
			visit(s)
		}
	}
}

// markShared numbers the nodes and marks those with several paths to them. Only through them can a check see the same pair of a
// subschema and a value more than once; all others form trees.
func (d *document) markShared(root *node) {
	ways := map[*node]int{root: 1}
	for i, n := range d.order {
		n.id = uint32(i)
		add := func(s *node) { ways[s]++ }
		n.inPlace(add)
		n.below(add)
	}
	for n, count := range ways {
		n.shared = count > 1 && n.truth == 0
	}
}

// checkCircles reports subschemas that lead back to themselves without a step into the value. A check would not end.
func (d *document) checkCircles() {
	const (
		open = 1
		done = 2
	)
	state := map[*node]int{}
	var way []*node
	var visit func(n *node) bool
	visit = func(n *node) bool {
		switch state[n] {
		case done:
			return true
		case open:
			d.reportCircle(way[slices.Index(way, n):])
			return false
		}
		state[n] = open
		way = append(way, n)
		ok := true
		n.inPlace(func(s *node) { ok = ok && visit(s) })
		way = way[:len(way)-1]
		state[n] = done
		return ok
	}
	for _, n := range d.order {
		if !visit(n) {
			return
		}
	}
}

func (d *document) reportCircle(circle []*node) {
	var names []string
	for _, n := range circle[:min(len(circle), 5)] {
		names = append(names, d.at[n.source].pointer())
	}
	if len(circle) > 5 {
		names = append(names, "…")
	}
	names = append(names, d.at[circle[0].source].pointer())
	d.fail(d.at[circle[len(circle)-1].source], "leads back to itself and no further, so a check would not end: %s", strings.Join(names, " → "))
}

// firstProblem joins the problems of a document into one error.
func (d *document) firstProblem() error {
	if len(d.problems) == 0 {
		return nil
	}
	err := error(d.problems[0])
	if more := len(d.problems) - 1; more > 0 {
		err = fmt.Errorf("%w; and %d more", err, more)
	}
	return errors.Join(err)
}
