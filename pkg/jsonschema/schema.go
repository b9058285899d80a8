package jsonschema

import (
	"context"
	"errors"
	"fmt"
)

// Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	root *node
}

// Compile compiles a schema. It tolerates unknown keywords and formats, and obeys nullable of OpenAPI. References to other
// documents are errors, and so are schemas that a check would not end on. Errors about a limit are a [*LimitError].
func Compile(data []byte) (*Schema, error) {
	root, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	d, err := newDocument(root, false)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	n, err := d.compilePlain()
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return &Schema{root: n}, nil
}

// compilePlain compiles the document after translating nullable.
func (d *document) compilePlain() (*node, error) {
	d.index(d.root, "", nil)
	if d.limit != nil {
		return nil, d.limit
	}
	if err := d.firstProblem(); err != nil {
		return nil, err
	}
	plain, err := d.withoutNullable()
	if err != nil {
		return nil, err
	}
	if plain != d.root {
		if d, err = newDocument(plain, false); err != nil {
			return nil, err
		}
	}
	n, err := d.compile()
	if err != nil {
		return nil, err
	}
	return n, d.firstProblem()
}

// Validate checks a value that encoding/json decoded with UseNumber. It returns nil if the value matches. It returns an
// [*InvalidError] that describes the mismatches, or a [*LimitError] if the check takes too long. The end of ctx ends the check.
func (s *Schema) Validate(ctx context.Context, v any) error {
	return s.validate(ctx, v, MaxSteps)
}

func (s *Schema) validate(ctx context.Context, v any, steps int) error {
	b := &budget{ctx: ctx, limit: steps}
	root := (&builder{budget: b}).build(v, 0)
	if b.err != nil {
		return b.err
	}
	c := check{budget: b}
	ok := c.eval(s.root, root, nil)
	if b.err != nil {
		return b.err
	}
	if ok {
		return nil
	}
	x := explainer{check: check{budget: &budget{ctx: ctx, limit: steps}, memo: c.memo}}
	x.explain(s.root, root)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &InvalidError{Problems: x.problems, More: x.more}
}

// Valid reports whether a value matches. It returns false if the check exceeds a limit.
func (s *Schema) Valid(v any) bool {
	b := &budget{ctx: context.Background(), limit: MaxSteps}
	root := (&builder{budget: b}).build(v, 0)
	if b.err != nil {
		return false
	}
	c := check{budget: b}
	return c.eval(s.root, root, nil) && b.err == nil
}

// IsLimit reports whether err concerns a limit and not the value.
func IsLimit(err error) bool {
	_, ok := errors.AsType[*LimitError](err)
	return ok
}
