// Package schema reads JSON that a model wrote and checks it against a JSON Schema. Tool arguments and final answers are
// both checked through it. Package jsonschema does the work and sets the limits.
package schema

import (
	"context"

	"github.com/batchagent/batchagent/pkg/jsonschema"
)

// Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
}

// Compile compiles a schema. A reference to anything outside the text is an error, and so is a schema beyond the limits
// of package jsonschema.
func Compile(text []byte) (*Schema, error) {
	compiled, err := jsonschema.Compile(text)
	if err != nil {
		return nil, err
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

// CheckValue is [Schema.Check] for a value that came from [Decode]. Its time is bounded by a number of steps.
func (s *Schema) CheckValue(doc any) error { return s.CheckWithin(context.Background(), doc) }

// CheckWithin is [Schema.CheckValue] and also ends with ctx, with its cause.
func (s *Schema) CheckWithin(ctx context.Context, doc any) error {
	return s.compiled.Validate(ctx, doc)
}

// IsLimit reports whether a check ended at a limit, so that nothing is known about the value.
func IsLimit(err error) bool { return jsonschema.IsLimit(err) }
