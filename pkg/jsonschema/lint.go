package jsonschema

import (
	"fmt"
	"slices"
	"strings"
)

// Report is the result of [Lint].
type Report struct {
	// Schema is the schema to use: without a wrapper, and with null among the types where nullable allowed it. It keeps the
	// order of members. It is nil if there are problems.
	Schema   []byte
	Problems []Problem // in the order of the text
	Hints    []Problem // likely mistakes that do no harm
}

// Lint reports every mistake in a schema that a user wrote: unknown keywords, keywords that the draft ignores, values of the
// wrong form, references without a target or in circles, a schema that accepts everything, and one that accepts nothing. Its
// error is a *[LimitError], or describes why the text is not JSON.
func Lint(data []byte) (Report, error) {
	root, err := parse(data)
	if err != nil {
		return Report{}, err
	}
	if root.kind != object {
		return Report{Problems: []Problem{{Message: "a schema must be a mapping"}}}, nil
	}
	root, wrapped := unwrap(root)
	if why := otherDocument(root); why != "" {
		return Report{Problems: []Problem{{At: wrapped, Message: why}}}, nil
	}
	report, err := lint(root)
	for _, list := range [][]Problem{report.Problems, report.Hints} {
		for i := range list {
			list[i].At = append(slices.Clone(wrapped), list[i].At...)
		}
	}
	return report, err
}

func lint(root *value) (Report, error) {
	d, err := newDocument(root, true)
	if p, ok := err.(Problem); ok {
		return Report{Problems: []Problem{p}}, nil
	}
	// The first pass reads the schema as written, the second with nullable translated.
	d.index(root, "", nil)
	if d.limit != nil {
		return Report{}, d.limit
	}
	if len(d.problems) > 0 {
		d.reportUnknown()
		return Report{Problems: d.problems}, nil
	}
	plain, err := d.withoutNullable()
	if err != nil {
		return Report{Problems: []Problem{err.(Problem)}}, nil
	}
	if plain != root {
		if d, err = newDocument(plain, true); err != nil {
			return Report{}, err
		}
	}
	s, err := d.compile()
	if err != nil {
		return Report{}, err
	}
	d.reportUnknown()
	hints := append(d.missingProperties(), d.uselessKeywords()...)
	if len(d.problems) == 0 {
		hints = append(hints, d.analyse(s)...)
	}
	if len(d.problems) > 0 {
		return Report{Problems: d.problems, Hints: hints}, nil
	}
	return Report{Schema: plain.appendJSON(nil), Hints: hints}, nil
}

// reportUnknown reports unknown keywords, unless they hold schemas that a $ref uses.
func (d *document) reportUnknown() {
	for _, u := range d.unknown {
		if !d.held[u.value] && len(d.problems) < maxProblems {
			d.fail(u.at, "%s", unknownMessage(u.name, u.value))
		}
	}
}

func unknownMessage(name string, v *value) string {
	meant := nearestKeyword(name)
	_, typed := typeNamed(v.text)
	like := distanceRatio(name, meant)
	switch {
	case strings.EqualFold(name, "json_schema") || strings.EqualFold(name, "response_format"):
		return fmt.Sprintf("%q is no keyword of JSON Schema; give only the schema itself", name)
	case !like && (v.kind == text && typed || v.kind == object && v.member("type") != nil):
		return fmt.Sprintf("%.80q is no keyword of JSON Schema; describe the fields of an object under \"properties\", each by a schema such as {\"type\": \"string\"}", name)
	case like:
		return fmt.Sprintf("%.80q is no keyword of JSON Schema; the nearest one is %q", name, meant)
	}
	return fmt.Sprintf("%.80q is no keyword of JSON Schema; leave it out, or give it a name that begins with x- if it is an annotation. Fields of an object stand under \"properties\"", name)
}

// distanceRatio reports whether one name is likely a misspelling of the other.
func distanceRatio(name, meant string) bool {
	if mistaken[strings.ToLower(name)] == meant {
		return true
	}
	return len(name) > 1 && nearestDistance(name, meant)*3 <= max(len(name), 3)
}

// checkUse reports a keyword that has no effect in its place.
func (d *document) checkUse(schema *value, name string, k keyword, at *place) {
	has := func(name string) bool { return schema.member(name) != nil }
	switch {
	case d.draft < k.first || d.draft > k.last:
		d.fail(at, "%s does not have this keyword and ignores it; %s", d.draft, k.advice)
	case d.draft <= draft07 && k.asserts && name != "$ref" && has("$ref"):
		d.fail(at, "%s ignores keywords beside $ref; put both into allOf", d.draft)
	case (name == "then" || name == "else") && !has("if"):
		d.fail(at, "has no effect without \"if\" beside it")
	case (name == "minContains" || name == "maxContains") && !has("contains"):
		d.fail(at, "has no effect without \"contains\" beside it")
	}
}

var otherTypes = map[string]string{
	"str": "string", "text": "string", "int": "integer", "float": "number", "double": "number", "decimal": "number", "bool": "boolean",
	"dict": "object", "map": "object", "record": "object", "json_object": "object", "list": "array", "tuple": "array", "none": "null", "nil": "null",
	"date": "string", "datetime": "string", "timestamp": "string", "uuid": "string", "enum": "string", "url": "string",
}

// typeNamed returns the type with this name.
func typeNamed(name string) (kind, bool) {
	for _, k := range kindNames {
		if k.name == name {
			return k.kind, true
		}
	}
	return 0, false
}

func unknownType(name string) string {
	var known []string
	for _, k := range kindNames {
		known = append(known, k.name)
	}
	meant := nearest(name, append(sortedKeys(otherTypes), known...))
	if of, ok := otherTypes[meant]; ok {
		meant = of
	}
	return fmt.Sprintf("%.40q is no type; the nearest one is %q, and the known ones are %s", name, meant, strings.Join(known, ", "))
}

// checkShape reports whether the value of a keyword has the required form.
func (d *document) checkShape(name string, s shape, v *value, at *place) bool {
	before := len(d.problems)
	want := func(k kind) bool {
		if v.kind&k == 0 {
			d.fail(at, "got %s, want %s", v.kind, k)
			return false
		}
		return true
	}
	switch s {
	case listOfSchemas:
		if want(array) && len(v.elems) == 0 && d.strict {
			d.fail(at, "needs at least one schema")
		}
	case mapOfSchemas, schemasOrLists:
		want(object)
	case schemaOrList:
		if v.kind == array && d.draft >= draft2020 {
			d.fail(at, "got array, want boolean or object: %s has prefixItems for a list; or set $schema to the draft that the schema is written for", d.draft)
		}
	case typeNames:
		d.checkTypes(v, at)
	case values:
		if want(array) && len(v.elems) == 0 && d.strict {
			d.fail(at, "has no value, so nothing can match")
		}
	case aNumber:
		want(number)
	case aPositive:
		if want(number) && parseDecimal(v.text).sign() <= 0 {
			d.fail(at, "got %.40s, want a number above 0", v.text)
		}
	case aCount:
		if want(number) {
			if n := parseDecimal(v.text); n.sign() < 0 || !n.integer() {
				d.fail(at, "got %.40s, want an integer from 0", v.text)
			}
		}
	case aBoolean:
		want(boolean)
	case numberOrBoolean:
		d.checkExclusive(name, v, at)
	case aString, aFormat:
		if !want(text) {
			break
		}
		if len(v.text) > MaxReference && strings.HasPrefix(name, "$") || len(v.text) > MaxReference && name == "id" {
			d.limit = &LimitError{fmt.Sprintf("the %s %.40q… has %d bytes", name, v.text, len(v.text)), MaxReference}
			return false
		}
		if s == aFormat {
			d.checkFormat(v.text, at)
		}
	case strings1:
		d.checkStrings(v, at)
	case mapOfStrings:
		if want(object) {
			for i, e := range v.elems {
				d.checkStrings(e, at.down(v.names[i]))
			}
		}
	case aPattern:
		if want(text) {
			d.pattern(v.text, at)
		}
	case mapOfPatterns:
		if want(object) {
			for _, p := range v.names {
				d.pattern(p, at.down(p))
			}
		}
	}
	return len(d.problems) == before
}

func (d *document) checkTypes(v *value, at *place) {
	switch {
	case v.kind == text:
		if _, ok := typeNamed(v.text); !ok {
			d.fail(at, "%s", unknownType(v.text))
		}
	case v.kind != array:
		d.fail(at, "got %s, want the name of a type, or a list of such names", v.kind)
	case len(v.elems) == 0:
		d.fail(at, "names no type, so nothing can match")
	default:
		for i, e := range v.elems {
			if _, ok := typeNamed(e.text); e.kind != text || !ok {
				d.fail(at.down(fmt.Sprint(i)), "%s", unknownType(e.text))
			}
		}
	}
}

func (d *document) checkExclusive(name string, v *value, at *place) {
	bound := "minimum"
	if name == "exclusiveMaximum" {
		bound = "maximum"
	}
	switch {
	case v.kind != number && v.kind != boolean:
		d.fail(at, "got %s, want number", v.kind)
	case d.draft == draft04 && v.kind == number:
		d.fail(at, "got number, want boolean: %s has it beside %s", d.draft, bound)
	case d.draft != draft04 && v.kind == boolean:
		d.fail(at, "got boolean, want number: write %s: N instead of %s: N, or set $schema to draft-04", name, bound)
	}
}

func (d *document) checkStrings(v *value, at *place) {
	if v.kind != array {
		if v.kind == boolean {
			d.fail(at, "got boolean, want array: list the names of required properties beside \"properties\"")
		} else {
			d.fail(at, "got %s, want array", v.kind)
		}
		return
	}
	for i, e := range v.elems {
		if e.kind != text {
			d.fail(at.down(fmt.Sprint(i)), "got %s, want string", e.kind)
		}
	}
}

func (d *document) checkFormat(name string, at *place) {
	if _, known := formats()[name]; !known && d.strict {
		d.fail(at, "unknown format %.80q, which would not be checked; the nearest one is %q. Use pattern, or name it x-format", name, nearest(name, formatNames()))
	}
}

// pattern compiles a pattern once.
func (d *document) pattern(text string, at *place) *pattern {
	if p, ok := d.patterns[text]; ok {
		return p
	}
	if len(d.patterns) >= MaxPatterns {
		d.limit = &LimitError{"the schema has too many patterns", MaxPatterns}
		return nil
	}
	p, err := compilePattern(text)
	if err != nil {
		d.fail(at, "%v", err)
	}
	d.patterns[text] = p
	return p
}

// missingProperties returns hints at required names that no property describes.
func (d *document) missingProperties() []Problem {
	var hints []Problem
	for _, n := range d.order {
		if len(n.props) == 0 || len(n.patterns) > 0 || n.rest != nil && n.rest.truth == 0 {
			continue
		}
		for i, name := range n.required {
			if _, ok := n.props[name]; !ok && len(hints) < maxProblems && !n.inherits() {
				hints = append(hints, Problem{d.at[n.source].down("required", fmt.Sprint(i)).tokens(), fmt.Sprintf(
					"no property is called %.80q; the nearest one is %q", name, nearest(name, sortedKeys(n.props)))})
			}
		}
	}
	return hints
}

// inherits reports whether properties may be described in other subschemas.
func (n *node) inherits() bool {
	return len(n.refs)+len(n.allOf)+len(n.anyOf)+len(n.oneOf) > 0 || n.then != nil
}
