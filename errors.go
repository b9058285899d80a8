package batchagent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Errors without fields. Match them with errors.Is.
var (
	// ErrNotFound: the cluster has no such batch. Its TTL may have passed.
	ErrNotFound = errors.New("there is no such batch")
	// ErrKeyUsed: a batch with other fields or inputs was submitted with the same Batch.Key.
	ErrKeyUsed = errors.New("the key was used for another batch")
)

// Error is the error of a failed job, of a planner or of a reducer. It is the Err of a [Result].
type Error struct {
	// Type is the kind of error, such as OutputInvalid. docs/results.md lists all types.
	Type batch.ErrorType
	// Message is a sentence for people.
	Message string
	// Retryable reports that the same job may succeed if it runs again, as with [Handle.Retry].
	Retryable bool
	// Raw is the last text of the model, at most 16 KiB, for OutputInvalid and OutputTruncated. It is empty for other types.
	Raw string
}

func (e *Error) Error() string { return string(e.Type) + ": " + e.Message }

func errorOf(e *batch.Error) *Error {
	return &Error{Type: e.Type, Message: e.Message, Retryable: e.Retryable, Raw: e.Raw}
}

// UsageError reports a mistake in the batch, its inputs, an option or the call. No job ran, unless another process had submitted
// the batch. Err may be a [*FieldError], a [*SchemaError], a [*BadInputsError] or an [*UnknownToolError], or wrap several of them.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// FieldError is a mistake in a field of a Batch. One error may wrap several.
type FieldError struct {
	// Field is the field's name in spec files, such as max_turns or plan.task. The tag spec of a field has it. It is empty if the
	// mistake is in no single field.
	Field string
	// Message is the reason, with the allowed values.
	Message string
}

func (e *FieldError) Error() string { return fieldText(e.Field, e.Message) }

// SchemaError reports that a JSON Schema is invalid, or that none can be derived from a Go type.
type SchemaError struct {
	// Field is output_schema, plan.output_schema or reduce.output_schema. It may also have a place in the schema.
	Field string
	// Message is the reason.
	Message string
}

func (e *SchemaError) Error() string { return fieldText(e.Field, e.Message) }

func fieldText(field, message string) string {
	if field == "" {
		return message
	}
	return "field " + field + ": " + message
}

// BadInputsError reports inputs without a value for a placeholder. SkipInput in Batch.OnBadInput fails only their jobs.
type BadInputsError struct {
	// Count is the number of bad inputs.
	Count int64
	// Total is the number of all inputs.
	Total int64
	// First has the first bad inputs, at most 20.
	First []BadInput

	text string
}

// BadInput is one input of a [BadInputsError].
type BadInput struct {
	// Index is the position of the input, from 0.
	Index int
	// Where is the place of the input for people: "input 7", or a file with a line.
	Where string
	// Message is the reason.
	Message string
}

func (e *BadInputsError) Error() string { return e.text }

// UnknownToolError reports tools that no worker of the cluster offers, or that this process does not have.
type UnknownToolError struct {
	// Tools are the names of the unknown tools.
	Tools []string
	// Offered are the names of the tools that exist, sorted.
	Offered []string

	text string
}

func (e *UnknownToolError) Error() string { return e.text }

// UnreachableError reports that Redis, a server or a model server does not answer. The call may be repeated.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string { return e.Err.Error() }
func (e *UnreachableError) Unwrap() error { return e.Err }

// PausedError reports that the batch has used its BatchBudget, so no model call starts. In this process the batch is over. On a
// cluster it waits until `coordinator budget` raises the budget; [Handle.Results] then returns the other results.
type PausedError struct {
	// Batch is the ID of the batch.
	Batch string
	// Used is the part that the batch has used.
	Used Budget
	// Budget is the limit.
	Budget Budget
	// Unfinished is the number of jobs without a result.
	Unfinished int64

	text string
}

func (e *PausedError) Error() string { return e.text }

// failure is an error of another package, with the typed errors of this package.
type failure struct {
	error
	typed []error
}

func (f failure) Unwrap() []error { return append(f.typed, f.error) }

// public adds the errors of this package to an error. The cause of a cancelled context stays unchanged.
func public(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return err
	}
	f := failure{error: err}
	add := func(typed error) { f.typed = append(f.typed, typed) }
	switch {
	case fault.IsUnreachable(err): // reading inputs from Redis can fail with both
		add(&UnreachableError{err})
	case fault.IsUsage(err):
		add(&UsageError{err})
	}
	if mistakes, ok := errors.AsType[spec.Errors](err); ok {
		for _, m := range mistakes {
			add(fieldError(m))
		}
	}
	if bad, ok := errors.AsType[*spec.BadInputsError](err); ok {
		add(badInputs(bad))
	}
	if missing, ok := errors.AsType[*toolset.MissingError](err); ok {
		add(&UnknownToolError{Tools: missing.Tools, Offered: missing.Offered, text: missing.Error()})
	}
	if paused, ok := errors.AsType[*fault.PausedError](err); ok {
		i := paused.Info
		add(&PausedError{
			Batch: string(i.ID), Used: i.Used, Budget: i.Budget, Unfinished: i.Counts.Fed - i.Counts.Finished(), text: paused.Error(),
		})
	}
	if errors.Is(err, statestore.ErrNotFound) {
		add(ErrNotFound)
	}
	if errors.Is(err, statestore.ErrKeyUsed) {
		add(ErrKeyUsed)
	}
	if f.typed == nil {
		return err
	}
	return f
}

func fieldError(m *spec.FieldError) error {
	for _, stage := range []string{"", "plan.", "reduce."} {
		if rest, ok := strings.CutPrefix(m.Field, stage+"output_schema"); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return &SchemaError{Field: m.Field, Message: m.Message}
		}
	}
	return &FieldError{Field: m.Field, Message: m.Message}
}

func badInputs(bad *spec.BadInputsError) *BadInputsError {
	e := &BadInputsError{Count: bad.Count, Total: bad.Total}
	var b strings.Builder
	for _, in := range bad.First {
		e.First = append(e.First, BadInput{Index: int(in.Index), Where: in.Where, Message: in.Bad})
		fmt.Fprintf(&b, "%s: %s\n", in.Where, in.Bad)
	}
	if more := bad.Count - int64(len(bad.First)); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	fmt.Fprintf(&b, "%d of %d inputs cannot be used", bad.Count, bad.Total)
	e.text = b.String()
	return e
}
