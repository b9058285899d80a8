package openaichat

import (
	"bytes"
	"encoding/json"
	"testing"

	openai "github.com/sashabaranov/go-openai"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// sent makes one call and returns the request that the server received.
func sent(t *testing.T, r *backend.Request, cfg Config) (backendtest.Request, map[string]any) {
	t.Helper()
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/chat-stream")})
	cfg.URL = endpoint.URL{Shown: "test://server", Root: "http://" + server.Addr + "/prefix"}
	c := New(cfg)
	defer c.Close()
	_, err := c.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	requests := server.Requests()
	require.Len(t, requests, 1)
	var body map[string]any
	require.NoError(t, json.Unmarshal(requests[0].Content, &body), string(requests[0].Content))
	return requests[0], body
}

func TestRequestRoute(t *testing.T) {
	t.Parallel()
	req, body := sent(t, ask(), Config{Key: "secret"})
	assert.Equal(t, "POST", req.Method)
	assert.Equal(t, "/prefix/v1/chat/completions", req.URL.Path)
	assert.Equal(t, "Bearer secret", req.Header.Get("Authorization"))
	assert.Equal(t, "application/json", req.Header.Get("Content-Type"))
	assert.Empty(t, req.Header.Get("Accept-Encoding"), "a compressed stream comes late")
	assert.Equal(t, map[string]any{
		"model":          "smollm2-135m",
		"messages":       []any{map[string]any{"role": "user", "content": "What is the weather in Rome?"}},
		"stream":         true,
		"stream_options": map[string]any{"include_usage": true},
	}, body, "nothing is sent that was not asked for")

	req, _ = sent(t, ask(), Config{})
	assert.NotContains(t, req.Header, "Authorization")
}

func TestSamplingOfZeroIsSent(t *testing.T) {
	t.Parallel()
	zero, seed := 0.0, int64(0)
	r := ask()
	r.Sampling = backend.Sampling{Temperature: &zero, TopP: &zero, MaxTokens: 7, Seed: &seed, Stop: []string{"\n"}}
	_, body := sent(t, r, Config{})
	for field, want := range map[string]any{"temperature": 0.0, "top_p": 0.0, "max_tokens": 7.0, "seed": 0.0, "stop": []any{"\n"}} {
		assert.Equal(t, want, body[field], field)
	}
	_, body = sent(t, r, Config{Dialect: Dialect{MaxTokensField: func(*backend.Request) string { return "max_completion_tokens" }}})
	assert.Equal(t, 7.0, body["max_completion_tokens"])
	assert.NotContains(t, body, "max_tokens")
}

func TestEmptyContentIsSent(t *testing.T) {
	t.Parallel()
	r := ask()
	r.Messages = []backend.Message{
		{Role: backend.RoleSystem},
		{Role: backend.RoleUser, Content: `a "content":"\u0000" of a user`},
		{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "a", Name: "f"}, {ID: "b", Name: "g", Arguments: `{"x":1}`}}},
		{Role: backend.RoleTool, ToolCallID: "a"},
		{Role: backend.RoleTool, ToolCallID: "b", Content: "\x00"},
		{Role: backend.RoleAssistant},
	}
	r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{"default":{"content":"\u0000"}}`)}}
	_, body := sent(t, r, Config{})
	function := func(id, name, args string) any {
		return map[string]any{"id": id, "type": "function", "function": map[string]any{"name": name, "arguments": args}}
	}
	assert.Equal(t, []any{
		map[string]any{"role": "system", "content": ""},
		map[string]any{"role": "user", "content": `a "content":"\u0000" of a user`},
		map[string]any{"role": "assistant", "tool_calls": []any{function("a", "f", "{}"), function("b", "g", `{"x":1}`)}},
		map[string]any{"role": "tool", "tool_call_id": "a", "content": ""},
		map[string]any{"role": "tool", "tool_call_id": "b", "content": "\x00"},
		map[string]any{"role": "assistant", "content": ""},
	}, body["messages"])
	assert.Equal(t, "\x00", body["tools"].([]any)[0].(map[string]any)["function"].(map[string]any)["parameters"].(map[string]any)["default"].(map[string]any)["content"])
}

func TestToolsAndSchema(t *testing.T) {
	t.Parallel()
	tool := backend.Tool{Name: "f", Description: "does f", Parameters: []byte(`{"type":"object","anyOf":[{}]}`), Strict: true}
	schema := &backend.Schema{Name: "out", JSON: []byte(`{"type":"object","$defs":{}}`)}
	cases := []struct {
		name       string
		tools      []backend.Tool
		choice     backend.ToolChoice
		schema     *backend.Schema
		wantChoice any
		wantFormat bool
	}{
		{"tools may be called", []backend.Tool{tool}, "", schema, "auto", false},
		{"tools may be called, said so", []backend.Tool{tool}, backend.ToolChoiceAuto, schema, "auto", false},
		{"tools must not be called", []backend.Tool{tool}, backend.ToolChoiceNone, schema, "none", true},
		{"no tools", nil, backend.ToolChoiceAuto, schema, nil, true},
		{"free text", nil, "", nil, nil, false},
	}
	for _, c := range cases {
		r := ask()
		r.Tools, r.ToolChoice, r.Schema = c.tools, c.choice, c.schema
		_, body := sent(t, r, Config{})
		assert.Equal(t, c.wantChoice, body["tool_choice"], c.name)
		if c.tools == nil {
			assert.NotContains(t, body, "tools", c.name)
		} else {
			assert.Equal(t, []any{map[string]any{"type": "function", "function": map[string]any{
				"name": "f", "description": "does f", "strict": true,
				"parameters": map[string]any{"type": "object", "anyOf": []any{map[string]any{}}},
			}}}, body["tools"], c.name)
		}
		if !c.wantFormat {
			assert.NotContains(t, body, "response_format", c.name)
			continue
		}
		assert.Equal(t, map[string]any{"type": "json_schema", "json_schema": map[string]any{
			"name": "out", "strict": true, "schema": map[string]any{"type": "object", "$defs": map[string]any{}},
		}}, body["response_format"], c.name)
	}
}

func TestServedModelNamesAreNotChecked(t *testing.T) {
	t.Parallel()
	half := 0.5
	for _, model := range []string{"o1", "o3-mini", "gpt-5", "gpt-6", "text-davinci-003", `a "quoted" name`} {
		r := ask()
		r.Model, r.Sampling = model, backend.Sampling{Temperature: &half, MaxTokens: 5}
		r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{}`)}}
		_, body := sent(t, r, Config{})
		assert.Equal(t, model, body["model"])
	}
}

func TestExtraFieldsAreMerged(t *testing.T) {
	t.Parallel()
	_, body := sent(t, ask(), Config{Dialect: Dialect{Extra: func(r *backend.Request) []Field {
		return []Field{{"request_id", r.ID}, {"nested", map[string]int{"a": 1}}}
	}}})
	assert.Equal(t, "b_1/job-0#1", body["request_id"])
	assert.Equal(t, map[string]any{"a": 1.0}, body["nested"])
}

func TestMalformedToolSchemaIsInvalidRequest(t *testing.T) {
	t.Parallel()
	r := ask()
	r.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{nope`)}}
	_, err := answering(nil).Generate(t.Context(), r, backend.Observer{})
	assert.Equal(t, backend.InvalidRequest, backend.ClassOf(err), "%v", err)
}

// splice requires that go-openai writes the model first in its JSON, and the messages second.
func TestGoOpenAIWritesModelAndMessagesFirst(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(openai.ChatCompletionRequest{Model: placeholderModel, Messages: placeholderMessages})
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(b, placeholderJSON), string(b))
}

func TestExtraBodyIsSentUnchanged(t *testing.T) {
	t.Parallel()
	extra := map[string]json.RawMessage{
		"top_k": json.RawMessage("20"), "cache_salt": json.RawMessage(`"b_1"`), "seventy %\"": json.RawMessage("12345678901234567890"),
		"kv_transfer_params": json.RawMessage(`{"do_remote_prefill":true}`), "chat_template_kwargs": json.RawMessage(`{"enable_thinking":false}`),
	}
	r := ask()
	r.Sampling.ExtraBody = extra
	first, _ := sent(t, r, Config{})
	var body map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(first.Content, &body))
	for name, value := range extra {
		assert.Equal(t, string(value), string(body[name]), name)
	}
	again, _ := sent(t, r, Config{})
	assert.Equal(t, string(first.Content), string(again.Content), "equal requests are equal bytes")

	prompt, err := EncodePrompt("m", r)
	require.NoError(t, err)
	assert.JSONEq(t, `{"model":"m","messages":[{"role":"user","content":"What is the weather in Rome?"}],"chat_template_kwargs":{"enable_thinking":false}}`, string(prompt),
		"what changes the prompt is counted, and nothing else is sent to a tokenizer")
}
