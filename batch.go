package batchagent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Batch is one task over many inputs. It has optional stages: a planner that makes the inputs, and a reducer that combines the
// results. [Run] and [Stream] run it in this process, and [Submit] on a cluster. Task is required, and either Inputs or Plan.
//
// Out is the type of an answer: a struct or another type with a JSON form. Every answer matches the schema of Out. Struct tags are
// those of encoding/json; omitempty makes a field optional. The tag jsonschema:"…" describes a field to the model. If Out is a
// string, the answer is free text.
//
// The tag spec names a field in spec files and in a [FieldError]. docs/spec.md explains the fields.
type Batch[Out any] struct {
	// Name is shown in lists of batches and in traces. It has at most 200 characters. Defaults to "batch".
	Name string `spec:"name"`

	// System is the system prompt. It is the same for every input, so servers keep it in their prefix cache. Defaults to none.
	System string `spec:"system_prompt"`

	// Task is the prompt of one input. A placeholder such as {title} stands for a field of the input. Required.
	Task string `spec:"task"`

	// Inputs has one job per input: see [Slice], [File] and [ResultsOf]. It must be zero if Plan is set.
	Inputs Inputs `spec:"inputs"`

	// ID is a template of each job's ID, such as "{ticket_id}": the program's own key of an input. It is unique and occurs in the
	// job's result. Defaults to none.
	ID string `spec:"id"`

	// Carry names fields of the inputs that results repeat as Input. Defaults to none.
	Carry []string `spec:"carry"`

	// Tools may be called by the agents: see [Func] and [Named]. On a cluster only the names are sent, and jobs run on workers that
	// have all these tools. Defaults to none.
	Tools []Tool `spec:"tools"`

	// Preload are calls. Their results are in front of each prompt. Defaults to none.
	Preload []Preload `spec:"preload"`

	// Identical selects how many of several jobs with the same prompt run. Defaults to [RunEach].
	Identical Identical `spec:"identical"`

	// Schema is a JSON Schema that replaces the one derived from Out. Use it for constraints that a Go type cannot express.
	Schema json.RawMessage `spec:"output_schema"`

	// Agent has the model and the limits of each job.
	Agent Agent `spec:",inline"`

	// Plan makes the inputs: a [Plan]. Defaults to nil: the inputs are Inputs.
	Plan Planner `spec:"plan"`

	// Reduce combines all results into one: a [Reduce]. Defaults to nil: no reduction.
	Reduce Reducer `spec:"reduce"`

	// JobBudget limits the tokens or dollars of one job, which fails as BudgetExceeded when it has used them. A limit in dollars
	// needs Agent.Prices. Defaults to no limit.
	JobBudget Budget `spec:"budget.job"`

	// BatchBudget limits the whole batch with its planner and reducer. When it is used up, no model call starts, and the caller gets
	// a [*PausedError]. A limit in dollars needs Agent.Prices. Defaults to no limit.
	BatchBudget Budget `spec:"budget.batch"`

	// OnBadInput is the effect of an input that has no value for a placeholder. Defaults to [FailBatch].
	OnBadInput OnBadInput `spec:"on_bad_input"`

	// Literal makes the names of fields in braces the only placeholders; other braces are text. It also accepts a Task that looks
	// like another template language, or that uses no field of the inputs. Defaults to false: both are errors.
	Literal bool `spec:"literal"`

	// MaxInflight limits the model requests of this batch in flight per worker. Defaults to the limit of the worker.
	MaxInflight int `spec:"max_inflight"`

	// Reuse takes the outputs of earlier batches for equal jobs, which then make no model call. For Run and Stream it is the name
	// of a results file. For Submit to Redis it is a batch ID, or "owner" for all batches of the same Owner. docs/results.md
	// defines equal jobs. Defaults to "": every job runs.
	Reuse string `spec:"-"`

	// Key identifies the batch for Submit, for 30 days. A second Submit with the same Key, batch and inputs returns the first batch,
	// so that a restarted program finds it. The same Key with another batch is [ErrKeyUsed]. Run and Stream ignore it. Defaults
	// to "": every Submit that ends makes a new batch.
	Key string `spec:"-"`

	// Owner is who the batch belongs to on a cluster. Owners share the workers equally. Defaults to the user of the operating system.
	Owner string `spec:"owner"`

	// Priority orders the batches of one owner on a cluster, from -1000 to 1000; higher first. Defaults to 0.
	Priority int `spec:"priority"`

	// TTL is how long a cluster keeps the results after the batch is done. Defaults to 7 days.
	TTL time.Duration `spec:"ttl"`
}

// Agent has the settings of one job, or of a planner or reducer: its model and its limits. The zero value has all defaults. A planner
// and a reducer take Model, KeepReasoning and Prices of the batch if their own are zero, and a reducer also the limits.
type Agent struct {
	// Model is the name of the model. Defaults to the first model that the server lists.
	Model string `spec:"model"`

	// Sampling has the sampling parameters of every model call. Defaults to those of the server.
	Sampling Sampling `spec:"sampling"`

	// KeepReasoning selects the reasoning that later turns send back to the model. Defaults to [KeepAuto].
	KeepReasoning KeepReasoning `spec:"keep_reasoning"`

	// MaxTurns limits the model calls of one job, which then fails as TurnsExhausted. A reducer has no such limit. Defaults to 8.
	MaxTurns int `spec:"max_turns"`

	// MaxRetries limits the retries of one turn after transient faults. new(0) disables retries. Defaults to 3.
	MaxRetries *int `spec:"max_retries"`

	// MaxAttempts limits the workers that may die with one job, which then fails as WorkerLost. Defaults to 3.
	MaxAttempts int `spec:"max_attempts"`

	// Timeouts limit waits.
	Timeouts Timeouts `spec:"timeouts"`

	// Prices of the model's tokens give the costs in dollars. Defaults to unknown: costs are not shown.
	Prices Prices `spec:"prices"`
}

// Timeouts limit the waits of a job. They have a resolution of one millisecond.
type Timeouts struct {
	// Turn limits one model call. A longer one is retried. Defaults to 10 minutes.
	Turn time.Duration `spec:"turn"`
	// Tool limits one tool call. The model reads that a longer one failed. Defaults to 1 minute.
	Tool time.Duration `spec:"tool"`
	// Job limits one attempt at a job, which then fails as Timeout. Outages of the model server do not count. Defaults to no limit.
	Job time.Duration `spec:"job"`
}

// Sampling holds sampling parameters. Nil and 0 select the server's default; a temperature of 0 is new(0.0).
type Sampling = spec.Sampling

// KeepReasoning selects the reasoning that a job sends back to its model.
type KeepReasoning = spec.KeepReasoning

// The values of Agent.KeepReasoning.
const (
	KeepAuto   = spec.KeepAuto   // the reasoning of turns with tool calls
	KeepAlways = spec.KeepAlways // of all turns
	KeepNever  = spec.KeepNever  // of no turn
)

// Preload is a tool call that is made before the first model call of each job.
type Preload struct {
	// Tool is the name of a tool without side effects: a built-in tool, or one of the tools file or of Batch.Tools.
	Tool string `spec:"tool"`
	// Args are its arguments. A text may have placeholders. A text that is one placeholder becomes the value of the field.
	Args map[string]any `spec:"args"`
}

// Identical selects how many of several jobs with the same prompt run.
type Identical = spec.Identical

// The values of Batch.Identical.
const (
	RunEach Identical = spec.IdenticalEach // each of them runs
	RunOnce Identical = spec.IdenticalOnce // one of them runs, and the others take its result
)

// OnBadInput is the effect of an input that has no value for a placeholder.
type OnBadInput = spec.OnBadInput

// The values of Batch.OnBadInput.
const (
	FailBatch = spec.Fail // no job runs, and the caller gets a [*BadInputsError]
	SkipInput = spec.Skip // only the job of the input fails, as BadInput
)

// Budget limits tokens and US dollars. Tokens are those of prompts, cached or not, and of answers. A zero field sets no limit.
type Budget = batch.Budget

// Prices are in US dollars per million tokens. Cached is the price of prompt tokens in the server's cache and defaults to Prompt.
type Prices = batch.Prices

// program returns the batch in the form that package localrun runs, and its stages.
func (b Batch[Out]) program() (*localrun.Program, stages, error) {
	p := &localrun.Program{Inputs: b.Inputs.records, Reuse: b.Reuse, Check: checkOf(decodeOutput[Out])}
	var s stages
	var err error
	if b.Schema, err = schemaOf[Out]("output_schema", b.Schema); err != nil {
		return nil, s, err
	}
	tools := b.Tools
	if b.Plan != nil {
		if b.Plan, s.plan, err = b.Plan.planner(); err != nil {
			return nil, s, err
		}
		p.CheckPlan = s.plan.check
		tools = append(tools[:len(tools):len(tools)], s.plan.tools...)
	}
	if b.Reduce != nil {
		if b.Reduce, s.reduce, err = b.Reduce.reducer(); err != nil {
			return nil, s, err
		}
		p.CheckSummary = s.reduce.check
	}
	if p.Tools, err = functionsOf(tools); err != nil {
		return nil, s, err
	}
	if b.Inputs.records != nil {
		b.Inputs = Inputs{}
	}
	p.Spec = b
	return p, s, nil
}

// functionsOf returns the tools that are functions of this program, each once. Batch and Plan may have the same one. Two functions of one
// name are an error, because agents would call only the first.
func functionsOf(tools []Tool) ([]toolpool.Tool, error) {
	var own []toolpool.Tool
	seen := map[string]*byte{}
	for _, t := range tools {
		if t.err != nil {
			return nil, &UsageError{t.err}
		}
		if t.Run == nil {
			continue
		}
		if other, ok := seen[t.Name]; ok && (other != t.id || t.id == nil) {
			return nil, &UsageError{fmt.Errorf("two functions are tools of the name %q; rename one", t.Name)}
		} else if !ok {
			own = append(own, t.Tool)
		}
		seen[t.Name] = t.id
	}
	return own, nil
}
