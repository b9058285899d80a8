package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Plan is a compiled spec without its inputs: what a worker needs to run any job of the batch. Its JSON form is kept
// in Redis for the life of the batch, so fields may be added and none may change its meaning. It holds no secret.
type Plan struct {
	Name     string `json:"name"`
	Owner    string `json:"owner,omitempty"`
	Priority int    `json:"priority,omitempty"`

	// System is the shared prefix: system prompt, values that are the same in every input, schema instruction.
	// Byte-identical for every job. May be empty.
	System string `json:"system"`
	// Task is the per-job part as a template with the constant values filled in. Render with [Plan.Prompt].
	Task string `json:"task"`
	// Schema is the output schema, compact JSON; empty for free text. Without one, the output is {"text": …}.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Tools are the names of the tools that the agent may call.
	Tools []string `json:"tools,omitempty"`
	// ToolSettings narrow what a tool's operator allows, by the tool's name in Tools.
	ToolSettings map[string]ToolSetting `json:"tool_settings,omitempty"`

	Model       string        `json:"model,omitempty"`        // "" takes the server's own
	AnyModel    bool          `json:"any_model,omitempty"`    // jobs may use different models; else the first that answers is used for all
	MaxInflight int           `json:"max_inflight,omitempty"` // model requests in flight per worker; 0 leaves it to the worker
	MaxTurns    int           `json:"max_turns"`
	MaxRetries  int           `json:"max_retries"`  // of one turn after a transient fault
	MaxAttempts int           `json:"max_attempts"` // leases of one job
	Timeouts    Timeouts      `json:"timeouts"`
	Sampling    Sampling      `json:"sampling"`
	TTL         time.Duration `json:"ttl"` // nanoseconds
	JobBudget   batch.Budget  `json:"job_budget,omitzero"`
	BatchBudget batch.Budget  `json:"batch_budget,omitzero"` // as submitted; it may be raised later
	Prices      batch.Prices  `json:"prices,omitzero"`

	// KeepReasoning is "" for KeepAuto.
	KeepReasoning KeepReasoning `json:"keep_reasoning,omitempty"`
	// Names maps placeholders of Task to the fields and paths of a plan's items, where the names differ. Jobs of known inputs
	// have their values under the placeholder's name, so Names is nil for them.
	Names map[string]string `json:"names,omitempty"`

	// Order is [OrderInput], or "" to let the submitter choose the order in which the jobs are fed.
	Order Order `json:"order,omitempty"`

	// Transcripts says that results carry the conversation that led to them.
	Transcripts bool `json:"transcripts,omitempty"`

	// Reduces is the batch whose results the one job of this plan reduces; "" for any other plan. Its Task has the
	// placeholders {results} and {n}.
	Reduces batch.ID `json:"reduces,omitempty"`

	// Plans is the batch whose jobs are the items that the one job of this plan answers with; "" for any other plan.
	Plans batch.ID `json:"plans,omitempty"`
	// MaxItems bounds these items; 0 for any other plan.
	MaxItems int `json:"max_items,omitempty"`

	template *Template // Task, parsed; nil in a Plan that was not made by ParsePlan or Compile
}

// ParsePlan reads a plan from its JSON form.
func ParsePlan(data []byte) (*Plan, error) {
	var p Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	p.template = ParseTemplate(p.Task)
	return &p, nil
}

// Prompt renders the user message of the job with this input. It is safe for concurrent use. A plan from [ParsePlan]
// or [Spec.Compile] parses its template once; changing Task afterwards has no effect on it.
func (p *Plan) Prompt(in map[string]any) (string, error) {
	t := p.template
	if t == nil {
		t = ParseTemplate(p.Task)
	}
	if len(p.Names) == 0 {
		return t.Render(in)
	}
	values := maps.Clone(in)
	for alias, name := range p.Names {
		value, _, ok := lookup(in, name)
		if !ok {
			return "", fmt.Errorf("the input has no field %q, which the prompt uses as {%s}", name, name)
		}
		values[alias] = value
	}
	return t.Render(values)
}

// Opening returns the prompt of the job with this input from the first placeholder on, and at most its first bytes. What comes before is
// the same for all jobs. It ends where the input lacks a value.
func (p *Plan) Opening(in map[string]any, most int) string {
	t := p.template
	if t == nil {
		t = ParseTemplate(p.Task)
	}
	var b []byte
	for i, part := range t.parts {
		switch {
		case len(b) >= most:
		case part.field != "":
			value, ok := in[part.field]
			if !ok {
				return string(b)
			}
			longer, err := appendValue(b, value)
			if err != nil {
				return string(b)
			}
			b = longer
		case i > 0:
			b = append(b, part.text...)
		}
	}
	return string(b[:min(len(b), most)])
}

// Order is the order in which the jobs of a batch are fed.
type Order string

const (
	// OrderPrefix sorts jobs by their prompts where that saves prompt tokens. It is the default, and a Plan has "" for it.
	OrderPrefix Order = "prefix"
	// OrderInput is the order of the inputs.
	OrderInput Order = "input"
)

// ToolSetting asks for less of a tool than its operator allows. Zero values leave the operator's.
type ToolSetting struct {
	Share     string        `json:"share,omitempty"` // pure, ttl, inflight or effect, see docs/tools.md
	TTL       time.Duration `json:"ttl,omitempty"`   // for ttl
	MaxTokens int           `json:"max_tokens,omitempty"`
}

// Timeouts bound one turn's model call, one tool call and one whole attempt of a job. 0 means no limit for Job.
type Timeouts struct {
	Turn time.Duration `json:"turn"` // Defaults to 10 minutes.
	Tool time.Duration `json:"tool"` // Defaults to 60 s.
	Job  time.Duration `json:"job,omitempty"`
}

// Sampling is passed to the model. Nil and 0 leave the server's default.
type Sampling struct {
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"`
	Seed        *int64   `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	// ExtraBody are further fields of the request's body, as the server has them. None is a field that batchagent sets.
	ExtraBody map[string]json.RawMessage `json:"extra_body,omitempty"`
}
