package batchagent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Plan configures the agent that makes the inputs of a batch. Task is required. docs/spec.md explains the fields. Unset limits have
// their own defaults and do not come from the batch.
//
// Item is the type of one input. The members of a struct or another JSON object fill the placeholders of the batch's Task. Any
// other value, such as a string, fills {item}.
type Plan[Item any] struct {
	System   string          // the planner's system prompt
	Task     string          // the planner's prompt, with {max_items} as its only placeholder
	MaxItems int             // limit of items; a longer plan fails. Defaults to 100.
	Schema   json.RawMessage // schema of one item; replaces the schema that is derived from Item
	Model    string          // Defaults to the batch's.
	Tools    []Tool          // the planner's tools. Defaults to none.

	MaxTurns    int // model calls of the planner. Defaults to 8.
	MaxRetries  int // retries of one turn after a transient fault. 0 means 3; a negative number disables retries.
	MaxAttempts int // workers that may die with the planner. Defaults to 3.
	Timeouts    Timeouts
	Sampling    Sampling // the planner's own; does not come from the batch
	Budget      Budget   // limit of the planner. Defaults to no limit.
	Prices      Prices   // Defaults to the batch's.
}

// Planned holds the results of a planner, of the jobs over its items, and of the reducer.
type Planned[Item, Out, Sum any] struct {
	Plan    Result[[]Item] // Output has the items
	Results []Result[Out]  // one per item, in the order of the items
	Summary Result[Sum]    // zero without a reducer
}

// RunPlan lets an agent make items, runs the batch over them, and reduces the results. Each stage has its own model and limits. The
// batch must have no Inputs. A Reduce without a Task skips the reducer. With no items, the reducer runs without results. A finished
// stage is not run again.
//
// RunPlan returns an *Error if the planner fails, and otherwise the errors of [RunReduce].
func RunPlan[Item, Out, Sum any](
	ctx context.Context, p Plan[Item], b Batch[Out], r Reduce[Sum], options ...Option,
) (Planned[Item, Out, Sum], error) {
	var out Planned[Item, Out, Sum]
	s := stages{checkPlan: checkOf(itemsOf[Item]), checkSummary: checkOf(decodeOutput[Sum]), planned: func(r batch.Result) (err error) {
		out.Plan, err = decoded(r, itemsOf[Item])
		return err
	}}
	var err error
	if s.plan, s.tools, err = p.wire(); err != nil {
		return out, fmt.Errorf("run a plan: %w", err)
	}
	if r.Task != "" {
		out.Summary.Err = errNotReduced
		if s.reduce, err = r.wire(); err != nil {
			return out, fmt.Errorf("run a plan: %w", err)
		}
		s.reduced = func(r batch.Result) (err error) {
			out.Summary, err = typed[Sum](r)
			return err
		}
	}
	var c collected[Out]
	err = b.each(ctx, options, s, c.add)
	out.Results = c.ordered()
	if err == nil && out.Plan.Err != nil {
		err = fmt.Errorf("run the planner: %w", out.Plan.Err)
	}
	return out, err
}

// itemsOf returns the items in a planner's answer.
func itemsOf[Item any](output json.RawMessage) ([]Item, error) {
	answer, err := decodeAs[struct {
		Items []Item `json:"items"`
	}](output)
	return answer.Items, err
}

// wire returns the plan for a spec, and the tools that are functions of this program.
func (p Plan[Item]) wire() (json.RawMessage, []toolpool.Tool, error) {
	type object map[string]any
	var item json.RawMessage
	var err error
	if isText[Item]() && p.Schema == nil {
		item = json.RawMessage(`{"type":"string"}`)
	} else if item, err = schemaOf[Item](p.Schema); err != nil {
		return nil, nil, err
	}
	names, own, err := wireTools(p.Tools)
	if err != nil {
		return nil, nil, err
	}
	text, err := encode(struct {
		SystemPrompt string       `json:"system_prompt,omitempty"`
		Task         string       `json:"task,omitempty"`
		OutputSchema object       `json:"output_schema"`
		MaxItems     int          `json:"max_items,omitempty"`
		Model        string       `json:"model,omitempty"`
		Tools        []string     `json:"tools,omitempty"`
		MaxTurns     int          `json:"max_turns,omitempty"`
		MaxRetries   *int         `json:"max_retries,omitempty"`
		MaxAttempts  int          `json:"max_attempts,omitempty"`
		Timeouts     wireTimeouts `json:"timeouts,omitzero"`
		Sampling     Sampling     `json:"sampling,omitzero"`
		Budget       Budget       `json:"budget,omitzero"`
		Prices       Prices       `json:"prices,omitzero"`
	}{
		p.System, p.Task, object{
			"type": "object", "properties": object{"items": object{"type": "array", "items": item}},
			"required": []string{"items"}, "additionalProperties": false,
		},
		p.MaxItems, p.Model, names, p.MaxTurns, wireRetries(p.MaxRetries), p.MaxAttempts, p.Timeouts.wire(), p.Sampling, p.Budget, p.Prices,
	})
	return text, own, err
}
