package openaichat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/batchagent/batchagent/pkg/backend"
)

// templateArguments is the field for a chat template's inputs beside messages and tools, such as enable_thinking.
const templateArguments = "chat_template_kwargs"

// body encodes a request, without the parts that the server refuses.
func (c *Client) body(r call) ([]byte, error) {
	s := r.Sampling
	body := object{{"model", r.model}}
	body = append(body, c.extraFields(r.Request, r.without)...)
	if s.Temperature != nil {
		body = append(body, Field{"temperature", *s.Temperature})
	}
	if s.TopP != nil {
		body = append(body, Field{"top_p", *s.TopP})
	}
	if s.MaxTokens > 0 {
		body = append(body, Field{c.limitName(r.Request, r.without), s.MaxTokens})
	}
	if r.OneCall && len(r.Tools) > 0 { // without tools, servers refuse the field
		body = append(body, Field{"parallel_tool_calls", false})
	}
	for _, name := range slices.Sorted(maps.Keys(s.ExtraBody)) {
		body = append(body, Field{name, s.ExtraBody[name]})
	}
	if s.Seed != nil {
		body = append(body, Field{"seed", *s.Seed})
	}
	if len(s.Stop) > 0 {
		body = append(body, Field{"stop", s.Stop})
	}
	body = append(body, Field{"messages", messages(r.Messages, func(member string) bool { return r.without[member] })})
	if len(r.Tools) > 0 { // an empty list is refused
		body = append(body, Field{"tools", tools(r.Tools)})
		if !r.without[partToolChoice] {
			body = append(body, Field{"tool_choice", toolChoice(r.Request)})
		}
	}
	if r.SendsSchema() {
		body = append(body, Field{"response_format", responseFormat(r.Request, r.without)})
	}
	body = append(body, Field{"stream", true})
	if !r.without[partStreamOptions] {
		body = append(body, Field{"stream_options", json.RawMessage(`{"include_usage":true}`)})
	}
	return encode(r.Request, body)
}

// encode returns the JSON of a request's body. Its first allocation usually suffices.
func encode(r *backend.Request, body object) ([]byte, error) {
	size := 1024
	for _, m := range r.Messages {
		size += 64 + len(m.Content) + len(m.Content)/16
	}
	for _, t := range r.Tools {
		size += 64 + len(t.Description) + len(t.Parameters)
	}
	out, err := body.appendTo(make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("encode request %s: %w", r.ID, err)
	}
	return out, nil
}

// EncodePrompt returns the JSON of a request's model, messages and tools only, for a tokenizer route.
func EncodePrompt(model string, r *backend.Request) ([]byte, error) {
	body := object{{"model", model}}
	// Templates have their own arguments, which may change the prompt.
	if v, ok := r.Sampling.ExtraBody[templateArguments]; ok {
		body = append(body, Field{templateArguments, v})
	}
	body = append(body, Field{"messages", messages(r.Messages, nil)})
	if len(r.Tools) > 0 {
		body = append(body, Field{"tools", tools(r.Tools)})
	}
	return encode(r, body)
}

func tools(in []backend.Tool) []object {
	out := make([]object, len(in))
	for i, t := range in {
		function := object{{"name", t.Name}}
		if t.Description != "" {
			function = append(function, Field{"description", t.Description})
		}
		if t.Strict {
			function = append(function, Field{"strict", true})
		}
		out[i] = object{{"type", functionMember}, {functionMember, append(function, Field{"parameters", json.RawMessage(t.Parameters)})}}
	}
	return out
}

// toolChoice encodes the tool choice of a request: a word, or the name of a tool.
func toolChoice(r *backend.Request) any {
	switch {
	case r.ToolChoice == "":
		return string(backend.ToolChoiceAuto)
	case r.ToolChoice == backend.ToolChoiceRequired && r.MustCall != "":
		return object{{"type", functionMember}, {functionMember, object{{"name", r.MustCall}}}}
	}
	return string(r.ToolChoice)
}

func responseFormat(r *backend.Request, without parts) object {
	if withoutSchema(r, without) {
		return object{{"type", "json_object"}}
	}
	schema := object{{"name", r.Schema.Name}}
	if r.Schema.Description != "" {
		schema = append(schema, Field{"description", r.Schema.Description})
	}
	schema = append(schema, Field{"schema", json.RawMessage(r.Schema.JSON)}, Field{"strict", !r.Schema.Loose})
	return object{{"type", "json_schema"}, {"json_schema", schema}}
}

// extraFields returns the dialect's fields outside of the protocol, without the refused ones.
func (c *Client) extraFields(r *backend.Request, without parts) []Field {
	if c.dialect.Extra == nil {
		return nil
	}
	return slices.DeleteFunc(c.dialect.Extra(r), func(f Field) bool { return without[f.Name] })
}

// limitName returns the field that limits completion tokens: the dialect's, or the other one if that was refused.
func (c *Client) limitName(r *backend.Request, without parts) string {
	const plain, newer = "max_tokens", "max_completion_tokens"
	name := plain
	if c.dialect.MaxTokensField != nil {
		name = c.dialect.MaxTokensField(r)
	}
	switch {
	case !without[partLimitName]:
		return name
	case name == plain:
		return newer
	default:
		return plain
	}
}
