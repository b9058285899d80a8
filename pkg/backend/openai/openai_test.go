package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ backend.Backend = (*Backend)(nil)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func open(t *testing.T, url string) *Backend {
	t.Helper()
	b, err := New(Config{URL: url, Getenv: env(nil)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Model: "gpt-x", Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}},
		Hints: backend.Hints{Session: "b_1/job-3"}}
}

// answer returns a whole HTTP response.
func answer(status int, body string, headers ...string) backendtest.Reply {
	var h strings.Builder
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&h, "%s: %s\r\n", headers[i], headers[i+1])
	}
	return backendtest.Reply{Bytes: fmt.Appendf(nil, "HTTP/1.1 %d X\r\nConnection: close\r\n%s\r\n%s", status, h.String(), body)}
}

// stream returns an answer with these chunks.
func stream(chunks ...string) backendtest.Reply {
	return answer(200, "data: "+strings.Join(append(chunks, "[DONE]"), "\n\ndata: ")+"\n\n", "Content-Type", "text/event-stream")
}

func says(text string) string {
	q, _ := json.Marshal(text)
	return `{"choices":[{"index":0,"delta":{"content":` + string(q) + `}}]}`
}

const (
	ends  = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	usage = `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}`
)

// body returns the body of the n-th request.
func body(t *testing.T, server *backendtest.Server, n int) map[string]any {
	t.Helper()
	requests := server.Requests()
	require.Greater(t, len(requests), n)
	var out map[string]any
	require.NoError(t, json.Unmarshal(requests[n].Content, &out), string(requests[n].Content))
	return out
}

func TestConformanceOnTheSimulator(t *testing.T) {
	for _, scheme := range []string{"openai+http://", "http://"} {
		t.Run(scheme, func(t *testing.T) {
			backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true}, func(t *testing.T) backendtest.Target {
				sim, err := vllmsim.New(vllmsim.Config{TokenMS: 0.1})
				require.NoError(t, err)
				server := httptest.NewServer(sim)
				t.Cleanup(server.Close)
				return backendtest.Target{Backend: open(t, scheme+server.Listener.Addr().String()), Model: "sim", Dead: func() backend.Backend {
					listener, err := net.Listen("tcp", "127.0.0.1:0")
					require.NoError(t, err)
					require.NoError(t, listener.Close())
					return open(t, scheme+listener.Addr().String())
				}}
			})
		})
	}
}

func TestOddModels(t *testing.T) {
	for _, scheme := range []string{"openai+http://", "http://"} {
		t.Run(scheme, func(t *testing.T) {
			backendtest.RunOdd(t, func(t *testing.T, addr string) backend.Backend { return open(t, scheme+addr) })
		})
	}
}

func TestRequestBody(t *testing.T) {
	half := 0.5
	r := ask()
	r.Sampling = backend.Sampling{Temperature: &half, MaxTokens: 7}
	r.Tools = []backend.Tool{
		{Name: "look", Parameters: []byte(`{"type":"object","properties":{"x":{"type":"integer"}}}`)},
		{Name: "free", Parameters: []byte(`{"type":"object"}`), Strict: true},
	}
	r.ToolChoice = backend.ToolChoiceNone
	r.Schema = &backend.Schema{Name: "output", JSON: []byte(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}},"required":["b"]}`)}
	before, err := json.Marshal(r)
	require.NoError(t, err)

	server := backendtest.Replay(t, stream(says("{}"), ends, usage))
	_, err = open(t, "openai+http://"+server.Addr).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	sent := body(t, server, 0)
	assert.Equal(t, "/v1/chat/completions", server.Requests()[0].URL.Path)
	assert.Equal(t, 7.0, sent["max_completion_tokens"])
	assert.NotContains(t, sent, "max_tokens")
	assert.Regexp(t, `^b_1-\d+$`, sent["prompt_cache_key"])
	for _, field := range []string{"priority", "request_id", "session_id", "rid", "nvext"} {
		assert.NotContains(t, sent, field)
	}
	content := string(server.Requests()[0].Content)
	assert.Contains(t, content, `"strict":true,"parameters":{"type":"object","properties":{"x":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"required":["x"],"additionalProperties":false}`)
	assert.Contains(t, content, `"name":"free","parameters":{"type":"object"}`, "without a strict form it is not asked for")
	assert.Contains(t, content, `"schema":{"type":"object","properties":{"b":{"type":"string"},"a":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["b","a"],"additionalProperties":false}`)

	server = backendtest.Replay(t, stream(says("{}"), ends, usage))
	_, err = open(t, "http://"+server.Addr).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	sent = body(t, server, 0)
	assert.Equal(t, 7.0, sent["max_tokens"], "the protocol's older name, which every server accepts")
	assert.NotContains(t, sent, "prompt_cache_key")
	after, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after), "the request is not changed")
}

func TestSchemaWithoutStrictFormIsAHint(t *testing.T) {
	server := backendtest.Replay(t, stream(says(`{"x":null}`), ends, usage))
	r := ask()
	r.Schema = &backend.Schema{Name: "output", JSON: []byte(`{"type":"object","additionalProperties":{"type":["string","null"]}}`)}
	resp, err := open(t, "openai+http://"+server.Addr).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	format := body(t, server, 0)["response_format"].(map[string]any)["json_schema"].(map[string]any)
	assert.Equal(t, false, format["strict"])
	assert.Equal(t, `{"x":null}`, resp.Message.Content)
}

func TestNullsOfOptionalPropertiesAreRemoved(t *testing.T) {
	server := backendtest.Replay(t, stream(
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"look","arguments":"{\"x\":null}"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`, usage), stream(says(`{"b":"c","a":null}`), ends, usage))
	b := open(t, "openai+http://"+server.Addr)
	r := ask()
	r.Tools = []backend.Tool{{Name: "look", Parameters: []byte(`{"type":"object","properties":{"x":{"type":"integer"}}}`)}}
	var told backend.ToolCall
	resp, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(_ int, c backend.ToolCall) { told = c }})
	require.NoError(t, err)
	assert.Equal(t, "{}", resp.Message.ToolCalls[0].Arguments)
	assert.Equal(t, resp.Message.ToolCalls[0], told, "the reported call equals the call in the message")

	r = ask()
	r.Schema = &backend.Schema{Name: "output", JSON: []byte(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}},"required":["b"]}`)}
	resp, err = b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, `{"b":"c"}`, resp.Message.Content)
	assert.EqualValues(t, 4, resp.Usage.CachedTokens)
}

// Every documented status and body has its class.
func TestErrorsHaveTheirClass(t *testing.T) {
	e := func(message, kind, param, code string) string {
		b, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nullable(param), "code": nullable(code)}})
		return string(b)
	}
	cases := []struct {
		name   string
		status int
		body   string
		want   backend.Class
		header []string
		wait   time.Duration
	}{
		{name: "requests a minute", status: 429, body: e("Rate limit reached for gpt-x on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms.", "requests", "", "rate_limit_exceeded"),
			want: backend.RateLimited, header: []string{"Retry-After-Ms", "120"}, wait: 120 * time.Millisecond},
		{name: "tokens a minute", status: 429, body: e("Rate limit reached for gpt-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.", "tokens", "", "rate_limit_exceeded"),
			want: backend.RateLimited, wait: 6 * time.Second,
			header: []string{"x-ratelimit-limit-tokens", "30000", "x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "6s"}},
		{name: "more than a minute's tokens", status: 429, body: e("Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 30601. The input or output tokens must be reduced in order to run successfully.", "tokens", "", "rate_limit_exceeded"), want: backend.ContextTooLong},
		{name: "requests a day", status: 429, body: e("Rate limit reached for gpt-x on requests per day (RPD): Limit 200, Used 200, Requested 1.", "requests", "", "rate_limit_exceeded"), want: backend.QuotaExhausted},
		{name: "ramping too fast", status: 429, body: e("Slow down", "invalid_request_error", "", "slow_down"), want: backend.Overloaded},
		{name: "no money", status: 429, body: e("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "", "insufficient_quota"), want: backend.QuotaExhausted},
		{name: "no credit", status: 429, body: e("Out of credit", "billing", "", "credit_balance_exhausted"), want: backend.QuotaExhausted},
		{name: "billing limit", status: 429, body: e("Billing hard limit has been reached", "x", "", "billing_hard_limit_reached"), want: backend.QuotaExhausted},
		{name: "billing not active", status: 429, body: e("Your account is not active, please check your billing details on our website.", "billing_not_active", "", "billing_not_active"), want: backend.QuotaExhausted},
		{name: "a quota without a code", status: 429, body: `{"error":{"message":"You exceeded your current quota"}}`, want: backend.QuotaExhausted},
		{name: "another provider's 429", status: 429, body: `{"detail":"too many requests"}`, want: backend.RateLimited, header: []string{"Retry-After", "2"}, wait: 2 * time.Second},
		{name: "not to be repeated", status: 429, body: `{}`, want: backend.QuotaExhausted, header: []string{"x-should-retry", "false"}},
		{name: "to be repeated", status: 400, body: `{}`, want: backend.Transient, header: []string{"x-should-retry", "true"}},
		{name: "broken for good", status: 500, body: `{}`, want: backend.InvalidRequest, header: []string{"x-should-retry", "false"}},
		{name: "overloaded", status: 503, body: e("The engine is currently overloaded, please try again later", "server_error", "", "server_is_overloaded"), want: backend.Overloaded},
		{name: "overloaded as 429", status: 429, body: e("That model is currently overloaded with other requests.", "server_error", "", ""), want: backend.Overloaded},
		{name: "slow down as 503", status: 503, body: e("Slow down", "x", "", "slow_down"), want: backend.Overloaded},
		{name: "server error", status: 500, body: e("The server had an error while processing your request", "server_error", "", ""), want: backend.Transient},
		{name: "bad gateway", status: 502, body: `<html>502</html>`, want: backend.Transient},
		{name: "timeout", status: 408, body: ``, want: backend.Transient},
		{name: "conflict", status: 409, body: ``, want: backend.Transient},
		{name: "wrong key", status: 401, body: e("Incorrect API key provided: sk-x.", "invalid_request_error", "", "invalid_api_key"), want: backend.Auth},
		{name: "country", status: 403, body: e("Country, region, or territory not supported", "request_forbidden", "", "unsupported_country_region_territory"), want: backend.Auth},
		{name: "unknown model", status: 404, body: e("The model `gpt-x` does not exist or you do not have access to it.", "invalid_request_error", "", "model_not_found"), want: backend.UnknownModel},
		{name: "too long", status: 400, body: e("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.", "invalid_request_error", "messages", "context_length_exceeded"), want: backend.ContextTooLong},
		{name: "string too long", status: 400, body: e("Invalid 'messages[0].content': string too long.", "invalid_request_error", "messages[0].content", "string_above_max_length"), want: backend.ContextTooLong},
		{name: "bad value", status: 400, body: e("Invalid 'temperature': decimal above maximum value.", "invalid_request_error", "temperature", "decimal_above_max_value"), want: backend.InvalidRequest},
		{name: "payment", status: 402, body: `{"error":"payment required"}`, want: backend.QuotaExhausted},
	}
	for _, c := range cases {
		server := backendtest.Replay(t, answer(c.status, c.body, append(c.header, "Content-Type", "application/json")...))
		_, err := open(t, "openai+http://"+server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		var e *backend.Error
		require.ErrorAs(t, err, &e, c.name)
		assert.Equal(t, c.want, e.Class, "%s: %v", c.name, err)
		assert.Equal(t, c.wait, e.RetryAfter, c.name)
		assert.Equal(t, c.status, e.Status, c.name)
		assert.Len(t, server.Requests(), 1, "%s: it is the agent who repeats", c.name)
	}

	inStream := map[string]backend.Class{
		e("The server had an error", "server_error", "", ""):                  backend.Transient,
		e("Rate limit reached", "tokens", "", "rate_limit_exceeded"):          backend.RateLimited,
		e("You exceeded your current quota", "x", "", "insufficient_quota"):   backend.QuotaExhausted,
		e("too long", "invalid_request_error", "", "context_length_exceeded"): backend.ContextTooLong,
	}
	for chunk, want := range inStream {
		server := backendtest.Replay(t, stream(says("half"), chunk))
		_, err := open(t, "openai+http://"+server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		assert.Equal(t, want, backend.ClassOf(err), chunk)
	}
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func TestRateLimitsBecomeHeadroom(t *testing.T) {
	good := answer(200, "data: "+says("x")+"\n\ndata: "+ends+"\n\ndata: "+usage+"\n\ndata: [DONE]\n\n", "Content-Type", "text/event-stream",
		"x-ratelimit-limit-requests", "500", "x-ratelimit-remaining-requests", "499", "x-ratelimit-reset-requests", "120ms",
		"x-ratelimit-limit-tokens", "30000", "x-ratelimit-remaining-tokens", "3000", "x-ratelimit-reset-tokens", "54s")
	server := backendtest.Replay(t, good)
	b := open(t, "openai+http://"+server.Addr)
	resp, err := b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, &backend.Headroom{Left: 0.1, Reset: 54 * time.Second}, resp.Headroom)
	assert.Positive(t, b.Capabilities().StartConcurrent, "the limit is searched for")
}

func TestCacheKeyIsPerBatchAndStablePerAgent(t *testing.T) {
	keys := map[string]int{}
	for i := range 400 {
		session := fmt.Sprintf("b_01m863p1z13jmmt0xq5aa4ckm0/job-%d", i)
		key := cacheKey(session)
		assert.Equal(t, key, cacheKey(session))
		assert.True(t, strings.HasPrefix(key, "b_01m863p1z13jmmt0xq5aa4ckm0-"), key)
		keys[key]++
	}
	assert.Len(t, keys, cacheShards)
	assert.Empty(t, cacheKey(""))
	assert.LessOrEqual(t, len(cacheKey(strings.Repeat("x", 300)+"/job-1")), maxCacheKey)
}

func TestBaseURLs(t *testing.T) {
	for suffix, want := range map[string]string{
		"": "/v1/models", "/": "/v1/models", "/v1": "/v1/models", "/v1/": "/v1/models", "/api/v1": "/api/v1/models",
		"/v1beta/openai/": "/v1beta/openai/models", "/openai": "/openai/models",
	} {
		for _, scheme := range []string{"http://", "openai+http://"} {
			server := backendtest.Replay(t, answer(200, `{"data":[{"id":"m"}]}`))
			_, err := open(t, scheme+server.Addr+suffix).Models(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, server.Requests()[0].URL.Path, suffix)
		}
	}
	assert.Equal(t, "openai://api.openai.com", open(t, "openai://").Endpoint())
	assert.Equal(t, "openai", open(t, "openai://").Capabilities().Name)
	assert.Equal(t, "openai-compatible", open(t, "https://host/v1").Capabilities().Name)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestModelsListsChatModelsNewestFirst(t *testing.T) {
	list := `{"data":[{"id":"text-embedding-3","created":9},{"id":"gpt-old","created":1},{"id":"gpt-4o-mini-tts","created":8},{"id":"gpt-new","created":5},{"id":"whisper-1","created":7}]}`
	for url, want := range map[string][]string{"openai://": {"gpt-new", "gpt-old"}, "openai://other": {"text-embedding-3", "gpt-old", "gpt-4o-mini-tts", "gpt-new", "whisper-1"}} {
		b, err := New(Config{URL: url, Getenv: env(nil), Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(list)), Request: r}, nil
		})})
		require.NoError(t, err)
		models, err := b.Models(t.Context())
		require.NoError(t, err)
		var ids []string
		for _, m := range models {
			ids = append(ids, m.ID)
		}
		assert.Equal(t, want, ids)
		require.NoError(t, b.Close())
	}
}

func TestReadyOfPaidEndpointIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, status := 0, 200
		b, err := New(Config{URL: "openai://", Getenv: env(nil), Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(`{"data":[]}`)), Request: r}, nil
		})})
		require.NoError(t, err)
		defer b.Close()
		for range 10 {
			require.NoError(t, b.Ready(t.Context()))
		}
		assert.Equal(t, 1, asked)
		time.Sleep(readyFor)
		status = 500
		assert.Equal(t, backend.Transient, backend.ClassOf(b.Ready(t.Context())))
		status = 200
		require.NoError(t, b.Ready(t.Context()), "after a failure it is asked at once")
		assert.Equal(t, 3, asked)
		status = 500
		_, err = b.Generate(t.Context(), ask(), backend.Observer{})
		require.Error(t, err)
		assert.Error(t, b.Ready(t.Context()), "a failed call causes a new request")
	})
}

func TestProviderWithoutModelListIsReady(t *testing.T) {
	server := backendtest.Replay(t, answer(404, `{"error":"not found"}`))
	require.NoError(t, open(t, "http://"+server.Addr).Ready(t.Context()))
	models, err := open(t, "openai+http://"+server.Addr).Models(t.Context())
	require.NoError(t, err)
	assert.Empty(t, models, "each request must name its model")
}

func TestKeyComesFromTheEnvironment(t *testing.T) {
	var sent string
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = r.Header.Get("Authorization")
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"data":[]}`)), Request: r}, nil
	})
	cases := []struct {
		url  string
		vars map[string]string
		want string
	}{
		{"openai://", map[string]string{"BATCHAGENT_API_KEY": " first\n", "OPENAI_API_KEY": "second"}, "Bearer first"},
		{"openai://", map[string]string{"OPENAI_API_KEY": "second", "VLLM_API_KEY": "other"}, "Bearer second"},
		{"https://provider.example/v1", map[string]string{"OPENAI_API_KEY": "second"}, "Bearer second"},
		{"http://127.0.0.1:8000", map[string]string{"OPENAI_API_KEY": "second"}, "Bearer second"},
		{"http://10.1.2.3:8000", map[string]string{"OPENAI_API_KEY": "paid"}, ""},
		{"http://10.1.2.3:8000", map[string]string{"BATCHAGENT_API_KEY": "meant", "OPENAI_API_KEY": "paid"}, "Bearer meant"},
	}
	for _, c := range cases {
		var log bytes.Buffer
		b, err := New(Config{URL: c.url, Getenv: env(c.vars), Transport: transport, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		_, err = b.Models(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.Close())
		assert.Equal(t, c.want, sent, "%s %v", c.url, c.vars)
		for _, key := range c.vars {
			assert.NotContains(t, log.String(), strings.TrimSpace(key))
		}
		assert.Equal(t, c.want == "Bearer meant", strings.Contains(log.String(), "unencrypted"), c.url)
	}
	for _, url := range []string{"openai://user:hunter2@host", "https://host?key=hunter2"} {
		_, err := New(Config{URL: url, Getenv: env(nil)})
		require.ErrorContains(t, err, "OPENAI_API_KEY")
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestReasoningIsSentBack(t *testing.T) {
	for _, scheme := range []string{"openai+http://", "http://"} {
		t.Run(scheme, func(t *testing.T) {
			backendtest.RunChatReasoning(t, "", func(t *testing.T, addr string) backend.Backend { return open(t, scheme+addr) })
		})
	}
}
