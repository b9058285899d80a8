package jsonschema

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// place is a position in a schema, from the root down.
type place struct {
	up    *place
	token string
}

func (p *place) down(tokens ...string) *place {
	for _, t := range tokens {
		p = &place{p, t}
	}
	return p
}

func (p *place) tokens() []string {
	if p == nil {
		return nil
	}
	return append(p.up.tokens(), p.token)
}

var (
	escapeToken   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapeToken = strings.NewReplacer("~1", "/", "~0", "~")
)

// pointer returns the place as a JSON pointer.
func (p *place) pointer() string {
	var b strings.Builder
	b.WriteByte('#')
	for _, t := range p.tokens() {
		b.WriteString("/" + escapeToken.Replace(t))
	}
	return b.String()
}

// document is a schema's text while it is compiled.
type document struct {
	root  *value
	draft draft
	// strict reports mistakes that [Compile] tolerates: unknown keywords, and schemas that their authors cannot have meant.
	strict bool

	base      map[*value]string // URL of the resource that a subschema belongs to
	at        map[*value]*place // of each subschema
	indexed   []*value          // the subschemas in the order of the text
	resources map[string]*value // by URL
	anchors   map[string]*value // by URL#name
	dynamic   map[string]int    // $dynamicAnchor: how many resources have it
	recursive int               // $recursiveAnchor: how many resources have it
	unknown   []unknownKeyword
	held      map[*value]bool // values of unknown keywords that a $ref points into

	wide     map[*value]map[string]*value // members of objects that references lead through
	patterns map[string]*pattern
	nodes    map[*value]*node
	order    []*node
	problems []Problem
	limit    error // why the schema is too large
}

type unknownKeyword struct {
	name  string
	value *value
	at    *place
}

// Problem is a mistake in a schema, or in a value.
type Problem struct {
	At      []string // path from the root: names and indexes
	Message string
}

func (p Problem) Error() string {
	if len(p.At) == 0 {
		return p.Message
	}
	var at *place
	return "at " + strings.TrimPrefix(at.down(p.At...).pointer(), "#") + ": " + p.Message
}

func (d *document) fail(at *place, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{at.tokens(), fmt.Sprintf(format, args...)})
	}
}

// newDocument determines the draft of a parsed schema.
func newDocument(root *value, strict bool) (*document, error) {
	d := &document{
		root: root, draft: draft2020, strict: strict,
		base: map[*value]string{}, at: map[*value]*place{}, resources: map[string]*value{}, anchors: map[string]*value{},
		dynamic: map[string]int{}, held: map[*value]bool{}, wide: map[*value]map[string]*value{}, patterns: map[string]*pattern{}, nodes: map[*value]*node{},
	}
	if name := root.member("$schema"); name != nil {
		var ok bool
		if d.draft, ok = draftOf(name.text); !ok {
			return nil, Problem{[]string{"$schema"}, fmt.Sprintf(
				"%.100q is no known draft; leave $schema out, or set it to https://json-schema.org/draft/2020-12/schema or to draft-04, draft-06, draft-07 or 2019-09", name.text)}
		}
	}
	return d, nil
}

// index registers a subschema and all subschemas below it: place, URL and anchors. It checks the form of each keyword.
func (d *document) index(v *value, base string, at *place) {
	if _, done := d.at[v]; done || d.limit != nil {
		return
	}
	if len(d.at) >= MaxSubschemas {
		d.limit = &LimitError{"the schema has too many subschemas", MaxSubschemas}
		return
	}
	d.at[v], d.base[v] = at, base
	d.indexed = append(d.indexed, v)
	if at == nil {
		d.resources[base] = v
	}
	if v.kind == boolean {
		if d.draft == draft04 && d.strict {
			d.fail(at, "got boolean, want object: %s has no schema true or false", d.draft)
		}
		return
	}
	if v.kind != object {
		d.fail(at, "%s", notASchema(v))
		return
	}
	base = d.identify(v, base, at)
	for i, name := range v.names {
		d.keyword(v, name, v.elems[i], base, at)
	}
}

func notASchema(v *value) string {
	if v.kind == text {
		if _, known := typeNamed(v.text); known {
			return fmt.Sprintf("got string, want a schema: write {\"type\": %q}", v.text)
		}
	}
	return fmt.Sprintf("got %s, want boolean or object", v.kind)
}

// identify registers $id and anchors. It returns the URL that references below are relative to.
func (d *document) identify(v *value, base string, at *place) string {
	if d.draft <= draft07 && v.member("$ref") != nil {
		return base
	}
	name := "$id"
	if d.draft == draft04 {
		name = "id"
	}
	if id := v.member(name); id != nil && id.kind == text {
		full, fragment := resolveURL(base, id.text)
		if len(full) > maxURL {
			d.limit = &LimitError{fmt.Sprintf("the %s %.40q… has %d bytes with those around it", name, full, len(full)), maxURL}
			return base
		}
		if fragment != "" && d.draft <= draft07 {
			d.anchors[full+"#"+fragment] = v
		}
		if id.text != "" && !strings.HasPrefix(id.text, "#") {
			if other, taken := d.resources[full]; taken && other != v {
				d.fail(at.down(name), "%.100q is the %s of two subschemas", id.text, name)
			}
			base = full
			d.resources[base] = v
			d.base[v] = base
		}
	}
	for _, name := range []string{"$anchor", "$dynamicAnchor"} {
		a := v.member(name)
		if a == nil || a.kind != text || d.draft < draft2019 {
			continue
		}
		key := base + "#" + a.text
		if other, taken := d.anchors[key]; taken && other != v {
			d.fail(at.down(name), "%.100q is the anchor of two subschemas", a.text)
		}
		d.anchors[key] = v
		if name == "$dynamicAnchor" {
			d.dynamic[a.text]++
		}
	}
	if a := v.member("$recursiveAnchor"); a != nil && a.yes {
		d.recursive++
	}
	return base
}

// resolveURL returns the absolute URL of a reference and its fragment.
func resolveURL(base, ref string) (full, fragment string) {
	r, err := url.Parse(ref)
	if err != nil {
		before, after, _ := strings.Cut(ref, "#")
		return before, after
	}
	b, err := url.Parse(base)
	if err != nil {
		b = &url.URL{}
	}
	u := b.ResolveReference(r)
	fragment = u.Fragment
	u.Fragment, u.RawFragment = "", ""
	if r.Scheme == "" && r.Host == "" && r.Path == "" && r.Opaque == "" {
		return base, fragment
	}
	return u.String(), fragment
}

// keyword checks one member of a schema and indexes the schemas in it.
func (d *document) keyword(schema *value, name string, v *value, base string, at *place) {
	k, known := keywords[name]
	here := at.down(name)
	if !known {
		if !annotation(name) {
			d.unknown = append(d.unknown, unknownKeyword{name, v, here})
		}
		return
	}
	if d.strict {
		d.checkUse(schema, name, k, here)
	}
	if d.draft < k.first || d.draft > k.last {
		return
	}
	if !d.checkShape(name, k.shape, v, here) {
		return
	}
	each(k.shape, v, here, func(sub *value, at *place) { d.index(sub, base, at) })
}

// each visits the schemas in the value of a keyword.
func each(s shape, v *value, at *place, visit func(*value, *place)) {
	list := s == listOfSchemas || s == schemaOrList && v.kind == array
	for i, e := range v.elems {
		switch {
		case list:
			visit(e, at.down(strconv.Itoa(i)))
		case s == mapOfSchemas || s == mapOfPatterns || s == schemasOrLists && e.kind != array:
			visit(e, at.down(v.names[i]))
		}
	}
	if s == aSchema || s == schemaOrList && v.kind != array {
		visit(v, at)
	}
}

// resolve returns the target of a reference. It reports a reference without a target and returns nil.
func (d *document) resolve(from *value, ref string, at *place) *value {
	base := d.base[from]
	full, fragment := resolveURL(base, ref)
	root, ok := d.resources[full]
	if !ok {
		d.fail(at, "%.100q: a $ref may only point inside the schema (#/$defs/…); nothing is loaded from elsewhere", ref)
		return nil
	}
	if fragment == "" {
		return root
	}
	if !strings.HasPrefix(fragment, "/") {
		target, ok := d.anchors[full+"#"+fragment]
		if !ok {
			d.fail(at, "%.100q leads nowhere: no subschema has this anchor", ref)
		}
		return target
	}
	target, to := root, d.at[root]
	for _, token := range strings.Split(fragment[1:], "/") {
		token = unescapeToken.Replace(token)
		if target = d.step(target, token); target == nil {
			d.fail(at, "%.100q leads nowhere: %.80q is missing", ref, token)
			return nil
		}
		to = to.down(token)
		if b, ok := d.base[target]; ok {
			base = b
		} else {
			d.held[target] = true
		}
	}
	if target.kind != object && target.kind != boolean {
		d.fail(at, "%.100q points at no schema: got %s, want boolean or object", ref, target.kind)
		return nil
	}
	d.index(target, base, to)
	return target
}

// step returns the part of a value that a token of a JSON pointer names. It indexes wide objects, because many references lead
// through the same one.
func (d *document) step(v *value, token string) *value {
	if v.kind == object && len(v.names) > 32 {
		members, ok := d.wide[v]
		if !ok {
			members = make(map[string]*value, len(v.names))
			for i, name := range v.names {
				members[name] = v.elems[i]
			}
			d.wide[v] = members
		}
		return members[token]
	}
	if v.kind == object {
		return v.member(token)
	}
	if i, err := strconv.Atoi(token); err == nil && v.kind == array && i >= 0 && i < len(v.elems) {
		return v.elems[i]
	}
	return nil
}
