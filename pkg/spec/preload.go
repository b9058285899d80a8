package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// Preload is a tool call that a worker makes before the first model call of each job. Its result is in front of the job's prompt.
type Preload struct {
	Tool string `json:"tool"`
	// Args is a JSON object. Each string in it is a [Template]. A string that is only a placeholder becomes the value of its field, with
	// its type.
	Args json.RawMessage `json:"args"`

	args argument // Args, parsed; nil until parsePreloads
}

// PreloadCall is a call that was made for one job.
type PreloadCall struct {
	Tool string          `json:"tool"`
	Args json.RawMessage `json:"args"` // compact, with sorted keys
}

// argument is a JSON value with templates: a map, a list, a *Template for a string, or the raw JSON of any other value.
type argument any

// parseArguments reads the JSON form of a [Preload]'s arguments.
func parseArguments(text json.RawMessage) (argument, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("read arguments: %w", err)
	}
	return parsed(value), nil
}

func parsed(value any) argument {
	switch v := value.(type) {
	case string:
		return ParseTemplate(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = parsed(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = parsed(element)
		}
		return out
	}
	return value
}

// mapTemplates returns a copy of an argument with f's value in place of each template.
func mapTemplates(a argument, f func(*Template) (any, error)) (any, error) {
	switch v := a.(type) {
	case *Template:
		return f(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			value, err := mapTemplates(member, f)
			if err != nil {
				return nil, err
			}
			out[name] = value
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			value, err := mapTemplates(element, f)
			if err != nil {
				return nil, err
			}
			out[i] = value
		}
		return out, nil
	}
	return a, nil
}

// fields returns the placeholders of the call's arguments, sorted.
func (p *Preload) fields() []string {
	var out []string
	args, err := p.arguments()
	if err != nil {
		return nil
	}
	_, _ = mapTemplates(args, func(t *Template) (any, error) {
		out = append(out, t.Fields()...)
		return nil, nil
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// arguments returns Args, parsed.
func (p *Preload) arguments() (argument, error) {
	if p.args != nil {
		return p.args, nil
	}
	return parseArguments(p.Args)
}

// Varies reports whether the call may differ between jobs.
func (p *Preload) Varies() bool { return len(p.fields()) > 0 }

// parsePreloads parses the arguments of all preloaded calls.
func (c *Compiled) parsePreloads() error {
	var errs []error
	for i := range c.Preload {
		p := &c.Preload[i]
		var err error
		if p.args, err = parseArguments(p.Args); err != nil {
			errs = append(errs, fmt.Errorf("preload[%d] of %q: %w", i, c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Asked is the content of a job's question: its preloaded calls and its prompt.
type Asked struct {
	Calls  []PreloadCall
	Prompt string
	Input  []byte // of a program, which sees all fields, as JSON; nil for our own agent
}

// text identifies the job among the jobs of its batch. Without calls it is the prompt.
func (a Asked) text() string {
	switch {
	case a.Input != nil:
		return string(a.Input) + "\xff" + a.Prompt
	case len(a.Calls) == 0:
		return a.Prompt
	}
	calls, _ := plainjson.Marshal(a.Calls) // raw JSON and text always encode
	return string(calls) + "\xff" + a.Prompt
}

// Ask returns the prompt of the job with this input, and its preloaded calls. It is safe for concurrent use.
func (c *Compiled) Ask(in map[string]any) (Asked, error) {
	prompt, err := c.Prompt(in)
	if err != nil {
		return Asked{}, err
	}
	calls, err := c.preloads(in)
	return Asked{Calls: calls, Prompt: prompt}, err
}

// preloads returns the calls that are preloaded for the job with this input.
func (c *Compiled) preloads(in map[string]any) ([]PreloadCall, error) {
	if len(c.Preload) == 0 {
		return nil, nil
	}
	values, err := c.values(in)
	if err != nil {
		return nil, err
	}
	calls := make([]PreloadCall, len(c.Preload))
	for i := range c.Preload {
		p := &c.Preload[i]
		parsed, err := p.arguments()
		if err != nil {
			return nil, fmt.Errorf("preload %s: %w", p.Tool, err)
		}
		args, err := mapTemplates(parsed, func(t *Template) (any, error) { return t.value(values) })
		if err != nil {
			return nil, fmt.Errorf("preload %s: %w", p.Tool, err)
		}
		calls[i].Tool = p.Tool
		if calls[i].Args, err = plainjson.Marshal(args); err != nil {
			return nil, fmt.Errorf("preload %s: encode the arguments: %w", p.Tool, err)
		}
	}
	return calls, nil
}

// value returns the value of the field if the template is one placeholder, and the rendered text otherwise.
func (t *Template) value(in map[string]any) (any, error) {
	if len(t.parts) != 1 || t.parts[0].field == "" {
		return t.Render(in)
	}
	field := t.parts[0].field
	v, ok := in[field]
	if !ok {
		return nil, fmt.Errorf("the input has no field %q, which the arguments use as {%s}", field, field)
	}
	return v, nil
}

// placeholders returns the fields that the job's prompt and its preloaded calls need, sorted.
func (c *Compiled) placeholders() []string {
	t := c.template
	if t == nil {
		t = ParseTemplate(c.Task)
	}
	out := t.Fields()
	for i := range c.Preload {
		out = append(out, c.Preload[i].fields()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Needs returns what a worker must have: the tools of the agent and of preloaded calls, and the agent's program (see [NeedOf]).
func (c *Compiled) Needs() []string {
	out := slices.Clone(c.Tools)
	for _, p := range c.Preload {
		if !slices.Contains(out, p.Tool) {
			out = append(out, p.Tool)
		}
	}
	if c.Agent != nil && c.Agent.Program != "" {
		out = append(out, NeedOf(c.Agent.Program))
	}
	return out
}

// AssumedResult is how many bytes of a preloaded result the order of the jobs assumes. The result is unknown at submission. It is a
// multiple of the sort's blocks.
const AssumedResult = 4 << 10

// Outline returns the prompt of the job with this input, with a text of a given length in place of each preloaded result that
// may differ between jobs. Equal calls have equal texts.
func (c *Compiled) Outline(in map[string]any, result int) (string, error) {
	prompt, err := c.Prompt(in)
	return c.foretaste(in, result) + prompt, err
}

// foretaste returns text in place of the results that will stand in front of a job's prompt. Each has the given length. Calls that are
// the same for every job are left out.
func (c *Compiled) foretaste(in map[string]any, result int) string {
	if !slices.ContainsFunc(c.Preload, func(p Preload) bool { return p.Varies() }) {
		return ""
	}
	calls, err := c.preloads(in)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for i, call := range calls {
		if !c.Preload[i].Varies() {
			continue
		}
		sum := fmt.Sprintf("%016x", xxhash.Sum64String(call.Tool+"\xff"+string(call.Args)))
		b.WriteString(strings.Repeat(sum, result/len(sum)))
	}
	return b.String()
}

// newerWorkers are among the tools in the JSON of a compiled spec with a program or with preloaded calls. No worker has tools of these
// names. So workers of earlier versions, which would leave the program or the calls out, do not run the jobs.
var newerWorkers = []string{"preload (of a newer batchagent)", "agent program (of a newer batchagent)"}

// MarshalJSON writes the form that is kept in Redis.
func (c Compiled) MarshalJSON() ([]byte, error) {
	type fields Compiled
	out := fields(c)
	if len(c.Preload) > 0 {
		out.Tools = append(slices.Clone(out.Tools), newerWorkers[0])
	}
	if c.Agent != nil {
		out.Tools = append(slices.Clone(out.Tools), newerWorkers[1])
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads the form of MarshalJSON.
func (c *Compiled) UnmarshalJSON(data []byte) error {
	type fields Compiled
	var in fields
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	in.Tools = slices.DeleteFunc(in.Tools, func(name string) bool { return slices.Contains(newerWorkers, name) })
	*c = Compiled(in)
	return c.parsePreloads()
}
