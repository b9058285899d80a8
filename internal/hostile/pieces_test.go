package hostile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/anthropic"
	"github.com/batchagent/batchagent/pkg/backend/openai"
	"github.com/batchagent/batchagent/pkg/backend/sglang"
	"github.com/batchagent/batchagent/pkg/backend/vllm"
)

// TestKeysInPieces lets a server stream its key with a few characters per event, in each part of an answer. The assembled answer
// and the calls reported during the stream have no piece of it.
func TestKeysInPieces(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3, 11} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if strings.HasSuffix(r.URL.Path, "/messages") {
				streamMessages(w, size)
			} else {
				streamChat(w, size)
			}
		}))
		defer server.Close()
		address := strings.TrimPrefix(server.URL, "http://")
		backends := openBackends(t, address)
		for name, b := range backends {
			var early []backend.ToolCall
			answer, err := b.Generate(t.Context(), &backend.Request{Model: "m", Messages: []backend.Message{{Role: "user", Content: "hi"}},
				Tools: []backend.Tool{{Name: "look", Parameters: []byte(`{"type":"object"}`)}}},
				backend.Observer{ToolCall: func(_ int, c backend.ToolCall) { early = append(early, c) }})
			require.NoError(t, err, name)
			all, err := json.Marshal([]any{answer, early})
			require.NoError(t, err)
			assert.NotContains(t, string(all), longKey[:8], "%s, %d characters per event", name, size)
			assert.NotContains(t, string(all), longKey[9:15], "%s, %d characters per event", name, size)
			assert.Equal(t, "see [secret].", answer.Message.Content, name)
			require.Len(t, answer.Message.ToolCalls, 1, name)
			assert.JSONEq(t, `{"q":"[secret]"}`, answer.Message.ToolCalls[0].Arguments, name)
			require.NotNil(t, answer.Message.Reasoning, name)
			assert.Equal(t, "think [secret].", answer.Message.Reasoning.Text, name)
		}
	}
}

// openBackends returns the backends whose server has this address and the key longKey.
func openBackends(t *testing.T, address string) map[string]backend.Backend {
	t.Helper()
	getenv := func(string) string { return longKey }
	var err error
	all := map[string]backend.Backend{}
	all["vLLM"], err = vllm.New(vllm.Config{URL: "vllm://" + address, Getenv: getenv})
	require.NoError(t, err)
	all["SGLang"], err = sglang.New(sglang.Config{URL: "sglang://" + address, Getenv: getenv})
	require.NoError(t, err)
	all["OpenAI"], err = openai.New(openai.Config{URL: "openai+http://" + address, Getenv: getenv})
	require.NoError(t, err)
	all["Anthropic"], err = anthropic.New(anthropic.Config{URL: "anthropic+http://" + address, Getenv: getenv})
	require.NoError(t, err)
	for _, b := range all {
		t.Cleanup(func() { assert.NoError(t, b.Close()) })
	}
	return all
}

// pieces divides a text.
func pieces(text string, size int) (all []string) {
	for ; len(text) > size; text = text[size:] {
		all = append(all, quoted(text[:size]))
	}
	return append(all, quoted(text))
}

func quoted(text string) string {
	b, _ := json.Marshal(text) //nolint:errchkjson // a string
	return string(b)
}

// streamChat streams an answer as OpenAI-compatible servers do.
func streamChat(w http.ResponseWriter, size int) {
	event := func(delta, finish string) {
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n", delta, finish)
	}
	for _, p := range pieces("think "+longKey+".", size) {
		event(`{"reasoning_content":`+p+`}`, "null")
	}
	for _, p := range pieces("see "+longKey+".", size) {
		event(`{"content":`+p+`}`, "null")
	}
	event(`{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}`, "null")
	for _, p := range pieces(`{"q":"`+longKey+`"}`, size) {
		event(`{"tool_calls":[{"index":0,"function":{"arguments":`+p+`}}]}`, "null")
	}
	event("{}", `"tool_calls"`)
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
}

// streamMessages streams an answer of Anthropic's Messages API.
func streamMessages(w http.ResponseWriter, size int) {
	event := func(kind, members string) {
		_, _ = fmt.Fprintf(w, "event: %[1]s\ndata: {\"type\":%[1]q%[2]s}\n\n", kind, members)
	}
	event("message_start", `,"message":{"id":"m","type":"message","role":"assistant","content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}`)
	block := func(index int, start, text, kind, member string) {
		event("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":%s`, index, start))
		for _, p := range pieces(text, size) {
			event("content_block_delta", fmt.Sprintf(`,"index":%d,"delta":{"type":%q,%q:%s}`, index, kind, member, p))
		}
		event("content_block_stop", fmt.Sprintf(`,"index":%d`, index))
	}
	block(0, `{"type":"thinking","thinking":"","signature":""}`, "think "+longKey+".", "thinking_delta", "thinking")
	block(1, `{"type":"text","text":""}`, "see "+longKey+".", "text_delta", "text")
	block(2, `{"type":"tool_use","id":"call_1","name":"look","input":{}}`, `{"q":"`+longKey+`"}`, "input_json_delta", "partial_json")
	event("message_delta", `,"delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}`)
	event("message_stop", "")
}
