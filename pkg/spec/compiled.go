package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Compiled is a compiled spec without its inputs. It holds everything that a worker needs to run any job of the batch. Its
// JSON form is kept in Redis for the life of the batch, so fields may be added but never change their meaning. It
// contains no secret.
type Compiled struct {
	Name     string `json:"name"`
	Owner    string `json:"owner,omitempty"`
	Priority int    `json:"priority,omitempty"`

	// PromptVersion is a hash of the prompts as the author wrote them, and of all else that is the same in every question.
	PromptVersion string `json:"prompt_version,omitempty"`

	// System is the shared prefix: system prompt, values that are the same in every input, schema instruction. It is
	// byte-identical for every job. May be empty.
	System string `json:"system"`
	// Task is the per-job part as a template with the constant values filled in. Render it with [Compiled.Prompt].
	Task string `json:"task"`
	// Schema is the output schema as compact JSON. It is empty for free text; the output is then {"text": …}.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Tools are the names of the tools that the agent may call.
	Tools []string `json:"tools,omitempty"`
	// ToolSettings narrow the operator's settings of tools, by the tool's name in Tools.
	ToolSettings map[string]ToolSetting `json:"tool_settings,omitempty"`

	Model       string        `json:"model,omitempty"`        // "" uses the server's own model
	AnyModel    bool          `json:"any_model,omitempty"`    // jobs may use different models; otherwise the first model that answers is used for all
	MaxInflight int           `json:"max_inflight,omitempty"` // model requests in flight per worker; 0 uses the worker's limit
	MaxTurns    int           `json:"max_turns"`
	MaxRetries  int           `json:"max_retries"`  // retries of one turn after a transient fault
	MaxAttempts int           `json:"max_attempts"` // leases of one job
	Timeouts    Timeouts      `json:"timeouts"`
	Sampling    Sampling      `json:"sampling"`
	TTL         time.Duration `json:"ttl"` // nanoseconds
	JobBudget   batch.Budget  `json:"job_budget,omitzero"`
	BatchBudget batch.Budget  `json:"batch_budget,omitzero"` // as submitted; it may be raised later
	Prices      batch.Prices  `json:"prices,omitzero"`

	// KeepReasoning is "" for KeepAuto.
	KeepReasoning KeepReasoning `json:"keep_reasoning,omitempty"`
	// Names maps placeholders of Task to the fields and paths of a plan's items, where the names differ. It is nil for jobs
	// of known inputs: their payloads use the placeholder's name.
	Names map[string]string `json:"names,omitempty"`

	// Preload are calls. Their results are in front of each job's prompt, in this order.
	Preload []Preload `json:"preload,omitempty"`
	// Agent is the program that runs in place of our agent loop; nil without one.
	Agent *Agent `json:"agent,omitempty"`
	// ID is the template of the jobs' IDs, as the author wrote it. Payloads contain the IDs. It is "" without IDs.
	ID string `json:"id,omitempty"`
	// Carry are the fields of the inputs that results repeat, in order. See [Compiled.Row].
	Carry []string `json:"carry,omitempty"`

	// Order is [OrderInput], or "" to let the submitter choose the order in which the jobs are fed.
	Order Order `json:"order,omitempty"`

	// Identical is [IdenticalOnce], or "" to run every job.
	Identical Identical `json:"identical,omitempty"`

	// Transcripts adds the conversation to each result.
	Transcripts bool `json:"transcripts,omitempty"`

	// Reduces is the batch that the one job of this spec reduces, or "" for other specs. Its Task has the placeholders
	// {results} and {n}.
	Reduces batch.ID `json:"reduces,omitempty"`

	// Plans is the batch that gets its jobs from the answer of this spec's one job, or "" for other specs.
	Plans batch.ID `json:"plans,omitempty"`
	// MaxItems limits the items of that answer; 0 for other specs.
	MaxItems int `json:"max_items,omitempty"`

	template *Template // Task, parsed; nil in a Compiled that ParseCompiled or Spec.Prepare did not make
}

// ParseCompiled reads a compiled spec from its JSON form.
func ParseCompiled(data []byte) (*Compiled, error) {
	var c Compiled
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("read compiled spec: %w", err)
	}
	c.template = ParseTemplate(c.Task)
	return &c, nil
}

// Prompt renders the user message of the job with this input. It is safe for concurrent use. A compiled spec from [ParseCompiled] or
// [Spec.Prepare] parses its template once; later changes of Task have no effect.
func (c *Compiled) Prompt(in map[string]any) (string, error) {
	t := c.template
	if t == nil {
		t = ParseTemplate(c.Task)
	}
	values, err := c.values(in)
	if err != nil {
		return "", err
	}
	return t.Render(values)
}

// values returns the values of the templates' placeholders.
func (c *Compiled) values(in map[string]any) (map[string]any, error) {
	if len(c.Names) == 0 {
		return in, nil
	}
	values := maps.Clone(in)
	for alias, name := range c.Names {
		value, _, ok := lookup(in, name)
		if !ok {
			return nil, fmt.Errorf("the input has no field %q, which the prompt uses as {%s}", name, name)
		}
		values[alias] = value
	}
	return values, nil
}

// Opening returns the prompt of the job with this input from the first placeholder on, and at most its first bytes. What comes before is
// the same for all jobs. It ends where the input lacks a value. Preloaded calls are in front, with texts of an assumed length for their
// results.
func (c *Compiled) Opening(in map[string]any, most int) string {
	t := c.template
	if t == nil {
		t = ParseTemplate(c.Task)
	}
	b := []byte(c.foretaste(in, AssumedResult))
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

// ToolSetting narrows the operator's setting of a tool. Zero values keep the operator's setting.
type ToolSetting struct {
	Share     string        `json:"share,omitempty"` // pure, ttl, inflight or effect, see docs/tools.md
	TTL       time.Duration `json:"ttl,omitempty"`   // for ttl
	MaxTokens int           `json:"max_tokens,omitempty"`
}

// Timeouts limit one turn's model call, one tool call and one whole attempt of a job. For Job, 0 means no limit.
type Timeouts struct {
	Turn time.Duration `json:"turn"` // Defaults to 10 minutes.
	Tool time.Duration `json:"tool"` // Defaults to 60 s.
	Job  time.Duration `json:"job,omitempty"`
}

// Sampling holds the sampling parameters of model calls. Nil and 0 are not sent: the server uses its own default.
type Sampling struct {
	// Temperature is from 0 to 2. Lower values make answers more alike; 0 selects the most probable token.
	Temperature *float64 `json:"temperature,omitempty"`
	// TopP is above 0 and at most 1. The model samples from the most probable tokens that have this probability together.
	TopP *float64 `json:"top_p,omitempty"`
	// MaxTokens limits the tokens of one answer. A longer one is cut, and the job fails as OutputTruncated.
	MaxTokens int `json:"max_tokens,omitempty"`
	// Seed makes answers repeatable, on servers that support it.
	Seed *int64 `json:"seed,omitempty"`
	// Stop has at most 4 texts. An answer ends before the first one that occurs.
	Stop []string `json:"stop,omitempty"`
	// ExtraBody holds more fields of the request's body, in the server's notation. It must not contain fields that
	// batchagent sets.
	ExtraBody map[string]json.RawMessage `json:"extra_body,omitempty"`
}
