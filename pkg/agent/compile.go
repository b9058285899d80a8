package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

const (
	defaultTurnTimeout = 10 * time.Minute
	defaultToolTimeout = 60 * time.Second
)

// Definition is a compiled spec, ready to run any job of its batch. It is immutable except for the context size that it
// learns, and safe for concurrent use.
type Definition struct {
	system    string
	ask       func(input map[string]any) (spec.Asked, error)
	asked     func(p *spec.Payload) (asked spec.Asked, bad string)
	row       func(*spec.Payload) (id string, input json.RawMessage, err error)
	agent     *spec.Agent // nil for our own agent loop
	outline   func(input map[string]any, result int) (string, error)
	output    *schema.Schema  // nil for free text
	lists     bool            // output may accept an array
	format    *backend.Schema // the same for the server; nil for free text
	tools     []backend.Tool
	calls     map[string]toolpool.Call // fields shared by all calls of a tool, by tool name
	preloads  map[string]toolpool.Call // the same for preloaded calls, by the name in the spec
	effects   bool                     // a tool has side effects
	once      bool                     // one of several identical jobs runs for all
	model     string
	taskBytes int          // of the template
	window    int          // tokens of context; 0 if unknown
	learned   atomic.Int64 // smallest context that a refusal gave, in tokens; 0 without one
	budget    batch.Budget // of one job
	prices    batch.Prices
	// budgetField is the name of the budget in the spec.
	budgetField string
	// items returns the error of an answer that is a plan; nil if the batch is no plan.
	items  func(output json.RawMessage) ([][]byte, error)
	checks []func(output json.RawMessage) error // given by the caller
	// question makes the jobs' fingerprints. It is nil if a tool has side effects: the output of such a job is never reused.
	question      *spec.Question
	promptVersion string
	asks          spec.Question // makes the hash of every job's question
	// simulated marks results of the simulated server.
	simulated bool

	sampling    backend.Sampling
	priority    int
	maxTurns    int
	maxRetries  int
	transcripts bool // results contain the conversation
	keep        spec.KeepReasoning
	turnTimeout time.Duration
	toolTimeout time.Duration
	jobTimeout  time.Duration // 0 means none
}

// Compile prepares a compiled spec for a model, once per batch and worker. tools are the worker's tools; Compile fails if one
// that the spec names is missing. An output that matches its schema must also pass the checks. Their errors are sent to
// the model. They are called concurrently.
func Compile(compiled *spec.Compiled, tools []toolpool.Tool, model backend.Model, checks ...func(output json.RawMessage) error) (*Definition, error) {
	if compiled.MaxTurns < 1 || compiled.MaxRetries < 0 {
		return nil, fmt.Errorf("compile plan %q: max_turns is %d and max_retries %d; at least 1 and 0 are needed", compiled.Name, compiled.MaxTurns, compiled.MaxRetries)
	}
	d := &Definition{
		system: compiled.System,
		ask:    compiled.Ask,
		asked:  compiled.Asked,
		row:    compiled.Row, promptVersion: compiled.PromptVersion,
		agent:       compiled.Agent,
		outline:     compiled.Outline,
		calls:       map[string]toolpool.Call{},
		preloads:    map[string]toolpool.Call{},
		taskBytes:   len(compiled.Task),
		model:       cmp.Or(compiled.Model, model.ID),
		window:      model.MaxModelLen,
		budget:      compiled.JobBudget,
		prices:      compiled.Prices,
		budgetField: "budget.job",
		sampling:    backend.Sampling(compiled.Sampling),
		priority:    compiled.Priority,
		maxTurns:    compiled.MaxTurns,
		maxRetries:  compiled.MaxRetries,
		transcripts: compiled.Transcripts,
		keep:        compiled.KeepReasoning,
		turnTimeout: cmp.Or(compiled.Timeouts.Turn, defaultTurnTimeout),
		toolTimeout: cmp.Or(compiled.Timeouts.Tool, defaultToolTimeout),
		jobTimeout:  compiled.Timeouts.Job,
		simulated:   model.Simulated,
		checks:      checks,
	}
	switch {
	case compiled.Plans != "":
		d.items, d.budgetField = compiled.Items, "plan.budget"
	case compiled.Reduces != "":
		d.budgetField = "reduce.budget"
	}
	if len(compiled.Schema) > 0 {
		output, err := schema.Compile(compiled.Schema)
		if err != nil {
			return nil, fmt.Errorf("compile plan %q: output schema: %w", compiled.Name, err)
		}
		d.output, d.lists = output, mayBeList(compiled.Schema)
		d.format = &backend.Schema{Name: "output", JSON: compiled.Schema}
	}
	var missing []string
	for _, name := range compiled.Tools {
		i := slices.IndexFunc(tools, func(t toolpool.Tool) bool { return t.Name == name })
		if i < 0 {
			missing = append(missing, name)
			continue
		}
		t := tools[i]
		own := compiled.ToolSettings[name]
		share, ttl, err := toolpool.Narrow(t, toolpool.Share(own.Share), own.TTL)
		if err != nil && share == "" {
			return nil, fmt.Errorf("compile plan %q: %w", compiled.Name, err)
		}
		d.calls[name] = toolpool.Call{Name: name, Timeout: d.toolTimeout, Share: share, TTL: ttl, MaxTokens: own.MaxTokens}
		d.effects = d.effects || share == toolpool.Effect
		d.tools = append(d.tools, backend.Tool{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters, Strict: canBeStrict(t.Parameters),
		})
	}
	for _, p := range compiled.Preload {
		if i := slices.IndexFunc(tools, func(t toolpool.Tool) bool { return t.Name == toolpool.WireName(p.Tool) }); i >= 0 {
			if err := d.addPreload(compiled, p.Tool, tools[i]); err != nil {
				return nil, err
			}
		} else if !slices.Contains(missing, p.Tool) {
			missing = append(missing, p.Tool)
		}
	}
	d.once = d.runsOnce(compiled)
	if len(missing) > 0 {
		return nil, fmt.Errorf("compile plan %q: this worker has no tool %s", compiled.Name, strings.Join(missing, ", "))
	}
	asked := make([]spec.AskedTool, len(d.tools))
	for i, name := range compiled.Tools {
		t := tools[slices.IndexFunc(tools, func(t toolpool.Tool) bool { return t.Name == name })]
		asked[i] = spec.AskedTool{Name: t.Name, Version: t.Version, MaxTokens: compiled.ToolSettings[name].MaxTokens}
	}
	for _, name := range PreloadOnly(compiled) {
		t := tools[slices.IndexFunc(tools, func(t toolpool.Tool) bool { return t.Name == name })]
		asked = append(asked, spec.AskedTool{Name: t.Name, Version: t.Version, Preloaded: true})
	}
	var err error
	if d.asks, err = compiled.Asks(asked); err != nil {
		return nil, err
	}
	return d, d.findQuestion(compiled)
}

// Question returns the hash of the question of a job with this payload. It is empty if the payload cannot be read or is
// a reduction.
func (d *Definition) Question(payload []byte) string {
	in, err := spec.DecodePayload(payload)
	if err != nil || in.Reduce != nil || in.Ended != nil {
		return ""
	}
	asked, bad := d.asked(&in)
	if bad != "" {
		return d.asks.Unusable(bad)
	}
	return d.asks.For(asked)
}

// addPreload adds a tool whose calls are preloaded. It returns an error for a tool with side effects.
func (d *Definition) addPreload(compiled *spec.Compiled, name string, t toolpool.Tool) error {
	call, ok := d.calls[t.Name]
	if !ok {
		call = toolpool.Call{Name: t.Name, Timeout: d.toolTimeout, Share: t.Share, TTL: t.TTL}
	}
	if call.Share == toolpool.Effect {
		return fmt.Errorf("compile plan %q: preload: %s", compiled.Name, spec.NoEffects(name))
	}
	d.preloads[name] = call
	return nil
}

// PreloadOnly returns the wire names of the tools that are preloaded and that the agent cannot call, each once.
func PreloadOnly(compiled *spec.Compiled) []string {
	var out []string
	for _, p := range compiled.Preload {
		wire := toolpool.WireName(p.Tool)
		if !slices.ContainsFunc(compiled.Tools, func(name string) bool { return toolpool.WireName(name) == wire }) && !slices.Contains(out, wire) {
			out = append(out, wire)
		}
	}
	return out
}

// Row returns the ID and the carried fields of a job with this payload. Both are empty if the payload cannot be read.
func (d *Definition) Row(payload []byte) (id string, input json.RawMessage) {
	in, err := spec.DecodePayload(payload)
	if err != nil {
		return "", nil
	}
	if in.Ended != nil {
		return in.Ended.ID, in.Ended.Input
	}
	id, input, err = d.row(&in)
	if err != nil {
		return id, nil
	}
	return id, input
}

// Outline returns the prompt that a payload renders to, or "" if its job makes no model call of its own. Preloaded results are not known
// yet. A text of a given length is in place of each one that may differ between jobs, the same for equal calls.
func (d *Definition) Outline(payload []byte, result int) string {
	in, err := spec.DecodePayload(payload)
	if err != nil || in.Reduce != nil || in.Ended != nil || in.Bad != "" {
		return ""
	}
	text, err := d.outline(in.Input, result)
	if err != nil {
		return ""
	}
	return text
}

// mayBeList reports whether a schema may accept an array.
func mayBeList(text []byte) bool {
	var root struct{ Type any }
	if json.Unmarshal(text, &root) != nil || root.Type == nil {
		return true
	}
	several, ok := root.Type.([]any)
	return root.Type == "array" || ok && slices.Contains(several, any("array"))
}

// findQuestion sets question, unless a tool has side effects.
func (d *Definition) findQuestion(compiled *spec.Compiled) error {
	var names []string
	for _, t := range d.tools {
		if d.calls[t.Name].Share == toolpool.Effect {
			return nil
		}
		names = append(names, t.Name)
	}
	q, err := compiled.Question(d.model, names)
	d.question = &q
	return err
}

// Effects reports whether a tool of the program has side effects.
func (d *Definition) Effects() bool { return d.effects }

// Model returns the name of the model that the program's calls use.
func (d *Definition) Model() string { return d.model }

// nextTurn describes the next model call.
type nextTurn struct {
	number    int  // 1-based
	remaining int  // turns that may still follow, including this one
	mayCall   bool // the model may call tools
	repair    bool // the previous answer was invalid
}

// next plans the turn after done others. On the last turn, and for a repair, tools are withheld, so that the model must
// answer. The repair may exceed max_turns by one turn.
func (d *Definition) next(done int, repair bool) nextTurn {
	return nextTurn{
		number:    done + 1,
		remaining: max(1, d.maxTurns-done),
		mayCall:   len(d.tools) > 0 && !repair && done+1 < d.maxTurns,
		repair:    repair,
	}
}

// request builds the model call of a turn. Withheld tools stay in the request: servers render them into the prompt, and
// without them the whole prefix would change. The response schema is sent only when no tool can be called, because
// servers drop tool calls when a request has both.
func (d *Definition) request(job Job, t nextTurn, messages []backend.Message) *backend.Request {
	r := &backend.Request{
		ID:       fmt.Sprintf("%s#%d", job.ID, t.number),
		Model:    d.model,
		Messages: messages,
		Tools:    d.tools,
		Sampling: d.sampling,
		Hints:    backend.Hints{Priority: d.priority, Session: job.ID.String()},
	}
	switch {
	case t.mayCall:
		r.ToolChoice = backend.ToolChoiceAuto
	case len(d.tools) > 0:
		r.ToolChoice = backend.ToolChoiceNone
	}
	if !t.mayCall {
		r.Schema = d.format
	}
	return r
}
