package batchagent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Batch is one task over many inputs. Task and Inputs are required. The fields have the meaning of a spec file's fields, which
// docs/spec.md explains.
//
// Out is the type of an answer: a struct or another type with a JSON form. The answer must match the schema of Out. Struct tags
// are those of encoding/json; omitempty makes a field optional. The tag jsonschema:"…" describes a field to the model. If Out is
// a string, the answer is free text.
type Batch[Out any] struct {
	Name   string // name in lists. Defaults to "batch".
	System string // system prompt; the same for every input
	Task   string // the prompt of one input, with {placeholders} for its fields
	Inputs Inputs // one job per input; see [Slice], [File] and [ResultsOf]
	Tools  []Tool // tools that the agents may call. Defaults to none.

	// Schema replaces the JSON Schema that is derived from Out, for constraints that a Go type cannot express.
	Schema json.RawMessage

	Model       string // name of the model. Defaults to the server's first.
	MaxInflight int    // model requests in flight per worker. Defaults to the safe number of the backend.
	MaxTurns    int    // model calls of one job. Defaults to 8.
	MaxRetries  int    // retries of one turn after a transient fault. 0 means 3; a negative number disables retries.
	MaxAttempts int    // workers that may die with one job. Defaults to 3.
	Timeouts    Timeouts
	Sampling    Sampling
	// KeepReasoning selects the reasoning that later turns send back to the model. Defaults to KeepAuto: turns with tool calls.
	KeepReasoning KeepReasoning

	// JobBudget limits one job, which fails as BudgetExceeded when it has used the budget. BatchBudget limits the whole batch with
	// its planner and reducer. When it is used up, no model call starts, and Run and Stream return a *PausedError. Both default to
	// no limit. A budget in dollars needs Prices.
	JobBudget, BatchBudget Budget
	Prices                 Prices

	// SkipBadInputs fails only the job of an input that has no value for a placeholder, as BadInput. By default such an input fails
	// the whole batch before any job runs.
	SkipBadInputs bool

	// Literal accepts a Task that looks like another template language, or that uses no field of the inputs. Only the names of
	// fields in braces are placeholders then; other braces are text.
	Literal bool

	// For clusters.
	Owner    string        // owners share the workers equally. Defaults to the user of the operating system.
	Priority int           // order among the batches of one owner; higher first. Defaults to 0.
	TTL      time.Duration // time to keep results after the batch is done. Defaults to 7 days.

	// OnResult is called with every result when its job ends, before Run returns it or Stream yields it. Calls are sequential, on
	// the caller's goroutine, and delay later results. The results of a planner and a reducer are not passed. Optional.
	OnResult func(Result[Out])
}

// Timeouts limit one model call, one tool call and one attempt at a job. The defaults are 10 minutes, 1 minute and no limit.
type Timeouts struct {
	Turn, Tool, Job time.Duration
}

// Sampling holds the sampling parameters of model calls. Nil and 0 select the server's default; a temperature of 0 is new(0.0).
type Sampling = spec.Sampling

// KeepReasoning selects the reasoning that a job sends back to its model.
type KeepReasoning = spec.KeepReasoning

// The values of Batch.KeepReasoning.
const (
	KeepAuto   = spec.KeepAuto
	KeepAlways = spec.KeepAlways
	KeepNever  = spec.KeepNever
)

// Budget limits tokens and US dollars. Tokens are those of prompts, cached or not, and of answers. A zero field sets no limit.
type Budget = batch.Budget

// Prices are in US dollars per million tokens. Cached is the price of prompt tokens in the server's cache and defaults to Prompt.
type Prices = batch.Prices

// wireSpec is the JSON form of a Batch in a spec file.
type wireSpec struct {
	Name         string          `json:"name,omitempty"`
	SystemPrompt string          `json:"system_prompt,omitempty"`
	Task         string          `json:"task,omitempty"`
	Inputs       json.RawMessage `json:"inputs,omitempty"`
	Tools        []string        `json:"tools,omitempty"`
	OutputSchema json.RawMessage `json:"output_schema,omitempty"`
	Plan         json.RawMessage `json:"plan,omitempty"`
	Reduce       json.RawMessage `json:"reduce,omitempty"`
	Model        string          `json:"model,omitempty"`
	MaxInflight  int             `json:"max_inflight,omitempty"`
	MaxTurns     int             `json:"max_turns,omitempty"`
	MaxRetries   *int            `json:"max_retries,omitempty"`
	MaxAttempts  int             `json:"max_attempts,omitempty"`
	Timeouts     wireTimeouts    `json:"timeouts,omitzero"`
	Sampling     Sampling        `json:"sampling,omitzero"`
	Keep         KeepReasoning   `json:"keep_reasoning,omitempty"`
	Budget       wireBudgets     `json:"budget,omitzero"`
	Prices       Prices          `json:"prices,omitzero"`
	Priority     int             `json:"priority,omitempty"`
	Owner        string          `json:"owner,omitempty"`
	TTL          string          `json:"ttl,omitempty"`
	OnBadInput   spec.OnBadInput `json:"on_bad_input,omitempty"`
	Literal      bool            `json:"literal,omitempty"`
}

type wireBudgets struct {
	Job   Budget `json:"job,omitzero"`
	Batch Budget `json:"batch,omitzero"`
}

type wireTimeouts struct {
	Turn string `json:"turn,omitempty"`
	Tool string `json:"tool,omitempty"`
	Job  string `json:"job,omitempty"`
}

// stages are the planner and the reducer of a batch. Zero fields skip a stage.
type stages struct {
	plan, reduce     json.RawMessage // the fields plan and reduce of the spec
	planned, reduced func(batch.Result) error
	// checkPlan and checkSummary return an error for an output that cannot be decoded.
	checkPlan, checkSummary func(output json.RawMessage) error
	tools                   []toolpool.Tool // the planner's tools that are functions of this program
}

// wire returns the batch as a spec, and the tools that are functions of this program.
func (b Batch[Out]) wire(s stages) (json.RawMessage, []toolpool.Tool, error) {
	schema, err := schemaOf[Out](b.Schema)
	if err != nil {
		return nil, nil, err
	}
	names, own, err := wireTools(b.Tools)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range s.tools {
		if !slices.ContainsFunc(own, func(o toolpool.Tool) bool { return o.Name == t.Name }) {
			own = append(own, t)
		}
	}
	w := wireSpec{
		Name: b.Name, SystemPrompt: b.System, Task: b.Task, Inputs: b.Inputs.wire, Tools: names, OutputSchema: schema,
		Plan: s.plan, Reduce: s.reduce, Model: b.Model, MaxInflight: b.MaxInflight, MaxTurns: b.MaxTurns, MaxRetries: wireRetries(b.MaxRetries),
		MaxAttempts: b.MaxAttempts, Timeouts: b.Timeouts.wire(), Sampling: b.Sampling, Keep: b.KeepReasoning,
		Budget: wireBudgets{b.JobBudget, b.BatchBudget}, Prices: b.Prices, Priority: b.Priority, Owner: b.Owner, TTL: wait(b.TTL), Literal: b.Literal,
	}
	if b.SkipBadInputs {
		w.OnBadInput = spec.Skip
	}
	text, err := encode(w)
	return text, own, err
}

// wireTools returns the names of tools for a spec, and the tools that are functions of this program.
func wireTools(tools []Tool) (names []string, own []toolpool.Tool, err error) {
	var faults []error
	for _, t := range tools {
		faults = append(faults, t.err)
		names = append(names, t.Name)
		if t.Run != nil {
			own = append(own, t.Tool)
		}
	}
	return names, own, errors.Join(faults...)
}

func (t Timeouts) wire() wireTimeouts { return wireTimeouts{wait(t.Turn), wait(t.Tool), wait(t.Job)} }

// wireRetries returns the number of retries for a spec, or nil for the default.
func wireRetries(n int) *int {
	if n == 0 {
		return nil
	}
	return new(max(n, 0))
}

// encode returns v as JSON without HTML escapes, because prompts keep < and >.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the batch: %w", err)
	}
	return buf.Bytes(), nil
}

// wait returns a duration for a spec, or "" for the default.
func wait(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func isText[Out any]() bool { return reflect.TypeFor[Out]().Kind() == reflect.String }

// schemaOf returns the given schema, or the one derived from Out. It returns nil for free text.
func schemaOf[Out any](given json.RawMessage) (json.RawMessage, error) {
	if given != nil || isText[Out]() {
		return given, nil
	}
	s, err := jsonschema.For[Out](nil)
	if err != nil {
		return nil, fmt.Errorf("derive the output schema of %s: %w", reflect.TypeFor[Out](), err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("derive the output schema of %s: %w", reflect.TypeFor[Out](), err)
	}
	return text, nil
}
