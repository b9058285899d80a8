package sglang

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// These tests replay traffic of a real SGLang 0.5.23.

// generate makes one call to a recording. It also returns the calls that were reported during the stream.
func generate(t *testing.T, name string, r *backend.Request) (*backend.Response, []backend.ToolCall, error) {
	t.Helper()
	b, _ := replayed(t, name)
	var told []backend.ToolCall
	resp, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(_ int, c backend.ToolCall) { told = append(told, c) }})
	return resp, told, err
}

func TestRecordedTurns(t *testing.T) {
	cases := map[string]struct {
		finish    backend.FinishReason
		says      string
		reasoning bool
		calls     []string // arguments
		told      int
		cached    int64
	}{
		"base/chat-stream":             {finish: backend.FinishStop, says: "Paris", cached: 32},
		"rust/chat-stream":             {finish: backend.FinishStop, says: "Paris"},
		"base/chat-stream-length":      {finish: backend.FinishLength, says: "The"},
		"base/chat-stop-string-stream": {finish: backend.FinishStop},
		"base/unicode-stream":          {finish: backend.FinishStop},
		"base/tools-auto-call-stream": {finish: backend.FinishToolCalls, told: 1,
			calls: []string{`{"city": "Rome", "unit": "celsius"}`}},
		"rust/tools-auto-call-stream": {finish: backend.FinishLength},
		"base/tools-auto-two-calls-stream": {finish: backend.FinishToolCalls, told: 2,
			calls: []string{`{"city": "Rome", "unit": "celsius"}`, `{"path": "notes.txt"}`}},
		"base/tools-auto-parallel-false-stream":     {finish: backend.FinishToolCalls, told: 2, calls: []string{"", ""}}, // not enforced
		"base/tools-auto-text-then-call-stream":     {finish: backend.FinishToolCalls, told: 1, calls: []string{""}, says: "I will"},
		"base/tools-named-strict-stream":            {finish: backend.FinishToolCalls, told: 1, calls: []string{""}},
		"base/tools-named-stream":                   {finish: backend.FinishLength, calls: []string{""}, told: 1}, // white space to the limit
		"base/tools-required-strict-stream":         {finish: backend.FinishToolCalls, told: 1, calls: []string{""}},
		"base/tools-auto-malformed-call-stream":     {finish: backend.FinishToolCalls, told: 1, calls: []string{"{}"}}, // altered without notice
		"base/tools-auto-unknown-tool-stream":       {finish: backend.FinishStop, says: `"arguments": {`},              // its end leaks into the text
		"base/tools-auto-call-cut-by-length-stream": {finish: backend.FinishLength, calls: []string{""}},
		"base/tools-auto-no-call-stream":            {finish: backend.FinishStop},
		"think/reasoning-then-answer-stream":        {finish: backend.FinishStop, reasoning: true, says: "7 is prime"},
		"think/reasoning-then-tool-call-stream":     {finish: backend.FinishToolCalls, reasoning: true, calls: []string{""}, told: 1},
		"think/reasoning-cut-by-length-stream":      {finish: backend.FinishLength, reasoning: true},
		"think/reasoning-swallows-json-schema-stream": {finish: backend.FinishLength,
			reasoning: true}, // the server enforces nothing before the end of the reasoning
		"retract/retract-0":                  {finish: backend.FinishLength}, // stalled for 17.7 s and continued
		"prio/preempted-zero":                {finish: backend.FinishLength},
		"shutdown/sigterm-stream":            {finish: backend.FinishLength},
		"guard/queue-waiting-1":              {finish: backend.FinishLength},
		"base/session-params-unknown-stream": {finish: backend.FinishLength},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			resp, told, err := generate(t, name, ask())
			require.NoError(t, err)
			assert.Equal(t, c.finish, resp.Finish)
			assert.Contains(t, resp.Message.Content, c.says)
			assert.Equal(t, c.reasoning, resp.Message.ReasoningText() != "", resp.Message.ReasoningText())
			require.Len(t, resp.Message.ToolCalls, len(c.calls))
			for i, want := range c.calls {
				if want != "" {
					assert.Equal(t, want, resp.Message.ToolCalls[i].Arguments)
				}
				assert.NotEmpty(t, resp.Message.ToolCalls[i].Name)
			}
			assert.Len(t, told, c.told)
			assert.Positive(t, resp.Usage.PromptTokens)
			if c.cached > 0 {
				assert.Equal(t, c.cached, resp.Usage.CachedTokens)
			}
		})
	}
}

func TestCachedTokensNeedTheReport(t *testing.T) {
	resp, _, err := generate(t, "fault/chat-no-cache-report-stream", ask())
	require.NoError(t, err)
	assert.EqualValues(t, -1, resp.Usage.CachedTokens)
	resp, _, err = generate(t, "base/chat-cached-warm-stream", ask())
	require.NoError(t, err)
	assert.Positive(t, resp.Usage.CachedTokens)
}

func TestWhitespaceRunawayIsCut(t *testing.T) {
	r := ask()
	r.Schema = &backend.Schema{Name: "review", JSON: []byte(`{"type":"object"}`)}
	_, _, err := generate(t, "base/json-schema-stream", r)
	assert.Equal(t, backend.Degenerate, backend.ClassOf(err), "%v", err)
	resp, _, err := generate(t, "base/json-schema-compact-stream", r)
	require.NoError(t, err)
	assert.Equal(t, backend.FinishStop, resp.Finish)
}

// Every documented status and body has its class, in any shape and place.
func TestRecordedErrorsHaveTheirClass(t *testing.T) {
	classes := map[string]backend.Class{
		"base/err-too-long":                      backend.ContextTooLong,
		"base/err-too-long-stream":               backend.ContextTooLong,
		"rust/err-too-long-stream":               backend.ContextTooLong,
		"base/err-prompt-plus-max-tokens":        backend.ContextTooLong,
		"base/err-prompt-plus-max-tokens-stream": backend.ContextTooLong,
		"pool/err-prompt-over-pool":              backend.ContextTooLong,
		"pool/err-prompt-over-pool-stream":       backend.ContextTooLong,
		"guard/err-no-key":                       backend.Auth,
		"guard/err-bad-key":                      backend.Auth,
		"guard/err-queue-full":                   backend.Overloaded,
		"guard/err-queue-full-priority":          backend.Overloaded,
		"guard/err-queue-full-stream":            backend.Overloaded,
		"prio-full/evicted-0-stream":             backend.Overloaded,
		"prio-full/evicted-1":                    backend.Overloaded,
		"prio-full/refused-0":                    backend.Overloaded,
		"prio-full/refused-0-stream":             backend.Overloaded,
		"fault/waiting-timeout":                  backend.Overloaded,
		"fault/waiting-timeout-stream":           backend.Overloaded,
		"fault/running-timeout":                  backend.Transient,
		"fault/running-timeout-stream":           backend.Transient, // after words
		"fault/priority-refused":                 backend.Transient,
		"fault/priority-refused-stream":          backend.Transient,
		"guard/rid-duplicate":                    backend.Transient,
		"guard/rid-duplicate-stream":             backend.Transient,
		"guard/abort-running-stream":             backend.Transient, // 200, words, finish reason "abort", [DONE]
		"guard/abort-queued-stream":              backend.Transient,
		"guard/chat-stream-abandoned":            backend.Transient,
		"shutdown/schedkill-stream":              backend.Transient, // silence, then the end
		"base/unknown-model-colon":               backend.UnknownModel,
		"base/regex-invalid":                     backend.InvalidRequest,
		"base/regex-invalid-stream":              backend.InvalidRequest,
		"base/json-schema-invalid":               backend.InvalidRequest,
		"base/json-schema-invalid-stream":        backend.InvalidRequest,
		"rust/json-schema-invalid-stream":        backend.InvalidRequest,
		"base/assistant-bad-arguments":           backend.InvalidRequest,
		"base/unknown-role":                      backend.InvalidRequest,
		"base/tool-schema-bad":                   backend.InvalidRequest,
		"base/tools-required-and-regex":          backend.InvalidRequest,
		"base/max-tokens-huge-stream":            backend.InvalidRequest,
		"rust/err-bad-json":                      backend.InvalidRequest,
	}
	classes["base/err-not-found"] = backend.Transient // the route may be missing temporarily
	for _, name := range backendtest.Recordings(t, "sglang-0.5.23/base/err-*") {
		if name = strings.TrimPrefix(name, "sglang-0.5.23/"); classes[name] == "" {
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
		assert.Contains(t, e.Endpoint, "sglang://")
		for _, leak := range []string{"http_server.py", "'input'", "One sentence"} {
			assert.NotContains(t, err.Error(), leak, name)
		}
	}
}

func TestLoadOfARealServer(t *testing.T) {
	cases := map[string]backend.Load{
		// 1 running and 2 queued; the gauges were 0 and 0.
		"guard/metrics-under-load": {Running: 3, Waiting: 0, KVUsage: 0, KVCapacityTokens: 8192, Preemptions: 0},
		"prio/metrics-under-load":  {Running: 1, Waiting: 4, KVUsage: 0.01, KVCapacityTokens: 8192, Preemptions: 0},
		"base/metrics-after":       {Running: 0, Waiting: 0, KVUsage: 0.04, KVCapacityTokens: 8192, Preemptions: 0},
		"fault/metrics-disabled":   {Running: -1, Waiting: -1, KVUsage: -1, KVCapacityTokens: 8192, Preemptions: -1},
	}
	for name, want := range cases {
		server := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /metrics": name}))
		load, err := open(t, server.Addr).Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, load, name)
	}
	server := backendtest.ReplayRoutes(t, routes(t, map[string]string{"GET /metrics": "retract/metrics-after", "GET /server_info": "pool/server-info"}))
	load, err := open(t, server.Addr).Load(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, load.Preemptions)
	assert.Equal(t, 1500, load.KVCapacityTokens)
}

func TestLoadOfOtherPages(t *testing.T) {
	load, err := parseLoad([]byte("vllm:num_requests_running 3\n"))
	require.NoError(t, err)
	assert.Equal(t, unknown, load)

	load, err = parseLoad([]byte(`sglang:num_running_reqs{tp_rank="0"} 5
sglang:num_running_reqs{tp_rank="1"} 5
sglang:num_queue_reqs{tp_rank="0"} 2
sglang:token_usage{tp_rank="0",dp_rank="0"} 0.25
sglang:token_usage{tp_rank="0",dp_rank="1"} 0.75
`))
	require.NoError(t, err)
	assert.Equal(t, 5, load.Running, "each rank repeats it")
	assert.Equal(t, 2, load.Waiting, "an older server without the live count")
	assert.Equal(t, 0.75, load.KVUsage)

	load, err = parseLoad([]byte("sglang:num_queue_reqs 9\nsglang:http_requests_active{endpoint=\"/v1/chat/completions\",method=\"POST\"} 4\n"))
	require.NoError(t, err)
	assert.Equal(t, 4, load.Waiting, "no more wait than are there")
	assert.Zero(t, load.Running)

	_, err = parseLoad([]byte("sglang:x{"))
	assert.Error(t, err)
}
