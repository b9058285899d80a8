// Package schema compiles JSON Schemas and checks JSON texts against them, with messages short enough for a model.
//
// It owns what every user of a schema here must agree on: Draft 2020-12 unless the schema names another draft, no
// loading of other files or URLs (a schema comes from a user's spec or from a tool, and must not make a worker read
// anything), numbers kept as they are written, and the wording of a violation. Tool arguments and final answers are
// both checked through it. A [Schema] is safe for concurrent use.
package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

const (
	maxViolations = 3   // shown in one message
	maxMessage    = 600 // bytes of one message
)

// Schema is a compiled JSON Schema.
type Schema struct {
	compiled *jsonschema.Schema
}

// Compile compiles a schema. A reference to anything outside the text is an error.
func Compile(text []byte) (*Schema, error) {
	doc, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	const name = "schema.json"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return &Schema{compiled: compiled}, nil
}

// Check returns nil if text is one JSON value that matches the schema. Otherwise the error's text tells a model what
// to change: at most three violations, bounded in length.
func (s *Schema) Check(text []byte) error {
	doc, err := Decode(text)
	if err != nil {
		return err
	}
	return s.CheckValue(doc)
}

// CheckValue is [Schema.Check] for a value that came from [Decode].
func (s *Schema) CheckValue(doc any) error {
	err := s.compiled.Validate(doc)
	if err == nil {
		return nil
	}
	if v, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return errors.New(describe(v))
	}
	return err
}

// describe lists the innermost violations, which are the ones that say what to change. They are sorted: the validator
// walks maps, and one fault should always read the same.
func describe(v *jsonschema.ValidationError) string {
	var lines []string
	english := message.NewPrinter(language.English)
	var visit func(v *jsonschema.ValidationError)
	visit = func(v *jsonschema.ValidationError) {
		if len(v.Causes) == 0 {
			lines = append(lines, at(v.InstanceLocation)+wording(v.ErrorKind, english))
		}
		for _, c := range v.Causes {
			visit(c)
		}
	}
	visit(v)
	slices.Sort(lines)
	lines = slices.Compact(lines)
	text := strings.Join(lines[:min(len(lines), maxViolations)], "; ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	if more := len(lines) - maxViolations; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func at(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return "at " + strings.Join(path, ".") + ": "
}

func wording(k jsonschema.ErrorKind, english *message.Printer) string {
	switch k := k.(type) {
	case *kind.Required:
		return "missing " + quoted(k.Missing)
	case *kind.AdditionalProperties:
		return "unknown " + quoted(k.Properties)
	default:
		if text, ok := numberWording(k); ok {
			return text
		}
		return k.LocalizedString(english)
	}
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = strconv.Quote(n)
	}
	return strings.Join(q, ", ")
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%q is outside the schema: put it under $defs", url)
}
