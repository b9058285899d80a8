package batchagent

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Result is the outcome of one job. Output is meaningful if Err is nil.
type Result[Out any] struct {
	Index  int   // the position of the input, from 0
	Output Out   // what the agent answered
	Err    error // nil, or an *Error that says why there is no output

	// ReusedFrom says which job of which batch made the output, "<batch>/job-<index>", if it was not this one. See [Reuse].
	ReusedFrom string

	Batch    string // ID
	Attempts int    // workers that held the job
	Turns    int    // model calls that ended
	Usage    Usage
	Tools    ToolCounts
	Model    string // as the server names it
	Worker   string
	Wall     time.Duration // from the last claim to the end
}

// Error is why a job has no output. Type is one of a closed list that docs/results.md explains.
type Error = batch.Error

// Usage counts tokens over all turns of a job.
type Usage = batch.Usage

// ToolCounts says how many tool calls a job asked for, and how many of them ran for it; the rest was shared.
type ToolCounts = batch.ToolCounts

// FieldError is a mistake in a Batch: File is "batch", and Field the name as spec files have it. One error may hold several.
type FieldError = spec.FieldError

// BadInputsError says that inputs lack fields that the prompts use.
type BadInputsError = spec.BadInputsError

// UnreachableError says that Redis or the model server does not answer.
type UnreachableError = coordinator.UnreachableError

// PausedError says that the batch has used its BatchBudget up, as its Info tells. In this process it is over. On a cluster it waits:
// `coordinator budget` lets it go on, and the same program, with nothing changed, collects it.
type PausedError = coordinator.PausedError

// maxRaw bounds the output in an error.
const maxRaw = 16 << 10

func typed[Out any](r batch.Result) (Result[Out], error) { return decoded(r, decodeOutput[Out]) }

// decodeOutput reads an output. The error tells a model what to change.
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

// decodeAs is json.Unmarshal with names that are case-sensitive: see [checkCase]. A panic of a type's own UnmarshalJSON is an error, because a model wrote the text.
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

// checkOf makes a check of a decoder.
func checkOf[T any](decode func(json.RawMessage) (T, error)) func(json.RawMessage) error {
	return func(output json.RawMessage) error {
		_, err := decode(output)
		return err
	}
}

// decoded is a result whose output, if there is one, is read by decode.
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
