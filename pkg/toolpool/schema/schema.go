// Package schema reads JSON that a model wrote and checks it against a JSON Schema. Tool arguments and final answers are
// both checked through it. Package jsonschema does the work and sets the limits.
package schema

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/pkg/jsonschema"
)

// Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
}

// Compile compiles a schema. References to anything outside the text are errors, and so are schemas over the limits
// of package jsonschema.
func Compile(text []byte) (*Schema, error) {
	compiled, err := jsonschema.Compile(text)
	if err != nil {
		return nil, err
	}
	return &Schema{compiled: compiled}, nil
}

// Check returns nil if text is one JSON value that matches the schema. Otherwise the error describes at most three
// violations to the model, in bounded length.
func (s *Schema) Check(text []byte) error {
	doc, err := Decode(text)
	if err != nil {
		return err
	}
	return s.CheckWithin(context.Background(), doc)
}

// CheckWithin is [Schema.Check] for a value from [Decode]. It limits the number of steps. It also ends with ctx, and
// then returns ctx' cause.
func (s *Schema) CheckWithin(ctx context.Context, doc any) error {
	return s.compiled.Validate(ctx, doc)
}

// IsMismatch reports whether err means that the value does not match. After any other error the result is unknown.
func IsMismatch(err error) bool {
	_, ok := errors.AsType[*jsonschema.InvalidError](err)
	return ok
}
