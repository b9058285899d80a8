package openaichat

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// dialectOn opens a client with a dialect on a server that replays recordings.
func dialectOn(t *testing.T, d Dialect, recordings ...string) (*Client, *backendtest.Server) {
	t.Helper()
	var replies []backendtest.Reply
	for _, name := range recordings {
		replies = append(replies, backendtest.Reply{Bytes: backendtest.Recording(t, name)})
	}
	server := backendtest.Replay(t, replies...)
	c := New(Config{URL: endpoint.URL{Shown: "test://server", Root: "http://" + server.Addr}, Dialect: d})
	t.Cleanup(func() { c.Close() })
	return c, server
}

func withTools() *backend.Request {
	r := ask()
	r.Tools = []backend.Tool{{Name: "get_weather", Parameters: []byte(`{"type":"object"}`)}}
	return r
}

func TestDispatchedCallIsReportedOnceAndBeforeItsDelta(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dispatch-tools-auto-stream", "dispatch-tools-two-stream", "dispatch-tools-text-then-call-stream"} {
		var seen [2][]backend.ToolCall
		for i, dispatch := range []bool{true, false} {
			c, _ := dialectOn(t, Dialect{Dispatch: dispatch}, "dynamo-1.6.1/"+name)
			o := &told{}
			resp, err := c.Generate(t.Context(), withTools(), o.observer())
			require.NoError(t, err, name)
			assert.Equal(t, backend.FinishToolCalls, resp.Finish)
			assert.Equal(t, resp.Message.ToolCalls, o.calls, name)
			seen[i] = o.calls
		}
		assert.Equal(t, seen[1], seen[0], "%s: the same turn with and without the events", name)
	}

	// So far the stream contains only the event, and not the delta.
	o := &told{}
	turn := newTurn(o.observer(), false)
	turn.dispatch = true
	require.NoError(t, turn.add([]byte(`{"choice_index":0,"tool_call":{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}}`), chatEvent))
	assert.Empty(t, o.calls, "the next chunk may report a cut")
	assert.Equal(t, 1, o.firstTokens)
	require.NoError(t, turn.add([]byte(contentChunk("more")), chatEvent))
	assert.Len(t, o.calls, 1)
}

func TestIncompleteDispatchIsIgnored(t *testing.T) {
	t.Parallel()
	event := func(args string) []byte {
		return []byte(`{"choice_index":0,"tool_call":{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":` + quote(args) + `}}}`)
	}
	for _, args := range []string{`{"`, `12`, ``, `[1]`, `{"x":1}}`} {
		o := &told{}
		turn := newTurn(o.observer(), false)
		turn.dispatch = true
		require.NoError(t, turn.add(event(args), chatEvent))
		require.NoError(t, turn.add([]byte(contentChunk("more")), chatEvent))
		assert.Empty(t, o.calls, args)
	}
	// With another tool choice the server sends the event only at the first fragment.
	c, _ := dialectOn(t, Dialect{Dispatch: true}, "dynamo-1.6.1/dispatch-tools-required-stream")
	resp, err := c.Generate(t.Context(), withTools(), backend.Observer{})
	require.NoError(t, err)
	require.Len(t, resp.Message.ToolCalls, 1)
	assert.Greater(t, len(resp.Message.ToolCalls[0].Arguments), 10)

	none := withTools()
	none.ToolChoice = backend.ToolChoiceNone
	c, _ = dialectOn(t, Dialect{Dispatch: true}, "dynamo-1.6.1/dispatch-tools-auto-stream")
	resp, err = c.Generate(t.Context(), none, backend.Observer{})
	require.NoError(t, err)
	assert.Len(t, resp.Message.ToolCalls, 1, "by its deltas")
}

func TestCallCompletedAfterACutIsNotReported(t *testing.T) {
	t.Parallel()
	resp, o := mustReplay(t, "dynamo-1.6.1/tools-auto-cut-stream")
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Equal(t, `{"city": "R"}`, resp.Message.ToolCalls[0].Arguments, "valid JSON proves nothing")
	assert.Empty(t, o.calls)

	c, _ := dialectOn(t, Dialect{Dispatch: true}, "dynamo-1.6.1/dispatch-tools-auto-cut-stream")
	o = &told{}
	resp, err := c.Generate(t.Context(), withTools(), o.observer())
	require.NoError(t, err)
	assert.Equal(t, backend.FinishLength, resp.Finish)
	assert.Empty(t, o.calls, "an event announced it as well")

	resp, o = mustReplay(t, "dynamo-1.6.1/tools-required-cut-stream")
	assert.Equal(t, backend.FinishLength, resp.Finish, "of two finish reasons the cut counts")
	assert.Empty(t, o.calls)
}

func TestClampedCallIsRepeatedWithTheRemainingTokens(t *testing.T) {
	t.Parallel()
	cases := []struct {
		refusal   string
		maxTokens int
		room      float64 // 0: the call is not repeated
	}{
		{"sglang-0.5.23/base/err-prompt-plus-max-tokens", 4090, 4096 - 33},
		{"dynamo-1.6.1/budget-err-prompt-plus-max-tokens", 100_000, 4096 - 33},
		{"sglang-0.5.23/base/err-too-long", 48, 0},
		{"dynamo-1.6.1/budget-err-too-long", 48, 0},
	}
	for _, c := range cases {
		cl, server := dialectOn(t, Dialect{Clamp: true}, c.refusal, "vllm-0.32/chat-stream")
		r := ask()
		r.Sampling.MaxTokens = c.maxTokens
		_, err := cl.Generate(t.Context(), r, backend.Observer{})
		if c.room == 0 {
			assert.Equal(t, backend.ContextTooLong, backend.ClassOf(err), c.refusal)
			assert.Len(t, server.Requests(), 1)
			continue
		}
		require.NoError(t, err, c.refusal)
		assert.Equal(t, c.room, decoded(t, server.Requests()[1].Content)["max_tokens"])

		cl, server = dialectOn(t, Dialect{}, c.refusal, "vllm-0.32/chat-stream")
		_, err = cl.Generate(t.Context(), r, backend.Observer{})
		assert.Equal(t, backend.ContextTooLong, backend.ClassOf(err))
		assert.Len(t, server.Requests(), 1)
	}
}

func TestDialectHeadersAndClasses(t *testing.T) {
	t.Parallel()
	d := Dialect{
		Header: func(r *backend.Request) http.Header { return http.Header{"X-Session": {r.Hints.Session}} },
		Class: func(e Refusal) backend.Class {
			if e.Status == http.StatusServiceUnavailable {
				return backend.Transient
			}
			return ""
		},
	}
	c, server := dialectOn(t, d, "vllm-0.32/chat-stream", "sglang-0.5.23/guard/err-queue-full-stream", "sglang-0.5.23/guard/err-queue-full", "vllm-0.32/err-too-long")
	r := ask()
	r.Hints.Session = "b_1/job-0"
	_, err := c.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, "b_1/job-0", server.Requests()[0].Header.Get("X-Session"))
	for _, want := range []backend.Class{backend.Transient, backend.Transient, backend.ContextTooLong} {
		_, err := c.Generate(t.Context(), r, backend.Observer{})
		assert.Equal(t, want, backend.ClassOf(err))
	}
}

func TestBaseOfTheRoutes(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{"": "/v1/chat/completions", "/": "/chat/completions", "/v9/openai/": "/v9/openai/chat/completions"} {
		server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/chat-stream")})
		c := New(Config{URL: endpoint.URL{Root: "http://" + server.Addr}, Base: base})
		_, err := c.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		assert.Equal(t, want, server.Requests()[0].URL.Path)
		require.NoError(t, c.Close())
	}
}

func TestHeadroom(t *testing.T) {
	t.Parallel()
	limits := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set("x-ratelimit-"+pairs[i], pairs[i+1])
		}
		return h
	}
	cases := []struct {
		name string
		h    http.Header
		want *backend.Headroom
	}{
		{"none", http.Header{}, nil},
		{"the tighter of two", limits("limit-requests", "100", "remaining-requests", "90", "reset-requests", "12ms", "limit-tokens", "1000", "remaining-tokens", "250", "reset-tokens", "6m0s"),
			&backend.Headroom{Left: 0.25, Reset: 6 * time.Minute}},
		{"plain seconds", limits("limit-requests", "10", "remaining-requests", "0", "reset-requests", "1.5"), &backend.Headroom{Left: 0, Reset: 1500 * time.Millisecond}},
		{"no reset", limits("limit-tokens", "10", "remaining-tokens", "20"), &backend.Headroom{Left: 1}},
		{"nonsense", limits("limit-tokens", "many", "remaining-tokens", "0", "limit-requests", "0", "remaining-requests", "0"), nil},
		{"not a number", limits("limit-tokens", "NaN", "remaining-tokens", "1", "limit-requests", "+Inf", "remaining-requests", "NaN"), nil},
		{"a reset beyond a day", limits("limit-tokens", "10", "remaining-tokens", "0", "reset-tokens", "1e300"), &backend.Headroom{Reset: maxReset}},
		{"a reset in the past", limits("limit-tokens", "10", "remaining-tokens", "0", "reset-tokens", "-5s"), &backend.Headroom{}},
	}
	for _, c := range cases {
		assert.Equal(t, c.want, headroom(c.h), c.name)
	}

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ratelimit-limit-requests", "200")
		w.Header().Set("x-ratelimit-remaining-requests", "50")
		w.Header().Set("x-ratelimit-reset-requests", "3s")
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(sse(contentChunk("x"), finishChunk("stop"), usageChunk, "[DONE]")))
	}))
	defer server.Close()
	resp, err := client(t, server.Listener.Addr().String()).Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, &backend.Headroom{Left: 0.25, Reset: 3 * time.Second}, resp.Headroom)
}

func TestExhaustedLimitGivesTheWait(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	h.Set("x-ratelimit-limit-tokens", "1000")
	h.Set("x-ratelimit-remaining-tokens", "0")
	h.Set("x-ratelimit-reset-tokens", "20s")
	assert.Equal(t, 20*time.Second, rules(nil).classify(429, h, nil).RetryAfter)
	assert.Zero(t, rules(nil).classify(503, h, nil).RetryAfter, "the limit is not the cause")
	h.Set("Retry-After-Ms", "250")
	assert.Equal(t, 250*time.Millisecond, rules(nil).classify(429, h, nil).RetryAfter, "the server's requested wait is used")
	h.Del("Retry-After-Ms")
	h.Set("x-ratelimit-remaining-tokens", "10")
	assert.Zero(t, rules(nil).classify(429, h, nil).RetryAfter)
}

func TestRepairedHistory(t *testing.T) {
	t.Parallel()
	call := func(args string) backend.ToolCall { return backend.ToolCall{ID: "a", Name: "f", Arguments: args} }
	in := []backend.Message{
		{Role: backend.RoleUser, Content: "x"},
		{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{call(`{"x":1}`), call(`{"city": Rome}}`), call(""), call(`"text"`), call(" {}\n")}},
		{Role: backend.RoleTool, ToolCallID: "a", Content: "y"},
	}
	before := in[1].ToolCalls[1]
	out := Repaired(in)
	assert.Equal(t, []backend.ToolCall{call(`{"x":1}`), call(`{"not_json":"{\"city\": Rome}}"}`), call(""), call(`{"not_json":"\"text\""}`), call(" {}\n")}, out[1].ToolCalls)
	assert.Equal(t, before, in[1].ToolCalls[1], "the input is not changed")
	assert.Equal(t, out, Repaired(in), "the same bytes each time")
	assert.Equal(t, out, Repaired(out))

	sound := in[:1]
	assert.Same(t, &sound[0], &Repaired(sound)[0], "intact messages are not copied")
	assert.Empty(t, Repaired(nil))
}

func TestRefusalIsInTheChain(t *testing.T) {
	t.Parallel()
	e := rules(nil).classify(400, nil, []byte(`{"error":{"message":"Unsupported value","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}`))
	var r Refusal
	require.ErrorAs(t, e, &r)
	assert.Equal(t, Refusal{Status: 400, Code: "unsupported_value", Param: "temperature", Message: "Unsupported value"}, r)
	assert.ErrorContains(t, e, "Unsupported value: code unsupported_value, parameter temperature")
	assert.Equal(t, ": overloaded (HTTP 503): busy", rules(nil).classify(503, nil, []byte(`{"error":{"message":"busy","code":503}}`)).Error())
}
