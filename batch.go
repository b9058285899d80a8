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

// Batch is one task over many inputs. Task and Inputs are needed. The fields are those of a spec file, and docs/spec.md
// explains them.
//
// Out is what an agent answers: a struct or another type that JSON holds, whose schema the answer must match. Tags are
// those of encoding/json, where omitempty makes a field optional, and jsonschema:"…" describes a field to the model. With
// string, the answer is free text.
type Batch[Out any] struct {
	Name   string // shown in lists. Defaults to "batch".
	System string // the system prompt; the same for every input
	Task   string // the prompt of one input, with {placeholders} for its fields
	Inputs Inputs
	Tools  []Tool

	// Schema replaces the JSON Schema that is derived from Out, for what a Go type cannot say.
	Schema json.RawMessage

	Model       string // Defaults to the server's first.
	MaxInflight int    // model requests in flight per worker. Defaults to what the backend calls safe.
	MaxTurns    int    // model calls of one job. Defaults to 8.
	MaxRetries  int    // of one turn after a transient fault. Defaults to 3; below 0 there is none.
	MaxAttempts int    // workers that may die with one job. Defaults to 3.
	Timeouts    Timeouts
	Sampling    Sampling
	// KeepReasoning selects the reasoning that later turns send back to the model. Defaults to KeepAuto: turns with tool calls.
	KeepReasoning KeepReasoning

	// JobBudget bounds what one job may use: it then fails as BudgetExceeded. BatchBudget bounds the whole batch, its other stages
	// included: no new job begins, and Run and Stream fail with a *PausedError. A budget in dollars needs Prices.
	JobBudget, BatchBudget Budget
	Prices                 Prices

	// SkipBadInputs lets an input that lacks a placeholder's field fail alone, as BadInput. Otherwise nothing runs.
	SkipBadInputs bool

	// Literal accepts a Task that looks as if it was written for another template language, or that uses no field of the inputs.
	// Braces around anything but the name of a field are then text.
	Literal bool

	// For clusters.
	Owner    string        // Defaults to the user of the operating system.
	Priority int           // higher first
	TTL      time.Duration // how long results are kept after the batch is done. Defaults to 7 days.

	// OnResult is told of every result as it is finished, before Run returns it or Stream yields it: one after the other, on the
	// goroutine that called. While it runs no further result is taken. A planner's result and a reducer's are not among them. Optional.
	OnResult func(Result[Out])
}

// Timeouts bound one model call, one tool call and one whole job. 0 takes 10 minutes, 1 minute and no limit.
type Timeouts struct {
	Turn, Tool, Job time.Duration
}

// Sampling is passed to the model. Nil and 0 leave the server's default: a temperature of 0 is new(0.0), of 0.7 new(0.7).
type Sampling = spec.Sampling

// KeepReasoning selects the reasoning that a job sends back to its model.
type KeepReasoning = spec.KeepReasoning

// The choices for Batch.KeepReasoning.
const (
	KeepAuto   = spec.KeepAuto
	KeepAlways = spec.KeepAlways
	KeepNever  = spec.KeepNever
)

// Budget bounds tokens, prompt (cached or not) and completion, and US dollars. Zero fields bound nothing.
type Budget = batch.Budget

// Prices are in US dollars per million tokens. Cached, of prompt tokens that the server had in its cache, defaults to Prompt.
type Prices = batch.Prices

// wireSpec is a Batch as a spec file has it.
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

// stages are what a batch has beside its jobs; a zero one is nothing.
type stages struct {
	plan, reduce     json.RawMessage // the fields of these names
	planned, reduced func(batch.Result) error
	// checkPlan and checkSummary return an error for an output that cannot be decoded.
	checkPlan, checkSummary func(output json.RawMessage) error
	tools                   []toolpool.Tool // of the planner that are functions of this program
}

// wire is the batch as a spec, and the tools that are functions of this program.
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

// wireTools are tools as a spec has them, and those of them that are functions of this program.
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

// wireRetries are retries as a spec has them; nil for the default.
func wireRetries(n int) *int {
	if n == 0 {
		return nil
	}
	return new(max(n, 0))
}

// encode is JSON as a spec has it: < is <.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the batch: %w", err)
	}
	return buf.Bytes(), nil
}

// wait is a time as a spec has it; "" for the default.
func wait(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func isText[Out any]() bool { return reflect.TypeFor[Out]().Kind() == reflect.String }

// schemaOf is what an answer must match, unless another one is given; nil for free text.
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
