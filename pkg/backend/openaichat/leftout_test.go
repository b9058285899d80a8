package openaichat

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// picky is a server that refuses requests. It records the requests.
type picky struct {
	refuse func(sent map[string]any) (status int, body string)
	mu     sync.Mutex
	sent   []map[string]any // guarded by mu
}

func (p *picky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var sent map[string]any
	_ = json.Unmarshal(raw, &sent)
	p.mu.Lock()
	p.sent = append(p.sent, sent)
	p.mu.Unlock()
	if status, body := p.refuse(sent); status != 0 {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, sse(contentChunk(`{}`), finishChunk("stop"), "[DONE]"))
}

func pickyClient(t *testing.T, p *picky, log io.Writer) *Client {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	c := New(Config{URL: endpoint.URL{Shown: "test://server", Root: "http://" + server.Listener.Addr().String()}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { c.Close() })
	return c
}

// everything returns a request with every part that a server may refuse.
func everything() *backend.Request {
	half, seed := 0.5, int64(7)
	return &backend.Request{Model: "m",
		Messages: []backend.Message{{Role: backend.RoleSystem, Content: "Be brief."}, {Role: backend.RoleUser, Content: "Hello."}},
		Tools:    []backend.Tool{{Name: "f", Parameters: []byte(`{"type":"object"}`), Strict: true}}, ToolChoice: backend.ToolChoiceNone,
		Schema:   &backend.Schema{Name: "s", JSON: []byte(`{"type":"object"}`)},
		Sampling: backend.Sampling{Temperature: &half, TopP: &half, Seed: &seed, Stop: []string{"END"}, MaxTokens: 9},
	}
}

func TestRefusedFieldsAreLeftOut(t *testing.T) {
	t.Parallel()
	has := func(name string) func(map[string]any) bool {
		return func(sent map[string]any) bool { return sent[name] != nil }
	}
	text := func(parts ...string) func(map[string]any) bool {
		return func(sent map[string]any) bool {
			raw, _ := json.Marshal(sent)
			for _, p := range parts {
				if !bytes.Contains(raw, []byte(p)) {
					return false
				}
			}
			return true
		}
	}
	cases := []struct {
		name    string
		refuses func(map[string]any) bool
		status  int
		body    string
		calls   int // of the first request
		leftOut []string
	}{
		{"stream_options", has("stream_options"), 400, `{"error":{"message":"Unrecognized request argument supplied: stream_options"}}`, 2, nil},
		{"stream_options of FastAPI", has("stream_options"), 422, `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}`, 2, nil},
		{"stream_options of Mistral", has("stream_options"), 422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}}`, 2, nil},
		{"stream_options of a crash", has("stream_options"), 500, `{"error":{"message":"create() got an unexpected keyword argument 'stream_options'"}}`, 2, nil},
		{"temperature", has("temperature"), 400, `{"error":{"message":"Unsupported value: 'temperature' does not support 0.5 with this model.","param":"temperature","code":"unsupported_value"}}`, 2, []string{"temperature"}},
		{"temperature in other words", has("temperature"), 400, `{"message":"invalid temperature: only 1 is allowed for this model"}`, 2, []string{"temperature"}},
		{"top_p", has("top_p"), 400, "{\"error\":\"`top_p` is deprecated for this model\"}", 2, []string{"top_p"}},
		{"seed", has("seed"), 400, `{"error":{"message":"Unknown parameter: 'seed'.","param":"seed","code":"unknown_parameter"}}`, 2, []string{"seed"}},
		{"stop", has("stop"), 400, `{"error":{"message":"property 'stop' is unsupported"}}`, 2, []string{"stop"}},
		{"max_tokens", has("max_tokens"), 400, `{"error":{"message":"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.","param":"max_tokens"}}`, 2, nil},
		{"strict tools", text(`"name":"f","parameters":{"type":"object"},"strict":true`), 400, `{"error":{"message":"Invalid value for 'tools.0.function': 'strict' is not supported"}}`, 2, nil},
		{"strict of two tools", text(`"name":"f","parameters":{"type":"object"},"strict":true`), 422, `{"message":"Tools with mixed values for 'strict' are not allowed.","param":"tools"}`, 2, nil},
		{"tool_choice", has("tool_choice"), 400, `{"error":{"message":"\"auto\" tool choice requires --enable-auto-tool-choice"}}`, 2, nil},
		{"json_schema", text(`"type":"json_schema"`), 400, `{"error":{"message":"This response_format type is unavailable now"}}`, 2, nil},
		{"json_schema in a text", text(`"type":"json_schema"`), 422, "Failed to deserialize the JSON body: response_format.type `json_schema` is unavailable now at line 1", 2, nil},
		{"one schema", text(`"type":"json_schema"`), 400, `{"error":{"message":"The provided JSON schema contains features not supported by xgrammar."}}`, 2, nil},
		{"response_format", has("response_format"), 400, `{"error":{"message":"'response_format' is not supported by this model","param":"response_format"}}`, 3, nil},
		{"JSON mode beside tools", has("response_format"), 400, `{"error":{"message":"json mode cannot be combined with tool/function calling"}}`, 3, nil},
		{"system role", text(`"role":"system"`), 400, `{"object":"error","message":"System role not supported"}`, 2, nil},
		{"system role by a parameter", text(`"role":"system"`), 400, `{"error":{"message":"Unsupported value: 'messages[0].role' does not support 'system' with this model.","param":"messages[0].role","code":"unsupported_value"}}`, 2, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := &picky{refuse: func(sent map[string]any) (int, string) {
				if c.refuses(sent) {
					return c.status, c.body
				}
				return 0, ""
			}}
			var log bytes.Buffer
			cl := pickyClient(t, p, &log)
			for range 2 {
				resp, err := cl.Generate(t.Context(), everything(), backend.Observer{})
				require.NoError(t, err)
				assert.Equal(t, c.leftOut, resp.LeftOut)
			}
			assert.Len(t, p.sent, c.calls+1, "the second request is accepted at once")
			assert.Equal(t, c.calls-1, strings.Count(log.String(), "left out"), log.String())
			last, _ := json.Marshal(p.sent[len(p.sent)-1])
			assert.Contains(t, string(last), "Be brief.", "nothing of the prompt is lost")
			assert.Contains(t, string(last), `"max_`, "the limit of tokens stays")
		})
	}
}

func TestOtherRefusalsAreReturned(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a value out of range":  `{"error":{"message":"temperature must be between 0 and 2","param":"temperature"}}`,
		"a limit out of range":  `{"error":{"message":"max_tokens must be at least 16","param":"max_tokens"}}`,
		"no tools":              `{"error":{"message":"registry/library/gemma:2b does not support tools"}}`,
		"a word within a word":  `{"error":{"message":"the field max_tokens_total is unsupported"}}`,
		"a part of the prompt":  `{"error":{"message":"messages[1].content is not supported"}}`,
		"the same for ever":     `{"error":{"message":"Unknown parameter: 'seed'."}}`,
		"a field of the prompt": `{"error":{"message":"messages.1.name: 'name' is unsupported"}}`,
		"a failure of a system": `{"error":{"message":"the system is not configured"}}`,
	} {
		p := &picky{refuse: func(map[string]any) (int, string) { return 400, body }}
		cl := pickyClient(t, p, io.Discard)
		_, err := cl.Generate(t.Context(), everything(), backend.Observer{})
		assert.Equal(t, backend.InvalidRequest, backend.ClassOf(err), name)
		assert.LessOrEqual(t, len(p.sent), 2, name)
		assert.Empty(t, cl.refused.Of("m"), "%s: what did not help is sent again", name)
	}
}

func TestZeroTemperatureBecomesASmallOne(t *testing.T) {
	t.Parallel()
	p := &picky{refuse: func(sent map[string]any) (int, string) {
		if sent["temperature"] == 0.0 {
			return 422, "{\"error\":\"Input validation error: `temperature` must be strictly positive\"}"
		}
		return 0, ""
	}}
	r := everything()
	zero := 0.0
	r.Sampling.Temperature = &zero
	resp, err := pickyClient(t, p, io.Discard).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Empty(t, resp.LeftOut)
	assert.Equal(t, leastTemperature, p.sent[1]["temperature"])
}

func TestModelListsInEveryForm(t *testing.T) {
	t.Parallel()
	cases := []struct {
		body string
		want []Card
		ok   bool
	}{
		{`[{"id":"m","context_length":32768}]`, []Card{{ID: "m", MaxModelLen: 32768}}, true},
		{`{"object":"list","data":[{"id":"m","owned_by":"o","created":1.0,"max_model_len":8}]}`, []Card{{ID: "m", OwnedBy: "o", Created: 1, MaxModelLen: 8}}, true},
		{`{"data":[{"id":"m","meta":{"n_ctx":4096,"n_ctx_train":131072}}]}`, []Card{{ID: "m", MaxModelLen: 4096}}, true},
		{`{"models":[{"name":"m"}],"data":null}`, []Card{{ID: "m"}}, true},
		{`{"data":[]}`, nil, true},
		{`{"data":null}`, nil, true},
		{`{"data":"x"}`, nil, false},
		{`"x"`, nil, false},
		{`<html>`, nil, false},
		{``, nil, false},
	}
	for _, c := range cases {
		got, ok := parseCards([]byte(c.body))
		assert.Equal(t, c.ok, ok, c.body)
		assert.ElementsMatch(t, c.want, got, c.body)
	}
}
