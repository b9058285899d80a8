package batchagent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Reduce configures the job that combines the results of a batch into one. Task is required. docs/spec.md explains the fields.
// Model and Prices default to the batch's. Retries, attempts and timeouts are the batch's.
//
// Sum is the type of the reducer's answer, with the rules of Out in [Batch].
type Reduce[Sum any] struct {
	System string          // the reducer's system prompt
	Task   string          // the prompt; {results} has one JSON object per line, including errors, and {n} is their number
	Schema json.RawMessage // replaces the schema that is derived from Sum
	Model  string          // Defaults to the batch's.
	// Sampling is the reducer's own and does not come from the batch.
	Sampling Sampling
	Budget   Budget // limit of the reducer. Defaults to no limit.
	Prices   Prices // Defaults to the batch's.
}

// RunReduce runs a batch, and then one more job that reads all its results, including failed ones. Results that are too long for
// one context are reduced as a tree. RunReduce returns the results as [Run] does, and the reducer's result. The reducer's Err is
// set if it has no output.
func RunReduce[Out, Sum any](ctx context.Context, b Batch[Out], r Reduce[Sum], options ...Option) ([]Result[Out], Result[Sum], error) {
	summary := Result[Sum]{Err: errNotReduced}
	reduce, err := r.wire()
	if err != nil {
		return nil, summary, fmt.Errorf("run a batch: %w", err)
	}
	var c collected[Out]
	err = b.each(ctx, options, stages{reduce: reduce, checkSummary: checkOf(decodeOutput[Sum]), reduced: func(r batch.Result) (err error) {
		summary, err = typed[Sum](r)
		return err
	}}, c.add)
	return c.ordered(), summary, err
}

// errNotReduced is the error of a summary until the reducer has a result.
var errNotReduced = batch.NewError(batch.JobCancelled, "the reduction was cancelled before it began")

// wire returns the field reduce of a spec.
func (r Reduce[Sum]) wire() (json.RawMessage, error) {
	schema, err := schemaOf[Sum](r.Schema)
	if err != nil {
		return nil, err
	}
	return encode(struct {
		SystemPrompt string          `json:"system_prompt,omitempty"`
		Task         string          `json:"task,omitempty"`
		OutputSchema json.RawMessage `json:"output_schema,omitempty"`
		Model        string          `json:"model,omitempty"`
		Sampling     Sampling        `json:"sampling,omitzero"`
		Budget       Budget          `json:"budget,omitzero"`
		Prices       Prices          `json:"prices,omitzero"`
	}{r.System, r.Task, schema, r.Model, r.Sampling, r.Budget, r.Prices})
}
