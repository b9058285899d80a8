package modelapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// TestInvalidRequests checks that a request that would lose something is refused before any call, with the place of the mistake.
func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	cases := []struct{ api, body, message string }{
		{"chat", `[]`, "must be a JSON object"},
		{"chat", `{"model":`, "not valid JSON"},
		{"chat", "{\"model\":\"\xff\"}", "not valid UTF-8"},
		{"chat", `{"messages":[]}`, "at least one message is required"},
		{"chat", `{"messages":[{"role":"user","content":"a","content":"b"}]}`, "messages[0].content: the field occurs twice"},
		{"chat", `{"model":"a","mod\u0065l":"b"}`, "model: the field occurs twice"},
		{"chat", `{"messages":[{"role":"user"}]}`, "messages[0].content: the field is required"},
		{"chat", `{"messages":[{"role":"robot","content":"a"}]}`, "messages[0].role"},
		{"chat", `{"messages":[{"role":"tool","content":"a"}]}`, "messages[0].tool_call_id"},
		{"chat", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}`, "messages[0].content[0]: an image must be"},
		{"chat", `{"messages":[{"role":"assistant","content":null,"tool_calls":[{"type":"custom","id":"a"}]}]}`, `not "custom"`},
		{"chat", with("chat", `"n":0`), "n: must be from 1 to 32"},
		{"chat", with("chat", `"n":33`), "n: must be from 1 to 32"},
		{"chat", with("chat", `"max_tokens":1.5`), "max_tokens: must be an integer"},
		{"chat", with("chat", `"temperature":"hot"`), "temperature: must be a number"},
		{"chat", with("chat", `"stream":"yes"`), "stream: must be true or false"},
		{"chat", with("chat", `"logprobs":true`), "logprobs: log probabilities are not available"},
		{"chat", with("chat", `"top_logprobs":3`), "log probabilities are not available"},
		{"chat", with("chat", `"functions":[{}]`), "functions: is obsolete"},
		{"chat", with("chat", `"modalities":["text","audio"]`), "only text answers"},
		{"chat", with("chat", `"tool_choice":"required"`), "tool_choice: needs tools"},
		{"chat", with("chat", `"tools":[{"type":"function","function":{"name":"a"}}],"tool_choice":{"type":"function","function":{"name":"b"}}`), `no tool has the name "b"`},
		{"chat", with("chat", `"tools":[{"type":"web_search"}]`), `not "web_search"`},
		{"chat", with("chat", `"response_format":{"type":"json_schema"}`), "the schema is missing"},
		{"chat", with("chat", `"response_format":{"type":"xml"}`), `got "xml"`},
		{"chat", with("chat", `"Model":"other"`), "this API has no such field"},
		{"chat", with("chat", `"stop_sequences":["a"]`), "this API has no such field"},
		{"responses", with("responses", `"previous_response_id":"resp_1"`), "a session stores no responses"},
		{"responses", with("responses", `"conversation":"conv_1"`), "a session stores no conversations"},
		{"responses", with("responses", `"background":true`), "wait for the response"},
		{"responses", with("responses", `"include":["message.output_text.logprobs"]`), "log probabilities"},
		{"responses", with("responses", `"tools":[{"type":"web_search"}]`), `tools[0].type: only tools of the type function are available, not "web_search"`},
		{"responses", with("responses", `"max_tokens":5`), "this API has no such field"},
		{"responses", `{"input":[{"type":"item_reference","id":"msg_1"}]}`, "send the items themselves"},
		{"responses", `{"input":[{"type":"computer_call"}]}`, `"computer_call" are not available`},
		{"responses", `{"input":[{"type":"function_call","name":"a"}]}`, "a call needs call_id and name"},
		{"messages", `{"messages":[{"role":"user","content":"a"}]}`, "max_tokens: the field is required"},
		{"messages", with("messages", `"tools":[{"type":"web_search_20250305","name":"web_search"}]`), "only tools of the program"},
		{"messages", `{"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","thinking":"b"}]}]}`, "thinking: the field occurs twice"},
		{"messages", with("messages", `"thread":{"type":"create"}`), "send the whole conversation"},
		{"messages", with("messages", `"compaction":{}`), "compaction: the field is not available in a session"},
		{"responses", with("responses", `"new_field":1`), "new_field: the field is not available in a session"},
		{"chat", with("chat", `"web_search_options":{"search_context_size":"low"}`), "a model server searches nothing"},
		{"messages", with("messages", `"mcp_servers":[{"url":"x"}]`), "calls no MCP servers"},
		{"messages", with("messages", `"tool_choice":{"type":"tool"},"tools":[{"name":"a","input_schema":{}}]`), "tool_choice.name: the field is required"},
		{"messages", `{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}`, "files of a provider are not available"},
		{"messages", `{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"search_result"}]}]}`, `"search_result" are not available`},
		{"messages", `{"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":"{}"}]}]}`, "input: must be an object"},
	}
	for _, c := range cases {
		s := &script{}
		status, header, body := post(t, s, routes[c.api], c.body)
		assert.Equal(t, http.StatusBadRequest, status, c.body)
		assert.Equal(t, "application/json", header.Get("Content-Type"))
		assert.Contains(t, gjson.Get(body, "error.message").String(), c.message, c.body)
		assert.Equal(t, "invalid_request_error", gjson.Get(body, "error.type").String())
		assert.Equal(t, c.api == "messages", gjson.Get(body, "type").String() == "error")
		assert.Empty(t, s.calls)
	}
}

// TestLimits checks that each dimension of a request is limited.
func TestLimits(t *testing.T) {
	t.Parallel()
	deep := with("chat", `"x":`+strings.Repeat("[", maxDepth)+strings.Repeat("]", maxDepth))
	_, _, body := post(t, &script{}, routes["chat"], deep)
	assert.Contains(t, body, "nested objects")
	_, _, body = post(t, &script{}, routes["chat"], strings.Repeat(`{"a":`, 5_000_000))
	assert.Contains(t, body, "nested objects")
	many := `{"messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, maxMessages) + `{"role":"user","content":"a"}]}`
	_, _, body = post(t, &script{}, routes["chat"], many)
	assert.Contains(t, body, "at most 10000 values")
	names := make([]string, maxNames+1)
	for i := range names {
		names[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	_, _, body = post(t, &script{}, routes["chat"], with("chat", strings.Join(names, ",")))
	assert.Contains(t, body, "more than 256 fields")

	for name, route := range routes {
		h := (&api{caller: &script{}, maxBody: 1000}).routes()
		for _, length := range []int64{-1, 2000} { // without and with a Content-Length
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, route, strings.NewReader(with(name, `"x":"`+strings.Repeat("a", 2000)+`"`)))
			r.ContentLength = length
			status, _, body := send(t, h, r)
			assert.Equal(t, http.StatusRequestEntityTooLarge, status)
			assert.Contains(t, body, "longer than 1000 bytes")
		}
	}
}

// TestFailures checks the status and shape of each class of errors in both APIs.
func TestFailures(t *testing.T) {
	t.Parallel()
	cases := []struct {
		class             backend.Class
		openAI, anthropic int
		code, kind        string // OpenAI's code, Anthropic's type
	}{
		{backend.RateLimited, 429, 429, "rate_limit_exceeded", "rate_limit_error"},
		{backend.QuotaExhausted, 429, 429, "insufficient_quota", "rate_limit_error"},
		{backend.Overloaded, 503, 529, "overloaded", "overloaded_error"},
		{backend.Transient, 500, 500, "transient", "api_error"},
		{backend.Degenerate, 500, 500, "degenerate", "api_error"},
		{backend.ContextTooLong, 400, 400, "context_length_exceeded", "invalid_request_error"},
		{backend.InvalidRequest, 400, 400, "", "invalid_request_error"},
		{backend.UnknownModel, 404, 404, "model_not_found", "not_found_error"},
		{backend.Auth, 401, 401, "invalid_api_key", "authentication_error"},
	}
	require.Len(t, cases, len(backend.Classes))
	for _, c := range cases {
		for _, stream := range []string{"false", "true"} {
			s := &script{err: &backend.Error{Class: c.class, Endpoint: "http://model.test", Message: "the reason", Advice: "wait", RetryAfter: 1500 * time.Millisecond}}
			for api, route := range routes {
				status, header, body := post(t, s, route, with(api, `"stream":`+stream))
				want := c.openAI
				if api == "messages" {
					want = c.anthropic
					assert.Equal(t, c.kind, gjson.Get(body, "error.type").String())
					assert.Equal(t, "error", gjson.Get(body, "type").String())
				} else {
					assert.Equal(t, c.code, gjson.Get(body, "error.code").String())
					assert.True(t, gjson.Get(body, "error.param").Exists())
				}
				assert.Equal(t, want, status, "%s %s", api, c.class)
				assert.Contains(t, gjson.Get(body, "error.message").String(), "the reason; wait")
				assert.NotContains(t, body, "model.test")
				assert.Equal(t, "2", header.Get("Retry-After"))
				assert.Equal(t, "false", header.Get("X-Should-Retry"))
			}
		}
	}
	_, _, body := post(t, &script{err: &backend.Error{Class: backend.ContextTooLong, Message: "4096 tokens"}}, routes["messages"], least["messages"])
	assert.Contains(t, body, "prompt is too long: ")
	status, _, body := post(t, &script{err: errLease}, routes["chat"], least["chat"])
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, "the session has ended: the lease is gone")
	status, _, body = post(t, &script{err: context.Canceled}, routes["messages"], least["messages"])
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, `"the session has ended"`)
}

// TestModels checks that every name means the session's model, and its lists of models.
func TestModels(t *testing.T) {
	t.Parallel()
	for api, route := range routes {
		for name, shown := range map[string]string{"qwen3": "qwen3", "default": "qwen3", "": "qwen3", "gpt-4o": "gpt-4o"} {
			s := &script{response: answersOfServers[0].response}
			status, _, body := post(t, s, route, strings.Replace(least[api], "qwen3", name, 1))
			require.Equal(t, 200, status, body)
			assert.Empty(t, s.calls[0].Model, "it is that of the session")
			assert.Equal(t, shown, gjson.Get(body, "model").String())
		}
	}
	get := func(path, version string) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if version != "" {
			r.Header.Set("Anthropic-Version", version)
		}
		status, _, body := send(t, New(&script{}), r)
		return status, body
	}
	status, body := get("/models", "")
	assert.Equal(t, 200, status)
	assert.JSONEq(t, `{"object":"list","data":[{"id":"qwen3","object":"model","created":0,"owned_by":"batchagent","max_model_len":4096}]}`, body)
	_, body = get("/v1/models", "2023-06-01")
	assert.JSONEq(t, `{"data":[{"type":"model","id":"qwen3","display_name":"qwen3","created_at":"1970-01-01T00:00:00Z","max_input_tokens":4096}],"has_more":false,"first_id":"qwen3","last_id":"qwen3"}`, body)
	for _, name := range []string{"qwen3", "default"} {
		_, body = get("/v1/models/"+name, "")
		assert.Equal(t, "qwen3", gjson.Get(body, "id").String())
	}
	status, body = get("/v1/models/org/other", "2023-06-01")
	assert.Equal(t, 404, status)
	assert.Equal(t, "not_found_error", gjson.Get(body, "error.type").String())
	status, body = get("/v1/embeddings", "")
	assert.Equal(t, 404, status)
	assert.Contains(t, body, "is not served")
}

func TestCountTokens(t *testing.T) {
	t.Parallel()
	const body = `{"model":"qwen3","system":"a b","messages":[{"role":"user","content":"c d e"}]}`
	status, _, answer := post(t, &counting{}, "/v1/messages/count_tokens", body)
	assert.Equal(t, 200, status)
	assert.JSONEq(t, `{"input_tokens":5}`, answer)
	status, _, answer = post(t, &script{}, "/messages/count_tokens", body)
	assert.Equal(t, 404, status)
	assert.Contains(t, answer, "counts no tokens")
}

// A failed tool result must not look like a good one to the model, although its server has no field for that.
func TestFailedToolResultsAreMarked(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]string{
		`"content":"no such file","is_error":true`:                                          "Error: no such file",
		`"content":"no such file","is_error":false`:                                         "no such file",
		`"content":"OSError: 5","is_error":true`:                                            "OSError: 5",
		`"is_error":true`:                                                                   "Error:",
		`"is_error":true,"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]`: "Error: a\nb",
	} {
		q, f := decoders["messages"](`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t",` + result + `}]}]}`)
		require.Nil(t, f, "%+v", f)
		assert.Equal(t, want, q.call.Messages[0].Content, result)
	}
	q, f := decoders["messages"](`{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","is_error":true,
		"content":[{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]}]}]}`)
	require.Nil(t, f, "%+v", f)
	assert.Equal(t, []backend.Part{{Text: "Error:"}, {Image: "https://example.com/a.png"}}, q.call.Messages[0].Parts)
}
