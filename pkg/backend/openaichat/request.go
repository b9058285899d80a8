package openaichat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	openai "github.com/sashabaranov/go-openai"

	"github.com/batchagent/batchagent/pkg/backend"
)

const (
	// placeholderModel replaces the model until go-openai has checked the model's name.
	placeholderModel = "_"
	// templateArguments is the field for a chat template's inputs beside messages and tools, such as enable_thinking.
	templateArguments = "chat_template_kwargs"
)

// placeholderJSON starts every body that go-openai encodes. The messages are inserted after it, because go-openai
// cannot express all of their members.
var placeholderJSON = []byte(`{"model":"_","messages":[{"role":"_"}]`)

var placeholderMessages = []openai.ChatCompletionMessage{{Role: "_"}}

// chatRequest builds the part of a request that go-openai can express, without the parts that the server refuses.
func chatRequest(r *backend.Request, without parts) openai.ChatCompletionRequest {
	out := openai.ChatCompletionRequest{
		Model:    placeholderModel,
		Messages: placeholderMessages,
		Tools:    tools(r.Tools),
		Stop:     r.Sampling.Stop,
	}
	if !without[partStreamOptions] {
		out.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	}
	if r.Sampling.Seed != nil {
		seed := int(*r.Sampling.Seed)
		out.Seed = &seed
	}
	if len(r.Tools) > 0 && !without[partToolChoice] {
		out.ToolChoice = toolChoice(r)
	}
	switch {
	case !r.SendsSchema():
	case withoutSchema(r, without):
		out.ResponseFormat = &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject}
	default:
		out.ResponseFormat = &openai.ChatCompletionResponseFormat{
			Type: openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{
				Name: r.Schema.Name, Description: r.Schema.Description, Schema: json.RawMessage(r.Schema.JSON), Strict: !r.Schema.Loose,
			},
		}
	}
	return out
}

// toolChoice encodes the tool choice of a request: a word, or the name of a tool.
func toolChoice(r *backend.Request) any {
	switch {
	case r.ToolChoice == "":
		return string(backend.ToolChoiceAuto)
	case r.ToolChoice == backend.ToolChoiceRequired && r.MustCall != "":
		return openai.ToolChoice{Type: openai.ToolTypeFunction, Function: openai.ToolFunction{Name: r.MustCall}}
	}
	return string(r.ToolChoice)
}

func tools(in []backend.Tool) []openai.Tool {
	if len(in) == 0 {
		return nil // an empty list is refused
	}
	out := make([]openai.Tool, len(in))
	for i, t := range in {
		out[i] = openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
			Name: t.Name, Description: t.Description, Strict: t.Strict, Parameters: json.RawMessage(t.Parameters),
		}}
	}
	return out
}

// EncodePrompt returns the JSON of a request's model, messages and tools only, for a tokenizer route.
func EncodePrompt(model string, r *backend.Request) ([]byte, error) {
	prompt, err := json.Marshal(struct {
		Model    string                         `json:"model"`
		Messages []openai.ChatCompletionMessage `json:"messages"`
		Tools    []openai.Tool                  `json:"tools,omitempty"`
	}{placeholderModel, placeholderMessages, tools(r.Tools)})
	if err != nil {
		return nil, fmt.Errorf("encode the prompt of %s: %w", r.ID, err)
	}
	// Templates have their own arguments, which may change the prompt.
	var fields []Field
	if v, ok := r.Sampling.ExtraBody[templateArguments]; ok {
		fields = []Field{{templateArguments, v}}
	}
	return splice(prompt, model, messages(r.Messages, nil), fields)
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

// fields returns the fields of a request that go-openai cannot express or would drop.
func (c *Client) fields(r *backend.Request, without parts) []Field {
	out := c.extraFields(r, without)
	s := r.Sampling
	if s.Temperature != nil {
		out = append(out, Field{"temperature", *s.Temperature})
	}
	if s.TopP != nil {
		out = append(out, Field{"top_p", *s.TopP})
	}
	if s.MaxTokens > 0 {
		out = append(out, Field{c.limitName(r, without), s.MaxTokens})
	}
	if r.OneCall && len(r.Tools) > 0 { // without tools, servers refuse the field
		out = append(out, Field{"parallel_tool_calls", false})
	}
	for _, name := range slices.Sorted(maps.Keys(s.ExtraBody)) {
		out = append(out, Field{name, s.ExtraBody[name]})
	}
	return out
}

// splice inserts the model, the messages and further fields into an encoded request, which must not contain any of them.
func splice(body []byte, model string, msgs []message, fields []Field) ([]byte, error) {
	rest, ok := bytes.CutPrefix(body, placeholderJSON)
	if !ok {
		return nil, fmt.Errorf("encoded request starts with %.20q", body)
	}
	size := 2*len(body) + len(model) + 32*len(fields) + 16
	for _, m := range msgs {
		size += m.size()
	}
	first := slices.Concat(message{{"model", model}}, fields, message{{"messages", msgs}})
	out, err := first.appendTo(make([]byte, 0, size))
	if err != nil {
		return nil, err
	}
	return append(out[:len(out)-1], rest...), nil // the rest ends the object
}

// rewrite replaces the body of an HTTP request that go-openai built.
func rewrite(req *http.Request, edit func([]byte) ([]byte, error)) error {
	body := make([]byte, req.ContentLength)
	if _, err := io.ReadFull(req.Body, body); err != nil {
		return fmt.Errorf("read the encoded request: %w", err)
	}
	body, err := edit(body)
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(body))
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return nil
}
