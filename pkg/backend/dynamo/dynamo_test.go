package dynamo

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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ backend.Backend      = (*Backend)(nil)
	_ backend.LoadReporter = (*Backend)(nil)
)

const chatRoute = "POST /v1/chat/completions"

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func open(t *testing.T, addr string) *Backend {
	t.Helper()
	b, err := New(Config{URL: "dynamo://" + addr, Getenv: env(nil)})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func recording(t *testing.T, name string) backendtest.Reply {
	t.Helper()
	return backendtest.Reply{Bytes: backendtest.Recording(t, "dynamo-1.6.1/"+name)}
}

// replayed opens a backend on a frontend with recorded routes.
func replayed(t *testing.T, names map[string]string) (*Backend, *backendtest.Server) {
	t.Helper()
	routes := map[string]backendtest.Reply{"GET /v1/models": recording(t, "models")}
	for route, name := range names {
		routes[route] = recording(t, name)
	}
	server := backendtest.ReplayRoutes(t, routes)
	return open(t, server.Addr), server
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Model: "smollm2-135m", Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}}
}

func withTools() *backend.Request {
	r := ask()
	r.Tools = []backend.Tool{{Name: "get_weather", Parameters: []byte(`{"type":"object"}`)}}
	return r
}

func generate(t *testing.T, name string, r *backend.Request) (*backend.Response, []backend.ToolCall, error) {
	t.Helper()
	b, _ := replayed(t, map[string]string{chatRoute: name})
	var told []backend.ToolCall
	resp, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(_ int, c backend.ToolCall) { told = append(told, c) }})
	return resp, told, err
}

// taken are the fields that a real frontend accepted. It refuses all others, at every level of nvext.
var taken = map[string]bool{
	"model": true, "messages": true, "tools": true, "tool_choice": true, "stop": true, "stream": true, "stream_options": true, "temperature": true,
	"top_p": true, "max_tokens": true, "seed": true, "response_format": true, "nvext": true,
}

// exact refuses the requests that Dynamo refuses and vLLM accepts.
func exact(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/chat/completions" {
			raw, _ := io.ReadAll(r.Body)
			if problem := refuses(raw); problem != "" {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"message":%q,"type":"Bad Request","code":400}`, problem)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
		}
		next.ServeHTTP(w, r)
	})
}

func refuses(raw []byte) string {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil {
		return err.Error()
	}
	for field := range body {
		if !taken[field] {
			return "Validation: Unsupported parameter(s): `" + field + "`"
		}
	}
	if nvext := body["nvext"]; nvext != nil {
		dec := json.NewDecoder(bytes.NewReader(nvext))
		dec.DisallowUnknownFields()
		var known struct {
			AgentHints *struct {
				Priority       int32  `json:"priority"`
				StrictPriority uint32 `json:"strict_priority"`
				OSL            uint32 `json:"osl"`
			} `json:"agent_hints"`
		}
		if err := dec.Decode(&known); err != nil {
			return "invalid nvext: " + err.Error()
		}
	}
	var messages []struct {
		Role      string
		Content   json.RawMessage
		ToolCalls []struct{ Function struct{ Arguments string } } `json:"tool_calls"`
	}
	if err := json.Unmarshal(body["messages"], &messages); err != nil {
		return err.Error()
	}
	for _, m := range messages {
		if m.Role == "tool" && (m.Content == nil || string(m.Content) == "null") {
			return "missing field `content`"
		}
		for _, c := range m.ToolCalls {
			var object map[string]any
			if json.Unmarshal([]byte(c.Function.Arguments), &object) != nil {
				return "must be a valid JSON object string"
			}
		}
	}
	return ""
}

func TestConformanceOnTheSimulator(t *testing.T) {
	backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true}, func(t *testing.T) backendtest.Target {
		sim, err := vllmsim.New(vllmsim.Config{TokenMS: 0.1})
		require.NoError(t, err)
		server := httptest.NewServer(exact(sim))
		t.Cleanup(server.Close)
		return backendtest.Target{Backend: open(t, server.Listener.Addr().String()), Model: "sim", Dead: func() backend.Backend {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, listener.Close())
			return open(t, listener.Addr().String())
		}}
	})
}

func TestOddModels(t *testing.T) {
	backendtest.RunOdd(t, func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}

func TestBodyHasOnlySupportedFields(t *testing.T) {
	half, seed := 0.5, int64(7)
	r := withTools()
	r.ToolChoice = backend.ToolChoiceNone
	r.Schema = &backend.Schema{Name: "s", JSON: []byte(`{"type":"object"}`)}
	r.Sampling = backend.Sampling{Temperature: &half, TopP: &half, MaxTokens: 5, Seed: &seed, Stop: []string{"x"}}
	r.Hints = backend.Hints{Priority: -3, Session: "b_1/job-3", OutputTokens: 120}
	r.Messages = append(r.Messages,
		backend.Message{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "a", Name: "f", Arguments: `{"broken`}}},
		backend.Message{Role: backend.RoleTool, ToolCallID: "a"})
	b, server := replayed(t, map[string]string{chatRoute: "chat-stream"})
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	sent := server.Asked(chatRoute)[0]
	assert.Empty(t, refuses(sent.Content))
	var body map[string]any
	require.NoError(t, json.Unmarshal(sent.Content, &body))
	for field := range taken {
		assert.Contains(t, body, field)
	}
	assert.Equal(t, map[string]any{"agent_hints": map[string]any{"priority": -3.0, "osl": 120.0}}, body["nvext"])
	assert.Equal(t, "b_1/job-3", sent.Header.Get("x-dynamo-session-id"))
	assert.Empty(t, sent.Header.Get("x-dynamo-parent-session-id"))

	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	plain := server.Asked(chatRoute)[1]
	assert.NotContains(t, string(plain.Content), "nvext")
	assert.NotContains(t, plain.Header, http.CanonicalHeaderKey("x-dynamo-session-id"))
}

func TestPriorityIsKeptWithin32Bits(t *testing.T) {
	for priority, want := range map[int]string{1: "1", 1 << 40: "2147483647", -1 << 40: "-2147483648"} {
		r := ask()
		r.Hints.Priority = priority
		fields := extra(r)
		require.Len(t, fields, 1)
		value, err := json.Marshal(fields[0].Value)
		require.NoError(t, err)
		assert.JSONEq(t, `{"agent_hints":{"priority":`+want+`}}`, string(value))
	}
}

func TestRecordedTurns(t *testing.T) {
	cases := map[string]struct {
		finish    backend.FinishReason
		says      string
		reasoning bool
		calls     []string // arguments
		told      int
	}{
		"chat-stream":                          {finish: backend.FinishStop, says: "Paris"},
		"chat-stream-length":                   {finish: backend.FinishLength},
		"chat-unicode-stream":                  {finish: backend.FinishStop},
		"keepalive-stream":                     {finish: backend.FinishLength, reasoning: true},
		"r1-reasoning-dispatch-stream":         {finish: backend.FinishLength, reasoning: true},
		"nvext-annotations-stream":             {finish: backend.FinishLength},
		"tools-auto-stream":                    {finish: backend.FinishToolCalls, calls: []string{`{"city": "Rome", "unit": "celsius"}`}, told: 1},
		"dispatch-tools-auto-stream":           {finish: backend.FinishToolCalls, calls: []string{`{"city": "Rome", "unit": "celsius"}`}, told: 1},
		"tools-auto-two-calls-stream":          {finish: backend.FinishToolCalls, calls: []string{"", ""}, told: 2},
		"dispatch-tools-two-stream":            {finish: backend.FinishToolCalls, calls: []string{"", `{"path": "notes.txt"}`}, told: 2},
		"dispatch-tools-text-then-call-stream": {finish: backend.FinishToolCalls, says: "I will look it up.", calls: []string{""}, told: 1},
		"dispatch-tools-required-stream":       {finish: backend.FinishToolCalls, calls: []string{""}, told: 1},
		"dispatch-no-call-stream":              {finish: backend.FinishStop},
		"tools-named-stream":                   {finish: backend.FinishToolCalls, calls: []string{""}, told: 1},
		"tools-auto-cut-stream":                {finish: backend.FinishLength, calls: []string{`{"city": "R"}`}}, // completed, never reported
		"dispatch-tools-auto-cut-stream":       {finish: backend.FinishLength, calls: []string{`{"city": "R"}`}},
		"tools-required-cut-stream":            {finish: backend.FinishLength, calls: []string{`{"city": "Os`}}, // two finish reasons
		"dispatch-tools-required-cut-stream":   {finish: backend.FinishLength, calls: []string{""}},
		"tools-auto-malformed-call-stream":     {finish: backend.FinishStop}, // the call disappeared
		"dispatch-tools-malformed-stream":      {finish: backend.FinishStop},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			resp, told, err := generate(t, name, withTools())
			require.NoError(t, err)
			assert.Equal(t, c.finish, resp.Finish)
			assert.Contains(t, resp.Message.Content, c.says)
			assert.Equal(t, c.reasoning, resp.Message.ReasoningText() != "")
			require.Len(t, resp.Message.ToolCalls, len(c.calls))
			for i, want := range c.calls {
				if want != "" {
					assert.Equal(t, want, resp.Message.ToolCalls[i].Arguments)
				}
			}
			assert.Len(t, told, c.told)
			assert.Positive(t, resp.Usage.PromptTokens)
			assert.GreaterOrEqual(t, resp.Usage.CachedTokens, int64(0), "always told")
		})
	}
}

func TestDispatchedCallIsMergedWithItsDelta(t *testing.T) {
	resp, told, err := generate(t, "dispatch-tools-two-stream", withTools())
	require.NoError(t, err)
	assert.Equal(t, resp.Message.ToolCalls, told)
	assert.NotEqual(t, told[0].ID, told[1].ID)
}

// Every documented status and body has its class.
func TestRecordedErrorsHaveTheirClass(t *testing.T) {
	classes := map[string]backend.Class{
		"overload":                                 backend.Overloaded, // 529 <none>
		"overload-stream":                          backend.Overloaded,
		"overload-prefill-503":                     backend.Overloaded, // the status is configurable
		"overload-prefill-503-stream":              backend.Overloaded,
		"worker-limit":                             backend.Overloaded,
		"worker-limit-stream":                      backend.Overloaded,
		"no-worker":                                backend.Overloaded,
		"no-worker-stream":                         backend.Overloaded,
		"no-worker-at-once":                        backend.Overloaded,
		"no-worker-at-once-stream":                 backend.Overloaded,
		"frontend-draining-chat":                   backend.Overloaded,
		"worker-killed":                            backend.Overloaded,
		"worker-killed-stream":                     backend.Overloaded, // after words
		"chat-stream-abandoned":                    backend.Transient,
		"err-too-long":                             backend.Transient, // the worker published no budget
		"err-too-long-stream":                      backend.Transient,
		"peek-err-too-long":                        backend.Transient,
		"peek-err-too-long-stream":                 backend.Transient,
		"required-taint-no-match-stream":           backend.Transient,
		"budget-err-too-long":                      backend.ContextTooLong,
		"budget-err-too-long-stream":               backend.ContextTooLong,
		"budget-err-prompt-plus-max-tokens":        backend.ContextTooLong,
		"budget-err-prompt-plus-max-tokens-stream": backend.ContextTooLong,
		"err-unknown-model":                        backend.UnknownModel,
		"err-unknown-model-stream":                 backend.UnknownModel,
		"unknown-fields":                           backend.InvalidRequest,
		"unknown-fields-vllm":                      backend.InvalidRequest,
		"priority-top-level":                       backend.InvalidRequest,
		"nvext-unknown":                            backend.InvalidRequest,
		"nvext-disabled":                           backend.InvalidRequest,
		"nvext-agent-hints-unknown-stream":         backend.InvalidRequest,
		"assistant-bad-arguments":                  backend.InvalidRequest,
		"tool-result-missing-content":              backend.InvalidRequest,
		"max-tokens-zero":                          backend.InvalidRequest,
		"pin-unknown-worker":                       backend.InvalidRequest,
		"err-not-found":                            backend.Transient,
	}
	for _, name := range backendtest.Recordings(t, "dynamo-1.6.1/err-*") {
		if name = strings.TrimPrefix(name, "dynamo-1.6.1/"); classes[name] == "" {
			classes[name] = backend.InvalidRequest
		}
	}
	for name, want := range classes {
		_, told, err := generate(t, name, ask())
		var e *backend.Error
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, want, e.Class, "%s: %v", name, err)
		assert.NotEmpty(t, e.Message, name)
		assert.Zero(t, e.RetryAfter, name)
		assert.Empty(t, told, name)
	}
}

func TestReadinessIsCheckedPerModel(t *testing.T) {
	const route = "GET /v1/models/smollm2-135m/ready"
	b, server := replayed(t, map[string]string{route: "model-ready"})
	require.NoError(t, b.Ready(t.Context()))
	assert.Len(t, server.Asked(route), 1)
	assert.Empty(t, server.Asked("GET /health"), "it returns 200 without any worker")

	b, _ = replayed(t, map[string]string{route: "no-worker-ready"})
	assert.Equal(t, backend.Overloaded, backend.ClassOf(b.Ready(t.Context())))
	b, _ = replayed(t, map[string]string{"GET /v1/models": "no-worker-models"})
	assert.Equal(t, backend.Overloaded, backend.ClassOf(b.Ready(t.Context())))
	b, _ = replayed(t, map[string]string{route: "overload-ready"})
	assert.NoError(t, b.Ready(t.Context()))
	b, _ = replayed(t, nil)
	assert.NoError(t, b.Ready(t.Context()), "an older frontend lists only what it serves")
	b, _ = replayed(t, map[string]string{"GET /v1/models": "frontend-draining-chat"})
	assert.Equal(t, backend.Overloaded, backend.ClassOf(b.Ready(t.Context())))
}

func TestOneReadyModelIsEnough(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.EscapedPath() {
		case "/v1/models":
			_, _ = io.WriteString(w, `{"data":[{"id":"a"},{"id":"org/b"}]}`)
		case "/v1/models/org%2Fb/ready":
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	assert.NoError(t, open(t, server.Listener.Addr().String()).Ready(t.Context()))
}

func TestWindowOfTheModel(t *testing.T) {
	b, _ := replayed(t, nil)
	models, err := b.Models(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []backend.Model{{ID: "smollm2-135m", MaxModelLen: 4096}}, models)
}

func TestUsageAfterMigrationIsNotCounted(t *testing.T) {
	b, server := replayed(t, map[string]string{chatRoute: "chat-stream"})
	r := ask()
	r.Messages = []backend.Message{
		{Role: backend.RoleSystem, Content: "You are a careful assistant. Answer briefly."},
		{Role: backend.RoleUser, Content: "What is the capital of France? One sentence."},
	}
	for range enough {
		resp, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
		assert.EqualValues(t, 33, resp.Usage.PromptTokens)
	}
	moved := backendtest.Replay(t, recording(t, "worker-killed-migrated-stream"))
	after := open(t, moved.Addr)
	after.usage.ratios = b.usage.ratios
	resp, err := after.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Equal(t, backend.Usage{CachedTokens: -1, CompletionTokens: 800}, resp.Usage, "279 tokens for a prompt of 33")
	assert.Len(t, server.Asked(chatRoute), enough)
}

func TestDensePromptsAreNotMigrations(t *testing.T) {
	var c usageCheck
	text := func(n int) *backend.Request {
		return &backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: strings.Repeat("x", n)}}}
	}
	for range 3 * remembered {
		assert.True(t, c.plausible(text(1000), backend.Usage{PromptTokens: 250, CompletionTokens: 100}))
	}
	assert.Len(t, c.ratios, remembered)
	assert.True(t, c.plausible(text(1000), backend.Usage{PromptTokens: 600, CompletionTokens: 1000}), "dense, as code is")
	assert.True(t, c.plausible(text(1000), backend.Usage{PromptTokens: 1000, CompletionTokens: 10}), "more than was generated: it is the prompt")
	assert.False(t, c.plausible(text(1000), backend.Usage{PromptTokens: 1000, CompletionTokens: 900}))
	assert.True(t, c.plausible(text(1000), backend.Usage{}), "no usage is no wrong usage")
}

func TestLoadOfARealFrontend(t *testing.T) {
	for name, want := range map[string]backend.Load{
		"metrics-idle":       {Running: 0, Waiting: 0, KVUsage: -1, KVCapacityTokens: 16384 * 16, Preemptions: -1},
		"metrics-under-load": {Running: 4, Waiting: 0, KVUsage: -1, KVCapacityTokens: 16384 * 16, Preemptions: -1},
		"queue-metrics":      {Running: 1, Waiting: 5, KVUsage: -1, KVCapacityTokens: 128 * 16, Preemptions: -1},
	} {
		b, _ := replayed(t, map[string]string{"GET /metrics": name})
		load, err := b.Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, load, name)
	}
	load, err := parseLoad([]byte(`dynamo_frontend_inflight_requests{model="m"} 3
dynamo_frontend_queued_requests{model="m"} 1
dynamo_frontend_model_total_kv_blocks{model="m"} 10
dynamo_frontend_model_kv_cache_block_size{model="m"} 16
dynamo_frontend_worker_active_decode_blocks{worker_id="18446744073709551615",worker_type="decode"} 0
dynamo_frontend_worker_active_decode_blocks{worker_id="2",worker_type="decode"} 0
dynamo_frontend_worker_active_decode_blocks{worker_id="3",worker_type="prefill"} 0
`))
	require.NoError(t, err)
	assert.Equal(t, backend.Load{Running: 2, Waiting: 1, KVUsage: -1, KVCapacityTokens: 320, Preemptions: -1}, load)
	_, err = parseLoad([]byte("x{"))
	assert.Error(t, err)
}

func TestGatewayKeyComesFromTheEnvironment(t *testing.T) {
	server := backendtest.ReplayRoutes(t, map[string]backendtest.Reply{"GET /v1/models": recording(t, "models")})
	for want, vars := range map[string]map[string]string{
		"Bearer mine": {"BATCHAGENT_API_KEY": "mine"},
		"":            {"OPENAI_API_KEY": "paid", "VLLM_API_KEY": "other"},
	} {
		b, err := New(Config{URL: "dynamo://" + server.Addr, Getenv: env(vars)})
		require.NoError(t, err)
		_, err = b.Models(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.Close())
		requests := server.Requests()
		assert.Equal(t, want, requests[len(requests)-1].Header.Get("Authorization"))
	}
	var log bytes.Buffer
	b, err := New(Config{URL: "dynamo://10.1.2.3", Getenv: env(map[string]string{"BATCHAGENT_API_KEY": "hunter2"}), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	assert.Contains(t, log.String(), "unencrypted")
	assert.NotContains(t, log.String(), "hunter2")
}

func TestReasoningIsSentBack(t *testing.T) {
	backendtest.RunChatReasoning(t, reasoningField, func(t *testing.T, addr string) backend.Backend { return open(t, addr) })
}
