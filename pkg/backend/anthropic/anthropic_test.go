package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ backend.Backend = (*Backend)(nil)

func open(t *testing.T, addr string) *Backend {
	t.Helper()
	b, err := New(Config{URL: "anthropic+http://" + addr, Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func openFake(t *testing.T) (*Backend, *fake) {
	t.Helper()
	f := newFake(t)
	return open(t, f.Listener.Addr().String()), f
}

func ask() *backend.Request {
	return &backend.Request{ID: "b_1/job-3#2", Model: fakeModel, Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}}
}

var weather = backend.Tool{Name: "get_weather", Description: "Weather", Strict: true,
	Parameters: []byte(`{"type":"object","properties":{"zone":{"type":"string"},"city":{"type":"string"}},"required":["city"]}`)}

func TestConformance(t *testing.T) {
	backendtest.Run(t, backendtest.Features{Tools: true, Forced: true, Images: true, Schema: true}, func(t *testing.T) backendtest.Target {
		b, _ := openFake(t)
		return backendtest.Target{Backend: b, Model: fakeModel, Dead: func() backend.Backend {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, l.Close())
			return open(t, l.Addr().String())
		}}
	})
}

func TestURLs(t *testing.T) {
	for url, shown := range map[string]string{
		"anthropic://":               "anthropic://api.anthropic.com",
		"anthropic://proxy/claude":   "anthropic://proxy/claude",
		"anthropic+http://[::1]:999": "anthropic+http://[::1]:999",
	} {
		b, err := New(Config{URL: url, Getenv: func(string) string { return "" }})
		require.NoError(t, err)
		assert.Equal(t, shown, b.Endpoint())
	}
	_, err := New(Config{URL: "anthropic://user:hunter2@host", Getenv: func(string) string { return "" }})
	require.ErrorContains(t, err, KeyHint)
	assert.NotContains(t, err.Error(), "hunter2")
}

// The reset of a limit is relative to the server's clock, because the worker's clock may be minutes off.
func TestHeadroomByTheServersClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	h := http.Header{}
	h.Set("Anthropic-Ratelimit-Requests-Limit", "50")
	h.Set("Anthropic-Ratelimit-Requests-Remaining", "0")
	h.Set("Anthropic-Ratelimit-Requests-Reset", "2026-11-26T12:05:09Z")
	assert.Equal(t, 5*time.Minute+9*time.Second, headroom(h, now).Reset)
	h.Set("Date", "Thu, 26 Nov 2026 12:05:00 GMT")
	assert.Equal(t, 9*time.Second, headroom(h, now).Reset)
}

func TestUsageIncludesTheCacheAndHeadroom(t *testing.T) {
	b, _ := openFake(t)
	resp, err := b.Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, backend.Usage{PromptTokens: 7 + 5 + 30, CachedTokens: 30, CompletionTokens: 5}, resp.Usage)
	require.NotNil(t, resp.Headroom)
	assert.InDelta(t, 0.2, resp.Headroom.Left, 1e-9)
}

// The body of a second turn has the results of parallel calls in one user message, marks at the shared prefix and at
// the end, and nothing that the API refuses.
func TestRequestBody(t *testing.T) {
	b, f := openFake(t)
	r := ask()
	r.Tools, r.ToolChoice = []backend.Tool{weather}, backend.ToolChoiceNone
	r.Messages = []backend.Message{
		{Role: backend.RoleSystem, Content: "Be brief."},
		{Role: backend.RoleUser, Content: "Rome and Oslo?"},
		{Role: backend.RoleAssistant, Content: "  ", ToolCalls: []backend.ToolCall{
			{ID: "functions.w:0", Name: "get_weather", Arguments: `{"city":"Rome"}`}, {ID: "b", Name: "get_weather", Arguments: `{"city":`}}},
		{Role: backend.RoleTool, ToolCallID: "functions.w:0", Content: "sunny"},
		{Role: backend.RoleTool, ToolCallID: "b"},
		{Role: backend.RoleUser, Content: "go on"},
	}
	temperature := 0.0
	r.Sampling = backend.Sampling{Temperature: &temperature, Stop: []string{"END"},
		ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("20"), "metadata": json.RawMessage(`{"user_id":"u"}`)}}
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	raw, err := json.Marshal(f.requests()[0])
	require.NoError(t, err)
	assert.JSONEq(t, `{"model":"claude-fake-1","max_tokens":4096,"stream":true,"temperature":0,"stop_sequences":["END"],"top_k":20,"metadata":{"user_id":"u"},
		"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],
		"tool_choice":{"type":"none"},
		"tools":[{"name":"get_weather","description":"Weather","strict":true,"input_schema":{"type":"object",
			"properties":{"zone":{"type":"string"},"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}],
		"messages":[
			{"role":"user","content":[{"type":"text","text":"Rome and Oslo?"}]},
			{"role":"assistant","content":[
				{"type":"tool_use","id":"functions_w_0","name":"get_weather","input":{"city":"Rome"}},
				{"type":"tool_use","id":"b","name":"get_weather","input":{"malformed_arguments":"{\"city\":"}}]},
			{"role":"user","content":[
				{"type":"tool_result","tool_use_id":"functions_w_0","content":[{"type":"text","text":"sunny"}]},
				{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"(empty)"}]},
				{"type":"text","text":"go on","cache_control":{"type":"ephemeral"}}]}]}`, string(raw))
}

// Equal conversations give equal bytes. Properties keep their order, because models write in that order.
func TestEqualRequestsAreEqualBytes(t *testing.T) {
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/anthropic-messages-stream")})
	b := open(t, server.Addr)
	r := ask()
	r.Tools = []backend.Tool{weather}
	for range 5 {
		_, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
	}
	first := server.Requests()[0].Content
	assert.Contains(t, string(first), `"properties":{"zone":`)
	assert.Contains(t, string(first), `"cache_control":{"type":"ephemeral"}`, "without a system text the tools end the prefix")
	for _, next := range server.Requests() {
		assert.Equal(t, string(first), string(next.Content))
	}
}

func TestRefusedSchemaIsOmittedAndRemembered(t *testing.T) {
	b, f := openFake(t)
	f.noSchemas = true
	var logged bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&logged, nil))
	r := ask()
	r.Schema = &backend.Schema{Name: "a", JSON: []byte(`{"type":"object","properties":{"ok":{"type":"boolean"}}}`)}
	for range 2 {
		_, err := b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
	}
	require.Len(t, f.requests(), 3, "the first call is made twice, the second once")
	assert.Contains(t, f.requests()[0], "output_config")
	assert.NotContains(t, f.requests()[2], "output_config")
	assert.Equal(t, 1, strings.Count(logged.String(), "refuses the schema"))
}

// A call is reported while the stream is open: the server waits for the report before it continues.
func TestToolCallStartsBeforeTheStreamEnds(t *testing.T) {
	b, f := openFake(t)
	f.hold = make(chan struct{})
	r := ask()
	r.Tools = []backend.Tool{weather}
	told := 0
	_, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(i int, c backend.ToolCall) {
		if told == 0 {
			close(f.hold) // the server sends the rest of the stream only now: without early dispatch this test hangs
		}
		assert.Equal(t, told, i)
		assert.True(t, json.Valid([]byte(c.Arguments)))
		told++
	}})
	require.NoError(t, err)
	assert.Equal(t, 2, told)
}

func TestPlantedKeyIsNeverShown(t *testing.T) {
	const planted = "sk-ant-planted-9f3"
	echo := fmt.Sprintf(`{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key %s"}}`, planted)
	server := backendtest.Replay(t, backendtest.Reply{Bytes: fmt.Appendf(nil, "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(echo), echo)})
	var logged bytes.Buffer
	b, err := New(Config{URL: "anthropic+http://" + server.Addr, Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Getenv: func(name string) string { return map[string]string{"ANTHROPIC_API_KEY": planted}[name] }})
	require.NoError(t, err)
	defer b.Close()
	_, err = b.Generate(t.Context(), ask(), backend.Observer{})
	require.Equal(t, backend.Auth, backend.ClassOf(err))
	assert.Equal(t, planted, server.Requests()[0].Header.Get("X-Api-Key"), "loopback may have it")
	for e := err; e != nil; e = errors.Unwrap(e) {
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", e, e, e), planted)
	}
	assert.NotContains(t, logged.String(), planted)
	assert.Contains(t, err.Error(), KeyHint)
}

func TestKeyIsNotSentWithoutTLS(t *testing.T) {
	env := func(name string) string { return map[string]string{"ANTHROPIC_API_KEY": "paid"}[name] }
	assert.Empty(t, key(env, true))
	assert.Equal(t, "paid", key(env, false))
}

// The SDK must not use its own environment variables.
func TestEnvironmentOfTheSDKIsIgnored(t *testing.T) {
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "other")
	t.Setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
	require.NotEmpty(t, os.Getenv("ANTHROPIC_BASE_URL"))
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/anthropic-messages-stream")})
	_, err := open(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Empty(t, server.Requests()[0].Header.Get("Authorization"))
}

func TestSilenceIsTransient(t *testing.T) {
	_, f := openFake(t)
	f.hold = make(chan struct{})
	defer close(f.hold)
	b := open(t, f.Listener.Addr().String())
	r := ask()
	r.Tools, r.SilenceTimeout = []backend.Tool{weather}, 30*time.Millisecond
	_, err := b.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.Transient, backend.ClassOf(err), "%v", err)
	assert.ErrorContains(t, err, "no event for 30ms")
}
