package batchagent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Reduce says how the results of a batch become one. Task is needed; docs/spec.md explains the fields. What it does not say
// is as for the batch.
//
// Sum is what the reducer answers, as Out is for [Batch].
type Reduce[Sum any] struct {
	System string
	Task   string          // the prompt, with {results}, one JSON object per line, errors included, and {n}, how many there are
	Schema json.RawMessage // replaces the schema that is derived from Sum
	Model  string
	// Sampling is the reducer's own; nothing is taken from the batch.
	Sampling Sampling
	Budget   Budget // what the reducer may use
	Prices   Prices
}

// RunReduce runs a batch, and then one more job that reads all its results, those without output included. Results that are
// too long for one context are reduced as a tree. It returns the results as [Run] does, and the reducer's, whose Err says
// why there is no output, if there is none.
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

// errNotReduced stands until a reduction has a result.
var errNotReduced = batch.NewError(batch.JobCancelled, "the reduction was cancelled before it began")

// wire is the reduction as a spec has it.
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
