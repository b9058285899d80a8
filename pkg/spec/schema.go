package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// schemaInstruction precedes the schema when no prompt names it.
const schemaInstruction = "Answer with one JSON value that matches this JSON Schema, and with nothing else:\n"

// draft is the only $schema that a spec may name.
const draft = "https://json-schema.org/draft/2020-12/schema"

// schemaURL names the schema inside the compiler. Nothing is ever loaded from it.
const schemaURL = "file:///output_schema"

// schemaText is a schema as it was written.
type schemaText struct {
	doc  *document
	root ast.Node
	errs *Errors // of the spec, which mistakes in it are, too
}

// outputSchema reads a schema that is inline, in {file: path}, or at a path, and returns it as compact JSON with its
// keys in their order: servers that bind an answer to a schema write the fields in that order.
func (l *loader) outputSchema(field string, n ast.Node) json.RawMessage {
	file := ""
	switch v := n.(type) {
	case *ast.StringNode:
		file = v.Value
	case ast.MapNode:
		if !slices.ContainsFunc(keysOf(v), func(key string) bool { return key == fileField }) {
			l.schema = schemaText{l.document, n, &l.errs}
			return l.compileSchema(field)
		}
		var ok bool
		if file, ok = l.fileOnly(field, n); !ok {
			return nil
		}
	}
	switch filepath.Ext(file) {
	case extJSON, extYAML, extYML:
	default:
		l.failf(n, field, "must be a JSON Schema, or the path of a .json file that holds one, not %s", kindOf(n))
		return nil
	}
	data, ok := l.readFile(field, n, file)
	if !ok {
		return nil
	}
	if filepath.Ext(file) == extJSON {
		if err := checkJSON(data); err != nil {
			l.failf(n, field, "%s is %v", l.shown(file), err)
			return nil
		}
	}
	doc, root := parseYAML(l.shown(file), data)
	if root == nil {
		l.errs = append(l.errs, doc.errs...)
		return nil
	}
	l.schema = schemaText{doc, root, &l.errs}
	schema := l.compileSchema(field)
	if doc != l.document {
		l.errs = append(l.errs, doc.errs...)
	}
	return schema
}

func keysOf(m ast.MapNode) []string {
	var keys []string
	for it := m.MapRange(); it.Next(); {
		keys = append(keys, keyOf(it.Key()))
	}
	return keys
}

// compileSchema checks the schema and returns its JSON form, or nil and the mistakes in the schema's document.
func (l *loader) compileSchema(field string) json.RawMessage {
	compact, ok := l.schema.doc.appendJSON(nil, field, l.schema.root, 0)
	if !ok {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(compact))
	if err != nil {
		l.schema.fail(field, nil, err.Error())
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		l.schema.fail(field, nil, "a schema must be a mapping")
		return nil
	}
	if s, given := object["$schema"]; given && s != draft && s != draft+"#" {
		l.schema.fail(field, []string{"$schema"}, "must be Draft 2020-12: leave $schema out, or set it to "+draft)
		return nil
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(jsonschema.SchemeURLLoader{}) // no scheme: a plan is complete in itself, and a schema fetches nothing
	if err := c.AddResource(schemaURL, value); err != nil {
		l.schema.fail(field, nil, err.Error())
		return nil
	}
	if _, err := c.Compile(schemaURL); err != nil {
		l.schema.explain(field, value, err)
		return nil
	}
	return compact
}

// fail notes a mistake at a place in the schema.
func (s schemaText) fail(field string, at []string, msg string) {
	if len(at) > 0 {
		msg = fmt.Sprintf("at %s: %s", pointer(at), msg)
	}
	*s.errs = append(*s.errs, s.doc.mistakef(s.line(at), field, "%s", msg))
}

// explain turns a compiler's error into mistakes that name their place.
func (s schemaText) explain(field string, schema any, err error) {
	invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err)
	if ok {
		if verr, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			s.explainInvalid(field, verr)
			return
		}
	}
	if load, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		at, _ := findRef(schema, nil, func(ref string) bool { return strings.HasSuffix(load.URL, strings.TrimSuffix(ref, "#")) })
		s.fail(field, at, "a $ref may only point inside the schema (#/$defs/…); nothing is loaded from elsewhere")
		return
	}
	msg := strings.ReplaceAll(err.Error(), schemaURL, "")
	at, _ := findRef(schema, nil, func(ref string) bool { return strings.Contains(msg, strconv.Quote(ref)) })
	s.fail(field, at, msg)
}

// explainInvalid notes one mistake for each place at which the schema breaks the rules of schemas.
func (s schemaText) explainInvalid(field string, err *jsonschema.ValidationError) {
	english := message.NewPrinter(language.English)
	reasons := map[string][]string{}
	places := map[string][]string{}
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			visit(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		key := pointer(e.InstanceLocation)
		places[key] = e.InstanceLocation
		if reason := e.ErrorKind.LocalizedString(english); !slices.Contains(reasons[key], reason) {
			reasons[key] = append(reasons[key], reason)
		}
	}
	visit(err)
	for _, key := range slices.Sorted(maps.Keys(places)) {
		s.fail(field, places[key], strings.Join(reasons[key], ", or: "))
	}
}

// findRef is the place of the first $ref, in the order of names, for which match holds.
func findRef(v any, at []string, match func(ref string) bool) ([]string, bool) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && match(ref) {
			return append(slices.Clone(at), "$ref"), true
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if found, ok := findRef(v[key], append(slices.Clone(at), key), match); ok {
				return found, true
			}
		}
	case []any:
		for i, item := range v {
			if found, ok := findRef(item, append(slices.Clone(at), strconv.Itoa(i)), match); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// line is the line of a place in the schema, or of the last part of the way to it that is written there.
func (s schemaText) line(at []string) int {
	n := s.doc.resolve("", s.root)
	line := lineOf(n)
	for _, token := range at {
		var next ast.Node
		switch v := n.(type) {
		case *ast.SequenceNode:
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(v.Values) {
				next = v.Values[i]
				line = lineOf(next)
			}
		case ast.MapNode:
			for it := v.MapRange(); it.Next(); {
				if keyOf(it.Key()) == token {
					next = it.Value()
					line = lineOf(it.Key())
				}
			}
		}
		if next == nil {
			return line
		}
		if n = s.doc.resolve("", next); n == nil {
			return line
		}
	}
	return line
}

// pointer is a JSON pointer.
func pointer(at []string) string {
	var b strings.Builder
	for _, token := range at {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// squeeze drops all white space, so that a schema is found however it is laid out.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}
