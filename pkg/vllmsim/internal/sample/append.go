package sample

import (
	"math"
	"strconv"
)

const (
	maxDraws = 24     // attempts for a schema that needs the validator
	maxDepth = 32     // of a value
	soft     = 4      // depth at which optional parts are omitted
	budget   = 20_000 // limit of values in one draw
)

// Source supplies the free parts of a value.
type Source struct {
	Seed uint64
	// Text returns the string for the property name; ok is false without one. It is used if the schema accepts it. A nil Text has
	// no string for any name.
	Text func(name string) (text string, ok bool)
	// Words is the text of free strings. Defaults to "simulated".
	Words string
	// Sparse omits optional properties for which Text has no string.
	Sparse bool
}

// Append appends one value as compact JSON. Equal schemas and sources give equal bytes.
func (s *Schema) Append(dst []byte, src Source) []byte {
	start := len(dst)
	for try := range maxDraws {
		g := drawing{src: src, try: try, left: budget}
		dst = g.value(dst[:start], s.root, "", 0, 0)
		if !s.hard || s.accepts(dst[start:]) {
			break
		}
	}
	return dst
}

// drawing is one attempt. Attempt 0 takes the first branches and all properties. Attempt 1 takes only required properties. Later
// attempts choose by a hash.
type drawing struct {
	src  Source
	try  int
	left int // values that may still be written
	step uint64
}

func (g *drawing) rand() uint64 {
	g.step++
	return mix(g.src.Seed ^ g.step*0x9e3779b97f4a7c15 ^ uint64(g.try)<<56)
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// choose returns an index below n: 0 in the first two attempts.
func (g *drawing) choose(n int) int {
	if g.try < 2 || n < 2 {
		return 0
	}
	return int(g.rand() % uint64(n))
}

// value appends a value for n. name is its property. item is its place in the nearest array, which makes the items of one array
// different.
func (g *drawing) value(dst []byte, n *node, name string, item, depth int) []byte {
	g.left--
	if n.never || depth > maxDepth || g.left < 0 {
		return append(dst, "null"...)
	}
	if len(n.branches) > 0 {
		return g.value(dst, g.branch(n.branches, depth), name, item, depth+1)
	}
	if len(n.enum) > 0 {
		i := (g.rand() + uint64(item)) % uint64(len(n.enum))
		if item > 0 {
			i = (mix(g.src.Seed) + uint64(item)) % uint64(len(n.enum))
		}
		return append(dst, n.enum[i]...)
	}
	switch n.types[g.choose(len(n.types))] {
	case "object":
		return g.object(dst, n, item, depth)
	case "array":
		return g.array(dst, n, name, depth)
	case "integer":
		return strconv.AppendInt(dst, g.integer(n, item), 10)
	case "number":
		return g.number(dst, n, item)
	case "boolean":
		return strconv.AppendBool(dst, (g.rand()+uint64(item))%2 == 0)
	case "string":
		return AppendString(dst, g.text(n, name, item))
	default:
		return append(dst, "null"...)
	}
}

// branch chooses an alternative. Deep inside a value it prefers one without further nesting.
func (g *drawing) branch(branches []*node, depth int) *node {
	if depth > soft {
		for _, b := range branches {
			if len(b.branches) == 0 && !b.never && (len(b.enum) > 0 || len(b.types) > 0 && b.types[0] != "object" && b.types[0] != "array") {
				return b
			}
		}
	}
	return branches[g.choose(len(branches))]
}

func (g *drawing) object(dst []byte, n *node, item, depth int) []byte {
	dst = append(dst, '{')
	count, required := 0, 0
	for _, p := range n.props {
		if p.required {
			required++
		}
	}
	optional := math.MaxInt
	if n.maxProps >= 0 {
		optional = n.maxProps - required
	}
	member := func(name string, v *node) {
		if count > 0 {
			dst = append(dst, ',')
		}
		count++
		dst = append(AppendString(dst, name), ':')
		dst = g.value(dst, v, name, item, depth+1)
	}
	for _, p := range n.props {
		if !p.required {
			if p.node.never || optional <= 0 || !g.wanted(&p, depth) {
				continue
			}
			optional--
		}
		member(p.name, p.node)
	}
	for _, p := range n.props {
		if count >= n.minProps {
			break
		}
		if !p.required && !p.node.never && !g.wanted(&p, depth) {
			member(p.name, p.node)
		}
	}
	for i := 0; count < n.minProps && !n.closed && g.left > 0; i++ {
		extra := n.extra
		if extra == nil {
			extra = newNode()
		}
		member("simulated_"+strconv.Itoa(i), extra)
	}
	return append(dst, '}')
}

// wanted reports whether an optional property is written.
func (g *drawing) wanted(p *prop, depth int) bool {
	if g.src.Sparse {
		if g.src.Text == nil || g.try > 0 || len(p.node.types) == 0 || p.node.types[0] != "string" {
			return false
		}
		_, ok := g.src.Text(p.name)
		return ok
	}
	switch {
	case depth > soft || g.try == 1:
		return false
	case g.try == 0:
		return true
	default:
		return mix(g.src.Seed^uint64(len(p.name))<<32^uint64(g.try))&1 == 0
	}
}

func (g *drawing) array(dst []byte, n *node, name string, depth int) []byte {
	size := n.minItems
	if depth <= soft && g.try != 1 {
		size = max(size, len(n.prefix), 1+g.choose(2))
	}
	if n.maxItems >= 0 {
		size = min(size, n.maxItems)
	}
	if n.items != nil && n.items.never {
		size = min(size, len(n.prefix))
	}
	dst = append(dst, '[')
	for i := range size {
		if g.left < 0 {
			break
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		item := n.items
		switch {
		case i < len(n.prefix):
			item = n.prefix[i]
		case n.contains != nil && (i < n.minItems || n.items == nil):
			item = n.contains
		case item == nil:
			item = newNode()
		}
		dst = g.value(dst, item, name, i, depth+1)
	}
	return append(dst, ']')
}
