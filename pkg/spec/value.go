package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// New reads a spec from a Go struct instead of a file, with the same rules as [Load]. The tag `spec:"max_turns"` gives the name of a
// field in spec files, and a dot in it a field of a mapping. The tag `spec:",inline"` reads the fields of a struct as fields of
// the spec. Without such a tag the name is that of the tag json, and a field without tags is not read.
//
// Zero values, empty lists and nil are missing fields. A time.Duration becomes a time such as "10m0s". A json.Marshaler, such as a
// json.RawMessage, becomes the value of its JSON. name is the name of the spec in messages, which name no lines.
func New(name string, fields any, opts LoadOptions) (*Spec, error) {
	b := &nodes{strictyaml.New(name, meanings)}
	top := b.of("", reflect.ValueOf(fields))
	s, err := (*Spec)(nil), b.Errs.OrNil()
	if err == nil {
		s, err = read(b.Reader, top, opts, false)
	}
	if mistakes, ok := err.(Errors); ok { //nolint:errorlint // read returns it unwrapped
		for _, m := range mistakes {
			m.Line = 0
		}
	}
	return s, err
}

// nodes makes the nodes that the parser makes of a spec file.
type nodes struct{ *strictyaml.Reader }

var duration = reflect.TypeFor[time.Duration]()

// of returns the node of a value. field is its path in messages.
func (b *nodes) of(field string, v reflect.Value) ast.Node {
	if m, ok := v.Interface().(json.Marshaler); ok {
		return b.ofJSON(field, m)
	}
	switch k := v.Kind(); {
	case v.Type() == duration:
		return b.text(field, time.Duration(v.Int()).String())
	case k == reflect.String:
		return b.text(field, v.String())
	case k == reflect.Bool:
		return ast.Bool(plainToken(strconv.FormatBool(v.Bool())))
	case v.CanInt():
		return ast.Integer(plainToken(strconv.FormatInt(v.Int(), 10)))
	case v.CanFloat():
		return ast.Float(plainToken(strconv.FormatFloat(v.Float(), 'g', -1, 64)))
	case k == reflect.Pointer, k == reflect.Interface:
		return b.of(field, v.Elem())
	case k == reflect.Slice:
		list := ast.Sequence(plainToken("["), true)
		for i := range v.Len() {
			list.Values = append(list.Values, b.of(fmt.Sprintf("%s[%d]", field, i), v.Index(i)))
		}
		return list
	case k == reflect.Map:
		m := ast.Mapping(plainToken("{"), true)
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		for _, key := range keys {
			b.set(m, key.String(), b.of(strictyaml.Join(field, key.String()), v.MapIndex(key)))
		}
		return m
	case k == reflect.Struct:
		m := ast.Mapping(plainToken("{"), true)
		b.members(m, field, v)
		return m
	}
	b.Failf(nil, field, "has the type %s, which a spec cannot hold", v.Type())
	return ast.Null(plainToken("null"))
}

// members adds the fields of a struct to a mapping.
func (b *nodes) members(m *ast.MappingNode, field string, v reflect.Value) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		tag, ok := f.Tag.Lookup("spec")
		if !ok {
			tag, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		}
		switch {
		case tag == ",inline":
			b.members(m, field, value)
		case tag == "" || tag == "-" || value.IsZero():
		case value.Kind() == reflect.Slice && value.Len() == 0:
		default:
			b.setPath(m, tag, b.of(strictyaml.Join(field, tag), value))
		}
	}
}

// setPath adds a member to a mapping. The name of the member may be the path of a member of an inner mapping.
func (b *nodes) setPath(m *ast.MappingNode, path string, value ast.Node) {
	outer, rest, nested := strings.Cut(path, ".")
	if !nested {
		b.set(m, path, value)
		return
	}
	for _, e := range m.Values {
		if strictyaml.KeyOf(e.Key) == outer {
			b.setPath(e.Value.(*ast.MappingNode), rest, value)
			return
		}
	}
	inner := ast.Mapping(plainToken("{"), true)
	b.setPath(inner, rest, value)
	b.set(m, outer, inner)
}

func (b *nodes) set(m *ast.MappingNode, name string, value ast.Node) {
	m.Values = append(m.Values, ast.MappingValue(plainToken(":"), ast.String(textToken(name)), value))
}

func (b *nodes) text(field, text string) ast.Node {
	if !utf8.ValidString(text) {
		b.Failf(nil, field, "%v", errNotUTF8)
	}
	return ast.String(textToken(text))
}

// ofJSON returns the node of a value's JSON.
func (b *nodes) ofJSON(field string, m json.Marshaler) ast.Node {
	text, err := m.MarshalJSON()
	if err == nil {
		err = checkJSON(text)
	}
	if err != nil {
		b.Failf(nil, field, "is %v", err)
		return ast.Null(plainToken("null"))
	}
	doc, top := strictyaml.Parse(b.File, text, meanings)
	for _, e := range doc.Errs {
		e.Field = field
	}
	b.Errs = append(b.Errs, doc.Errs...)
	if top == nil {
		return ast.Null(plainToken("null"))
	}
	return top
}

// plainToken returns the token of a value that is not text.
func plainToken(text string) *token.Token { return token.New(text, text, &token.Position{}) }

// textToken returns the token of text. Quoted text is never a number.
func textToken(text string) *token.Token {
	return token.DoubleQuote(text, strconv.Quote(text), &token.Position{})
}
