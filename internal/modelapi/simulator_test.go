package modelapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// onServer is a Caller that makes each call once at a model server.
type onServer struct{ *vllm.Backend }

func (c onServer) Call(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	return c.Generate(ctx, r, o)
}

// newSimulated returns a session in front of the simulated model server.
func newSimulated(t testing.TB) http.Handler {
	t.Helper()
	sim, err := vllmsim.New(vllmsim.Config{TokenMS: 1})
	require.NoError(t, err)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	b, err := vllm.New(vllm.Config{URL: "vllm://" + server.Listener.Addr().String(), Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return New(onServer{b})
}

// TestOnTheSimulator checks on a model server that a stream has the text of the whole answer, and that tools, schemas, images and
// refusals of the server reach the program.
func TestOnTheSimulator(t *testing.T) {
	t.Parallel()
	h := newSimulated(t)
	ask := func(route, body string) (int, string) {
		status, _, answer := send(t, h, httptest.NewRequestWithContext(t.Context(), http.MethodPost, route, strings.NewReader(strings.ReplaceAll(body, "qwen3", "sim"))))
		return status, answer
	}
	texts := map[string]string{"chat": "choices.0.message.content", "responses": "output.0.content.0.text", "messages": "content.0.text"}
	deltas := map[string]string{"chat": "choices.0.delta.content", "responses": "delta", "messages": "delta.text"}
	for api, route := range routes {
		status, body := ask(route, with(api, `"temperature":0`))
		require.Equal(t, 200, status, body)
		whole := gjson.Get(body, texts[api]).String()
		assert.NotEmpty(t, whole)
		_, stream := ask(route, with(api, `"temperature":0,"stream":true`))
		streamed, pieces := "", 0
		for line := range strings.Lines(stream) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if piece := gjson.Get(data, deltas[api]).String(); piece != "" {
					streamed += piece
					pieces++
				}
			}
		}
		assert.Equal(t, whole, streamed)
		assert.Greater(t, pieces, 1, "the text arrives in pieces")

		status, body = ask(route, with(api, `"temperature":-1`))
		assert.Equal(t, 400, status)
		assert.Contains(t, gjson.Get(body, "error.message").String(), "temperature must be non-negative")
	}
	const tools = `"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}]`
	_, body := ask(routes["chat"], with("chat", tools+`,"tool_choice":{"type":"function","function":{"name":"b"}}`))
	assert.Equal(t, "b", gjson.Get(body, "choices.0.message.tool_calls.0.function.name").String(), body)
	_, body = ask(routes["chat"], with("chat", `"response_format":{"type":"json_object"}`))
	assert.True(t, gjson.Valid(gjson.Get(body, "choices.0.message.content").String()), body)
	status, body := ask(routes["messages"], `{"model":"sim","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}}]}]}`)
	assert.Equal(t, 200, status, body)
	_, body = ask("/v1/messages/count_tokens", least["messages"])
	assert.Positive(t, gjson.Get(body, "input_tokens").Int(), body)
}
