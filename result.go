package batchagent

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Result is the outcome of one job. Output is meaningful if Err is nil.
type Result[Out any] struct {
	Index  int   // the position of the input, from 0
	Output Out   // the agent's answer
	Err    error // nil, or the *Error with which the job failed

	// ReusedFrom is the job that made the output, as "<batch>/job-<index>". It is empty if this job made it. See [Reuse].
	ReusedFrom string

	Batch    string // batch ID
	Attempts int    // number of workers that held the job
	Turns    int    // model calls that ended
	Usage    Usage  // tokens of all turns
	Tools    ToolCounts
	Model    string        // the model that the server reports
	Worker   string        // the worker that committed the result
	Wall     time.Duration // from the last claim to the end
}

// Error is the error of a failed job. docs/results.md lists all values of Type.
type Error = batch.Error

// Usage counts tokens over all turns of a job.
type Usage = batch.Usage

// ToolCounts counts the tool calls of a job, and the calls that ran for it. The other calls were shared or cached.
type ToolCounts = batch.ToolCounts

// FieldError is a mistake in a Batch. File is "batch", and Field is the field's name in spec files. One error may hold several.
type FieldError = spec.FieldError

// BadInputsError reports inputs without a value for a placeholder.
type BadInputsError = spec.BadInputsError

// UnreachableError reports that Redis or the model server does not answer.
type UnreachableError = fault.UnreachableError

// PausedError reports that the batch has used its BatchBudget; its Info has the figures. In this process the batch is over. On a
// cluster it waits until `coordinator budget` raises the budget. Then run the unchanged program again to collect the results.
type PausedError = fault.PausedError

// maxRaw is the limit of the output in an error, in bytes.
const maxRaw = 16 << 10

func typed[Out any](r batch.Result) (Result[Out], error) { return decoded(r, decodeOutput[Out]) }

// decodeOutput decodes an output. A model reads the error in its repair turn.
func decodeOutput[Out any](output json.RawMessage) (out Out, err error) {
	if !isText[Out]() {
		return decodeAs[Out](output)
	}
	answer, err := decodeAs[struct {
		Text string `json:"text"`
	}](output)
	reflect.ValueOf(&out).Elem().SetString(answer.Text)
	return out, err
}

// decodeAs decodes JSON with case-sensitive names: see [checkCase]. It returns a panic of a type's own UnmarshalJSON as an error,
// because the text of a model must not stop the program.
func decodeAs[T any](text json.RawMessage) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it does not decode as %s: panic: %v", reflect.TypeFor[T](), r)
		}
	}()
	if err = checkCase(reflect.TypeFor[T](), text); err != nil {
		return v, err
	}
	if err = json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("it does not decode as %s: %w", reflect.TypeFor[T](), err)
	}
	return v, nil
}

// checkOf returns a function that reports the errors of decode.
func checkOf[T any](decode func(json.RawMessage) (T, error)) func(json.RawMessage) error {
	return func(output json.RawMessage) error {
		_, err := decode(output)
		return err
	}
}

// decoded converts a result and decodes its output. A result whose output does not decode gets an OutputInvalid error.
func decoded[Out any](r batch.Result, decode func(output json.RawMessage) (Out, error)) (Result[Out], error) {
	out := Result[Out]{
		Index: int(r.Index), Batch: string(r.Batch), Attempts: r.Attempts, Turns: r.Turns, Usage: r.Usage, Tools: r.Tools,
		Model: r.Model, Worker: r.Worker, ReusedFrom: r.ReusedFrom, Wall: time.Duration(r.WallMS) * time.Millisecond,
	}
	if r.Status != batch.OK {
		if r.Error == nil {
			return out, fmt.Errorf("%s is %s without an error", r.JobID, r.Status)
		}
		out.Err = r.Error
		return out, nil
	}
	var err error
	if out.Output, err = decode(r.Output); err != nil {
		var none Out
		failed := batch.NewError(batch.OutputInvalid, "the answer matches its schema, but "+err.Error())
		failed.Raw = string(r.Output[:min(len(r.Output), maxRaw)])
		out.Output, out.Err = none, failed
	}
	return out, nil
}
