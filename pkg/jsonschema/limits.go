package jsonschema

import (
	"context"
	"fmt"
	"time"
)

// Limits of schemas and of one check.
const (
	MaxBytes      = 1 << 20   // of a schema's text
	MaxSubschemas = 20_000    // of a schema, each reference counted once
	MaxDepth      = 200       // of a schema's text: nested objects and arrays
	MaxPattern    = 4_096     // bytes of one pattern
	MaxPatterns   = 1_000     // different patterns of a schema
	MaxDigits     = 1_000     // of a number in a schema
	MaxExponent   = 400       // of a number in a schema, and its negative
	MaxReference  = 1_000     // bytes of one reference, identifier or anchor
	MaxSteps      = 1_000_000 // of one check: a step applies one subschema to one value, or reads 64 bytes
	maxFrames     = 20_000    // nested applications of subschemas in one check
	maxMemo       = 1 << 18   // remembered pairs of a subschema and a value in one check
	maxProblems   = 100       // problems collected of one schema or value
	maxURL        = 4_000     // bytes of an identifier once it is absolute
	textPerStep   = 256       // bytes of a text that one step may look at again
)

// LimitError reports that a schema or a check exceeds a limit.
type LimitError struct {
	What  string // the part that is too large
	Limit int    // 0 if What contains the limit
}

func (e *LimitError) Error() string {
	if e.Limit == 0 {
		return e.What
	}
	return fmt.Sprintf("%s; at most %d are allowed", e.What, e.Limit)
}

// budget counts the steps of one check.
type budget struct {
	ctx   context.Context
	steps int
	limit int
	err   error // why the check must end

	matching time.Duration // of patterns that may take long
}

// checkEvery is the number of steps between two checks of the context.
const checkEvery = 1 << 10

// spend takes n steps. It returns false once the check must end.
func (b *budget) spend(n int) bool {
	if b.err != nil {
		return false
	}
	before := b.steps
	b.steps += n
	if b.steps > b.limit {
		b.err = &LimitError{"the value is too large or nested too deeply: checking it against the schema takes too many steps", b.limit}
		return false
	}
	if before/checkEvery != b.steps/checkEvery && b.ctx.Err() != nil {
		b.err = context.Cause(b.ctx)
		return false
	}
	return true
}

// match takes the time of one match that may take long. It returns false once the check must end.
func (b *budget) match(d time.Duration, p *pattern) bool {
	b.matching += d
	switch {
	case b.err != nil:
	case b.ctx.Err() != nil:
		b.err = context.Cause(b.ctx)
	case b.matching > matchTotal:
		b.err = &LimitError{What: fmt.Sprintf("the pattern %.80q and others take longer than %s on the value", p.text, matchTotal)}
	}
	return b.err == nil
}
