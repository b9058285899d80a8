package batchagent

import (
	"encoding/json"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Stage is a [Plan] or a [Reduce].
type Stage interface{ stage() }

// Planner makes the inputs of a batch. [Plan] is its only implementation.
type Planner interface {
	Stage
	// planner returns a copy with a schema, and the untyped form.
	planner() (Planner, *stage, error)
}

// Reducer combines the results of a batch. [Reduce] is its only implementation.
type Reducer interface {
	Stage
	// reducer returns a copy with a schema, and the untyped form.
	reducer() (Reducer, *stage, error)
}

// Plan is the agent that makes the inputs of a batch. Task is required.
//
// Item is the type of one input. The members of a struct or another JSON object fill the placeholders of the batch's Task. Any
// other value, such as a string, fills {item}.
type Plan[Item any] struct {
	// System is the system prompt of the planner. Defaults to none.
	System string `spec:"system_prompt"`

	// Task is the prompt of the planner. {max_items} is its only placeholder. Required.
	Task string `spec:"task"`

	// MaxItems limits the items, from 1 to 10,000. A longer plan fails as PlanTooLarge. Defaults to 100.
	MaxItems int `spec:"max_items"`

	// Tools may be called by the planner. Defaults to none, also if the batch has tools.
	Tools []Tool `spec:"tools"`

	// Schema is a JSON Schema of one item. It replaces the one derived from Item.
	Schema json.RawMessage `spec:"output_schema"`

	// Agent has the model and the limits of the planner.
	Agent Agent `spec:",inline"`

	// Budget limits the tokens or dollars of the planner, which fails as BudgetExceeded. Defaults to no limit.
	Budget Budget `spec:"budget"`

	// Into receives the result of the planner before the first result of the batch. Its Output has the items. Optional.
	Into *Result[[]Item] `spec:"-"`
}

// Reduce is the job that combines the results of a batch into one. It also reads the results of failed jobs. Results that are too
// long for one context are reduced as a tree. Task is required.
//
// Sum is the type of the reducer's answer, with the rules of Out in [Batch].
type Reduce[Sum any] struct {
	// System is the system prompt of the reducer. Defaults to none.
	System string `spec:"system_prompt"`

	// Task is the prompt of the reducer. {results} stands for the results, one JSON object per line, and {n} for their number.
	// Required.
	Task string `spec:"task"`

	// Schema is a JSON Schema that replaces the one derived from Sum.
	Schema json.RawMessage `spec:"output_schema"`

	// Agent has the model and the limits of the reducer. Its MaxTurns must be 0.
	Agent Agent `spec:",inline"`

	// Budget limits the tokens or dollars of the reducer, which fails as BudgetExceeded. Defaults to no limit.
	Budget Budget `spec:"budget"`

	// Into receives the result of the reducer after the last result of the batch. Its Err is set until then. Optional.
	Into *Result[Sum] `spec:"-"`
}

func (Plan[Item]) stage()  {}
func (Reduce[Sum]) stage() {}

// stage is a planner or a reducer without its types.
type stage struct {
	tools []Tool
	check func(output json.RawMessage) error // returns an error for an output that does not decode
	begin func()                             // is called before the batch runs
	// take receives the result. failed is the reason why the stage has no output.
	take func(batch.Result) (failed, err error)
}

// stages are the stages of a batch; nil without a stage.
type stages struct{ plan, reduce *stage }

func (p Plan[Item]) planner() (Planner, *stage, error) {
	const field = "plan.output_schema"
	item := p.Schema
	if isText[Item]() && item == nil {
		item = json.RawMessage(`{"type":"string"}`)
	}
	item, err := schemaOf[Item](field, item)
	if err != nil {
		return nil, nil, err
	}
	type object map[string]any
	p.Schema, err = json.Marshal(object{
		"type": "object", "properties": object{"items": object{"type": "array", "items": item}},
		"required": []string{"items"}, "additionalProperties": false,
	})
	if err != nil {
		return nil, nil, &UsageError{&SchemaError{Field: field, Message: err.Error()}}
	}
	return p, &stage{tools: p.Tools, check: checkOf(itemsOf[Item]), begin: emptied(p.Into), take: taken(p.Into, itemsOf[Item])}, nil
}

func (r Reduce[Sum]) reducer() (_ Reducer, _ *stage, err error) {
	if r.Schema, err = schemaOf[Sum]("reduce.output_schema", r.Schema); err != nil {
		return nil, nil, err
	}
	return r, &stage{check: checkOf(decodeOutput[Sum]), begin: emptied(r.Into), take: taken(r.Into, decodeOutput[Sum])}, nil
}

// emptied returns a function that marks a result as missing.
func emptied[Out any](into *Result[Out]) func() {
	return func() {
		if into != nil {
			*into = Result[Out]{Err: &Error{Type: batch.JobCancelled, Message: "the stage has not run"}}
		}
	}
}

// taken returns a function that decodes the result of a stage.
func taken[Out any](into *Result[Out], decode func(json.RawMessage) (Out, error)) func(batch.Result) (failed, err error) {
	return func(r batch.Result) (failed, err error) {
		result, err := decoded(r, decode)
		if err == nil && into != nil {
			*into = result
		}
		return result.Err, err
	}
}
