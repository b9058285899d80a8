package batchagent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Result is the outcome of one job.
type Result[Out any] struct {
	// Index is the position of the input, from 0.
	Index int
	// ID is the program's own key of the input. It is empty without Batch.ID.
	ID string
	// Input has the fields of the input that Batch.Carry names, as a JSON object. It is nil without any.
	Input json.RawMessage
	// Output is the agent's answer. It is meaningful if Err is nil.
	Output Out
	// Err is nil, or the [*Error] with which the job failed.
	Err error
	// ReusedFrom is the job that made the output, as "<batch>/job-<index>". It is empty if this job made it. See Batch.Reuse.
	ReusedFrom string
	// Batch is the ID of the batch.
	Batch string
	// Attempts is the number of workers that held the job.
	Attempts int
	// Turns is the number of model calls that ended.
	Turns int
	// Usage counts the tokens of all turns.
	Usage Usage
	// Tools counts the tool calls.
	Tools ToolCounts
	// Model is the name of the model that the server reports.
	Model string
	// Worker is the ID of the worker that committed the result.
	Worker string
	// Wall is the time from the last claim of the job to its end, in milliseconds.
	Wall time.Duration
}

// Usage counts tokens over all turns of a job.
type Usage = batch.Usage

// ToolCounts counts the tool calls of a job, and the calls that ran for it. The other calls were shared or cached.
type ToolCounts = batch.ToolCounts

// maxRaw is the limit of the output in an error, in bytes.
const maxRaw = 16 << 10

// decoded converts a result and decodes its output. A result whose output does not decode gets an OutputInvalid error.
func decoded[Out any](r batch.Result, decode func(output json.RawMessage) (Out, error)) (Result[Out], error) {
	out := Result[Out]{
		Index: int(r.Index), ID: r.ID, Input: r.Input, Batch: string(r.Batch), Attempts: r.Attempts, Turns: r.Turns, Usage: r.Usage, Tools: r.Tools,
		Model: r.Model, Worker: r.Worker, ReusedFrom: r.ReusedFrom, Wall: time.Duration(r.WallMS) * time.Millisecond,
	}
	if r.Status != batch.OK {
		if r.Error == nil {
			return out, fmt.Errorf("%s is %s without an error", r.JobID, r.Status)
		}
		out.Err = errorOf(r.Error)
		return out, nil
	}
	var err error
	if out.Output, err = decode(r.Output); err != nil {
		var none Out
		out.Output, out.Err = none, &Error{
			Type: batch.OutputInvalid, Message: "the answer matches its schema, but " + err.Error(), Raw: string(r.Output[:min(len(r.Output), maxRaw)]),
		}
	}
	return out, nil
}
