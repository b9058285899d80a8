package jsonschema

import "unicode/utf8"

// check applies subschemas to the parts of one value. The budget limits its time, and so does the product of subschemas and
// values: it remembers pairs that can recur.
type check struct {
	*budget
	frames int
	memo   map[uint64]bool
	marked map[uint64]marks // the same for pairs with marks; nil marks mean that the value does not match
}

// marks are a set of members or items of a value, as bits: those that some subschema has evaluated. Only unevaluatedProperties
// and unevaluatedItems use them.
type marks []uint64

func newMarks(v *value) marks { return make(marks, len(v.elems)/64+1) }

func (m marks) set(i int) {
	if m != nil {
		m[i/64] |= 1 << (i % 64)
	}
}

func (m marks) has(i int) bool { return m[i/64]&(1<<(i%64)) != 0 }

func (m marks) setAll() {
	for i := range m {
		m[i] = ^uint64(0)
	}
}

func (m marks) add(other marks) {
	for i := range m {
		m[i] |= other[i]
	}
}

// eval reports whether a value matches a subschema. Unless seen is nil, it adds the evaluated members or items to seen. After
// an error of the budget its result is meaningless.
func (c *check) eval(n *node, v *value, seen marks) bool {
	if n.truth != 0 {
		return c.spend(1) && n.truth > 0
	}
	if !n.shared {
		return c.apply(n, v, seen)
	}
	key := uint64(n.id)<<32 | uint64(v.id)
	if seen == nil {
		if ok, found := c.memo[key]; found {
			return c.spend(1) && ok
		}
		ok := c.apply(n, v, nil)
		if c.err == nil && len(c.memo) < maxMemo {
			if c.memo == nil {
				c.memo = map[uint64]bool{}
			}
			c.memo[key] = ok
		}
		return ok
	}
	own, found := c.marked[key]
	if !found {
		if own = newMarks(v); !c.apply(n, v, own) {
			own = nil
		}
		if c.err == nil && len(c.marked)*len(own) < maxMemo && len(c.marked) < maxMemo {
			if c.marked == nil {
				c.marked = map[uint64]marks{}
			}
			c.marked[key] = own
		}
	}
	if own == nil || !c.spend(1+len(own)/8) {
		return false
	}
	seen.add(own)
	return true
}

// apply is eval without the memo.
func (c *check) apply(n *node, v *value, seen marks) bool {
	if c.frames++; c.frames > maxFrames && c.err == nil {
		c.err = &LimitError{"the value or its schema is nested too deeply", maxFrames}
	}
	ok := c.matches(n, v, seen)
	c.frames--
	return ok
}

func (c *check) matches(n *node, v *value, seen marks) bool {
	if !c.spend(1+len(v.text)/textPerStep) || !n.takesKind(v) || !c.oneOfEnums(n, v) {
		return false
	}
	outer := seen
	if n.unevaluatedProps != nil && v.kind == object || n.unevaluatedItems != nil && v.kind == array {
		if !c.spend(len(v.elems) / 64) {
			return false
		}
		seen = newMarks(v)
	}
	ok := false
	switch v.kind {
	case text:
		ok = c.text(n, v)
	case number:
		ok = c.number(n, v)
	case object:
		ok = c.object(n, v, seen)
	case array:
		ok = c.array(n, v, seen)
	default:
		ok = true
	}
	if !ok || !c.combined(n, v, seen) || !c.unevaluated(n, v, seen) {
		return false
	}
	if outer != nil {
		outer.add(seen)
	}
	return true
}

func (n *node) takesKind(v *value) bool {
	if n.types == 0 || n.types&v.kind != 0 {
		return true
	}
	return v.kind == number && n.types&integer != 0 && isInteger(v.text)
}

func isInteger(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') {
			return parseDecimal(s).integer()
		}
	}
	return true
}

func (c *check) oneOfEnums(n *node, v *value) bool {
	for _, e := range n.enums {
		if v.kind == text {
			if !c.spend(len(v.text)/textPerStep) || !e.strings[v.text] {
				return false
			}
			continue
		}
		if len(e.others) == 0 || !c.spend(v.size()) || !e.others[string(v.appendKey(nil))] {
			return false
		}
	}
	return true
}

func (c *check) text(n *node, v *value) bool {
	if n.minLength >= 0 || n.maxLength >= 0 {
		length := utf8.RuneCountInString(v.text)
		if length < n.minLength || n.maxLength >= 0 && length > n.maxLength {
			return false
		}
	}
	if n.pattern != nil && !n.pattern.match(v.text, c.budget) {
		return false
	}
	return n.format == nil || n.format.numbers || c.fits(n.format, v.text) == nil
}

func (c *check) fits(f *format, s string) error {
	if len(s) > maxFormat {
		return &LimitError{"the text is too long", maxFormat}
	}
	if !c.spend(1 + len(s)/64) {
		return c.err
	}
	return f.check(s)
}

func (c *check) number(n *node, v *value) bool {
	if len(n.bounds) == 0 && n.multipleOf == nil && n.format == nil {
		return true
	}
	if !c.spend(1 + len(v.text)/64) {
		return false
	}
	d := parseDecimal(v.text)
	for _, b := range n.bounds {
		if !b.allows(d) {
			return false
		}
	}
	if n.multipleOf != nil && (!c.spend(len(v.text)*len(n.multipleOf.digits)/64) || !d.multipleOf(*n.multipleOf)) {
		return false
	}
	return n.format == nil || !n.format.numbers || n.format.check(v.text) == nil
}

func (c *check) object(n *node, v *value, seen marks) bool {
	if len(v.names) < n.minProps || n.maxProps >= 0 && len(v.names) > n.maxProps {
		return false
	}
	if !c.spend((len(n.required) + len(n.needs)) / 8) {
		return false
	}
	for _, name := range n.required {
		if _, ok := v.find(name); !ok {
			return false
		}
	}
	for _, need := range n.needs {
		if _, has := v.find(need.property); !has {
			continue
		}
		if !c.spend(len(need.names) / 8) {
			return false
		}
		for _, name := range need.names {
			if _, ok := v.find(name); !ok {
				return false
			}
		}
		if need.schema != nil && !c.eval(need.schema, v, seen) {
			return false
		}
	}
	if n.props == nil && n.patterns == nil && n.rest == nil && n.propNames == nil {
		return true
	}
	for i, name := range v.names {
		if !c.member(n, name, v.elems[i], i, seen) {
			return false
		}
	}
	return true
}

// member applies to one member all subschemas for it.
func (c *check) member(n *node, name string, v *value, i int, seen marks) bool {
	evaluated := false
	if s := n.props[name]; s != nil {
		evaluated = true
		if !c.eval(s, v, nil) {
			return false
		}
	}
	for _, p := range n.patterns {
		if p.pattern.match(name, c.budget) {
			evaluated = true
			if !c.eval(p.node, v, nil) {
				return false
			}
		}
	}
	if !evaluated && n.rest != nil {
		evaluated = true
		if !c.eval(n.rest, v, nil) {
			return false
		}
	}
	if evaluated {
		seen.set(i)
	}
	return (n.propNames == nil || c.eval(n.propNames, c.nameOf(name, v), nil)) && c.spend(1)
}

// nameOf returns a member's name as a value. Its ID is the member's ID with the highest bit set. No other value has that bit,
// because there are fewer values than steps.
func (c *check) nameOf(name string, v *value) *value {
	return &value{kind: text, text: name, id: v.id | 1<<31}
}

func (c *check) array(n *node, v *value, seen marks) bool {
	if len(v.elems) < n.minItems || n.maxItems >= 0 && len(v.elems) > n.maxItems {
		return false
	}
	for i, e := range v.elems {
		s := n.itemAt(i)
		if s == nil {
			break
		}
		if !c.eval(s, e, nil) {
			return false
		}
		seen.set(i)
	}
	if n.contains != nil && !n.countFits(c.contained(n, v, seen)) {
		return false
	}
	if n.unique {
		if i, _ := c.duplicate(v); i >= 0 {
			return false
		}
	}
	return true
}

// itemAt returns the subschema of an item by its index; nil accepts everything.
func (n *node) itemAt(i int) *node {
	if i < len(n.prefix) {
		return n.prefix[i]
	}
	return n.items
}

// contained counts the items that match contains.
func (c *check) contained(n *node, v *value, seen marks) int {
	found := 0
	for i, e := range v.elems {
		if c.eval(n.contains, e, nil) {
			found++
			if n.marksContained {
				seen.set(i)
			}
		}
	}
	return found
}

func (n *node) countFits(found int) bool {
	return found >= n.leastContained() && (n.maxContains < 0 || found <= n.maxContains)
}

func (n *node) leastContained() int {
	if n.minContains >= 0 {
		return n.minContains
	}
	return 1
}

// duplicate finds the first two items that are equal, or -1.
func (c *check) duplicate(v *value) (int, int) {
	if len(v.elems) < 2 || !c.spend(v.size()) {
		return -1, -1
	}
	seen := make(map[string]int, len(v.elems))
	for i, e := range v.elems {
		key := string(e.appendKey(nil))
		if first, twice := seen[key]; twice {
			return first, i
		}
		seen[key] = i
	}
	return -1, -1
}

// combined applies the subschemas for the same value.
func (c *check) combined(n *node, v *value, seen marks) bool {
	for _, s := range n.refs {
		if !c.eval(s, v, seen) {
			return false
		}
	}
	for _, s := range n.allOf {
		if !c.eval(s, v, seen) {
			return false
		}
	}
	if n.anyOf != nil && c.matching(n.anyOf, v, seen, seen == nil) == 0 {
		return false
	}
	if n.oneOf != nil && c.matching(n.oneOf, v, seen, false) != 1 {
		return false
	}
	if n.not != nil && c.eval(n.not, v, nil) {
		return false
	}
	if n.cond == nil {
		return true
	}
	branch := n.otherwise
	if c.trial(n.cond, v, seen) {
		branch = n.then
	}
	return branch == nil || c.eval(branch, v, seen)
}

// matching counts the branches that match. With enough set, it stops at the first one.
func (c *check) matching(branches []*node, v *value, seen marks, enough bool) int {
	found := 0
	for _, s := range branches {
		if c.trial(s, v, seen) {
			if found++; enough {
				break
			}
		}
		if c.err != nil {
			break
		}
	}
	return found
}

// trial applies a subschema that may fail. Its marks count only if it matches.
func (c *check) trial(s *node, v *value, seen marks) bool {
	if seen == nil {
		return c.eval(s, v, nil)
	}
	own := newMarks(v)
	if !c.spend(len(own)/8) || !c.eval(s, v, own) {
		return false
	}
	seen.add(own)
	return true
}

func (c *check) unevaluated(n *node, v *value, seen marks) bool {
	s := n.unevaluatedProps
	if v.kind == array {
		s = n.unevaluatedItems
	}
	if s == nil || v.kind&(array|object) == 0 {
		return true
	}
	if !c.spend(len(v.elems) / 16) {
		return false
	}
	for i, e := range v.elems {
		if !seen.has(i) && !c.eval(s, e, nil) {
			return false
		}
	}
	seen.setAll()
	return true
}
