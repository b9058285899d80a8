package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/blocks"
	"github.com/batchagent/batchagent/pkg/plainjson"
)

// defaultMaxTokens is sent for a request without a limit, because the field is required. The smallest models of the API accept it.
const defaultMaxTokens = 4096

// request is the body of a call. The names are those of the Messages API.
type request struct {
	Model         string        `json:"model"`
	MaxTokens     int           `json:"max_tokens"`
	Stream        bool          `json:"stream"`
	System        []block       `json:"system,omitempty"`
	Messages      []message     `json:"messages"`
	Tools         []*tool       `json:"tools,omitempty"`
	ToolChoice    *toolChoice   `json:"tool_choice,omitempty"`
	OutputConfig  *outputConfig `json:"output_config,omitempty"`
	Temperature   *float64      `json:"temperature,omitempty"`
	TopP          *float64      `json:"top_p,omitempty"`
	StopSequences []string      `json:"stop_sequences,omitempty"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is one block of content. Its members depend on its type; [encoding/json] writes them in alphabetical order, so that equal
// conversations are equal bytes.
type block map[string]any

type tool struct {
	Name         string          `json:"name"`
	Description  string          `json:"description,omitempty"`
	InputSchema  json.RawMessage `json:"input_schema"`
	Strict       bool            `json:"strict,omitempty"`
	CacheControl *cacheMark      `json:"cache_control,omitempty"`
}

type toolChoice struct {
	Type    string `json:"type"`
	Name    string `json:"name,omitempty"`
	OneCall bool   `json:"disable_parallel_tool_use,omitempty"`
}

type outputConfig struct {
	Format struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"schema"`
	} `json:"format"`
}

type cacheMark struct {
	Type string `json:"type"`
}

// mark ends a prefix that the server caches.
var mark = &cacheMark{Type: "ephemeral"}

// body encodes a request. enforce is false for a model that refuses schemas. Fields of the sampling's extra body replace ours.
func body(r *backend.Request, model string, enforce bool) ([]byte, error) {
	q, err := newRequest(r, model, enforce)
	if err != nil {
		return nil, err
	}
	text, err := plainjson.Marshal(q)
	if err != nil || len(r.Sampling.ExtraBody) == 0 {
		return text, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	for name, value := range r.Sampling.ExtraBody {
		fields[name] = value
	}
	return plainjson.Marshal(fields)
}

// newRequest sets up to three cache marks. The first ends the prefix that all jobs of a batch share: the tools and the system text. The
// second ends the preloaded results, which jobs with the same calls share. The third ends the conversation so far if it has tool
// results, so that the next turn reads this turn's prompt from the cache.
func newRequest(r *backend.Request, model string, enforce bool) (*request, error) {
	system, entries := blocks.Conversation(backend.ProtocolAnthropic, r.Messages)
	msgs, err := messages(entries)
	if err != nil {
		return nil, err
	}
	q := &request{Model: model, MaxTokens: r.Sampling.MaxTokens, Stream: true, Messages: msgs, StopSequences: r.Sampling.Stop}
	if q.MaxTokens <= 0 {
		q.MaxTokens = defaultMaxTokens
	}
	if t := r.Sampling.Temperature; t != nil {
		q.Temperature = new(min(*t, 1)) // the maximum of the API
	} else {
		q.TopP = r.Sampling.TopP // newer models refuse both together
	}
	if q.Tools, err = tools(r, enforce); err != nil {
		return nil, err
	}
	if len(q.Tools) > 0 {
		q.ToolChoice = choice(r)
	}
	switch {
	case system != "":
		q.System = []block{{"type": "text", "text": system, "cache_control": mark}}
	case len(q.Tools) > 0:
		q.Tools[len(q.Tools)-1].CacheControl = mark
	}
	if r.SendsSchema() && r.Schema.JSON == nil {
		return nil, errors.New("this API has no JSON mode without a schema; send a JSON schema, or ask for JSON in the prompt")
	}
	if enforce && r.SendsSchema() {
		q.OutputConfig = new(outputConfig)
		q.OutputConfig.Format.Type = "json_schema"
		if q.OutputConfig.Format.Schema, err = blocks.Closed(r.Schema.JSON); err != nil {
			return nil, fmt.Errorf("schema %s: %w", r.Schema.Name, err)
		}
	}
	return q, nil
}

func tools(r *backend.Request, enforce bool) ([]*tool, error) {
	out := make([]*tool, len(r.Tools))
	for i, t := range r.Tools {
		schema, err := inputSchema(t.Parameters, enforce && t.Strict)
		if err != nil {
			return nil, fmt.Errorf("parameters of the tool %s: %w", t.Name, err)
		}
		out[i] = &tool{Name: t.Name, Description: t.Description, InputSchema: schema, Strict: enforce && t.Strict}
	}
	return out, nil
}

// inputSchema returns the schema of a tool's parameters. The API requires an object with properties. The fields keep their order,
// because models write arguments in it.
func inputSchema(schema []byte, closeObjects bool) (json.RawMessage, error) {
	fields := []blocks.Field{{Name: "type", Value: json.RawMessage(`"object"`)}}
	if len(schema) > 0 && closeObjects {
		closed, err := blocks.Closed(schema)
		if err != nil {
			return nil, err
		}
		schema = closed
	}
	hasProperties := false
	if len(schema) > 0 {
		own, err := blocks.Fields(schema)
		if err != nil {
			return nil, err
		}
		for _, f := range own {
			if f.Name != "type" {
				fields = append(fields, f)
			}
			hasProperties = hasProperties || f.Name == "properties"
		}
	}
	if !hasProperties {
		fields = append(fields, blocks.Field{Name: "properties", Value: json.RawMessage(`{}`)})
	}
	return blocks.Object(fields)
}

// choice encodes the tool choice of a request; nil for the API's default.
func choice(r *backend.Request) *toolChoice {
	switch {
	case r.ToolChoice == backend.ToolChoiceNone:
		return &toolChoice{Type: "none"}
	case r.ToolChoice == backend.ToolChoiceRequired && r.MustCall != "":
		return &toolChoice{Type: "tool", Name: r.MustCall, OneCall: r.OneCall}
	case r.ToolChoice == backend.ToolChoiceRequired:
		return &toolChoice{Type: "any", OneCall: r.OneCall}
	case r.OneCall:
		return &toolChoice{Type: "auto", OneCall: true}
	}
	return nil
}

func messages(entries []blocks.Entry) ([]message, error) {
	out := make([]message, len(entries))
	hasResults := false
	for i, e := range entries {
		out[i] = message{Role: "user", Content: make([]block, len(e.Blocks))}
		if e.Assistant {
			out[i].Role = "assistant"
		}
		for j := range e.Blocks {
			b, err := blockOf(&e.Blocks[j])
			if err != nil {
				return nil, fmt.Errorf("message %d: %w", i, err)
			}
			out[i].Content[j] = b
			hasResults = hasResults || e.Blocks[j].Result != ""
		}
	}
	if hasResults {
		last := out[len(out)-1].Content
		if b := last[len(last)-1]; b["type"] != "thinking" && b["type"] != "redacted_thinking" {
			b["cache_control"] = mark
		}
	}
	return out, nil
}

func blockOf(b *blocks.Block) (block, error) {
	switch {
	case b.Thought != nil && b.Thought.Redacted != "":
		return block{"type": "redacted_thinking", "data": b.Thought.Redacted}, nil
	case b.Thought != nil:
		return block{"type": "thinking", "thinking": b.Thought.Text, "signature": b.Thought.Signature}, nil
	case b.Call != nil:
		return block{"type": "tool_use", "id": b.Call.ID, "name": b.Call.Name, "input": json.RawMessage(b.Call.Arguments)}, nil
	case b.Result != "":
		parts := b.Parts
		if len(parts) == 0 {
			parts = []backend.Part{{Text: b.Text}}
		}
		content, err := resultParts(parts)
		return block{"type": "tool_result", "tool_use_id": b.Result, "content": content}, err
	case b.Part != nil:
		return imageOf(b.Part)
	case b.Mark:
		return block{"type": "text", "text": b.Text, "cache_control": mark}, nil
	}
	return block{"type": "text", "text": b.Text}, nil
}

// resultParts encodes the result of a tool: texts and images.
func resultParts(parts []backend.Part) ([]block, error) {
	out := make([]block, len(parts))
	for i := range parts {
		if p := &parts[i]; p.Text != "" {
			out[i] = block{"type": "text", "text": p.Text}
			continue
		}
		image, err := imageOf(&parts[i])
		if err != nil {
			return nil, err
		}
		out[i] = image
	}
	return out, nil
}

func imageOf(p *backend.Part) (block, error) {
	image, err := blocks.ImageOf(p)
	switch {
	case err != nil:
		return nil, err
	case image.URL != "":
		return block{"type": "image", "source": block{"type": "url", "url": image.URL}}, nil
	}
	return block{"type": "image", "source": block{"type": "base64", "media_type": "image/" + image.Format, "data": image.Base64}}, nil
}
