package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// OddModel is the model that the server of [RunOdd] lists.
const OddModel = "odd-7b"

// oddTurn is an answer of a model or its server, and the expected outcome.
type oddTurn struct {
	name   string
	pieces []string // of the stream's body, each sent separately
	schema bool     // the request has a schema for the answer, and no tools

	content, reasoning string
	finish             backend.FinishReason
	calls              []backend.ToolCall
	told               []int         // indexes of the calls that are reported during the stream, in order
	class              backend.Class // of the error; the following fields are then empty
}

// oddTurns are grouped by topic: words, calls, endings.
func oddTurns() []oddTurn {
	call := func(id, name, args string) backend.ToolCall {
		return backend.ToolCall{ID: id, Name: name, Arguments: args}
	}
	long := strings.Repeat("0123456789abcdé\n", 1<<16) // over 1 MB
	var longPieces []string
	for rest := long; rest != ""; rest = rest[min(len(rest), 17*256):] {
		longPieces = append(longPieces, events(says(rest[:min(len(rest), 17*256)])))
	}
	return []oddTurn{
		{name: "reasoning before JSON", schema: true,
			pieces:  []string{events(thinks("The user wants "), thinks(`{"a":1}?`), says(`{"ok"`), says(`:true}`), ends("stop"), usage)},
			content: `{"ok":true}`, reasoning: `The user wants {"a":1}?`, finish: backend.FinishStop},
		{name: "reasoning in the text", pieces: []string{events(says("<think>hm</think>"), says(`{"ok":true}`), ends("stop"), usage)},
			content: `<think>hm</think>{"ok":true}`, finish: backend.FinishStop},
		{name: "reasoning and nothing else",
			pieces: []string{events(thinks("hm"), ends("length"), usage)}, reasoning: "hm", finish: backend.FinishLength},
		{name: "a call in the text", pieces: []string{events(says(`<tool_call>{"name":"look","arguments":{}}</tool_call>`), ends("stop"), usage)},
			content: `<tool_call>{"name":"look","arguments":{}}</tool_call>`, finish: backend.FinishStop},
		{name: "an empty answer",
			pieces: []string{events(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, ends("stop"), usage)},
			finish: backend.FinishStop},
		{name: "null everywhere", pieces: []string{events(
			`{"choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":null},"finish_reason":null,"matched_stop":null}],"usage":null}`,
			says("x"), ends("stop"), usage)}, content: "x", finish: backend.FinishStop},
		{name: "a refusal",
			pieces:  []string{events(`{"choices":[{"index":0,"delta":{"refusal":"I cannot "}}]}`, `{"choices":[{"index":0,"delta":{"refusal":"do that."}}]}`, ends("stop"), usage)},
			content: "I cannot do that.", finish: backend.FinishRefused},
		{name: "a content filter",
			pieces: []string{events(says("The way to "), ends("content_filter"), usage)}, content: "The way to ", finish: backend.FinishRefused},
		{name: "unicode split across packets",
			pieces: strings.Split(events(says("naïve 日本 🦉"), ends("stop"), usage), ""), content: "naïve 日本 🦉", finish: backend.FinishStop},
		{name: "unicode split across bytes",
			pieces: bytewise(events(says("é🦉"), ends("stop"), usage)), content: "é🦉", finish: backend.FinishStop},
		{name: "escaped unicode",
			pieces:  []string{events(`{"choices":[{"index":0,"delta":{"content":"\ud83e\udd89\u0000"}}]}`, ends("stop"), usage)},
			content: "🦉\x00", finish: backend.FinishStop},
		{name: "comments between events",
			pieces:  []string{strings.Repeat(": keep-alive\n\n", 1000), ":\n\n", events(says("a")), ": x\n", events(says("b")), ":\n\n:\n\n", events(ends("stop"), usage)},
			content: "ab", finish: backend.FinishStop},
		{name: "another framing",
			pieces:  []string{strings.ReplaceAll(strings.ReplaceAll(events(says("a"), ends("stop"), usage), "data: ", "data:"), "\n", "\r\n")},
			content: "a", finish: backend.FinishStop},
		{name: "events of other names",
			pieces:  []string{"event: token_ids\n: [1,2]\n\n", "event: reasoning_dispatch\ndata: {\"index\":0,\"reasoning_content\":\"x\"}\n\n", events(says("a"), ends("stop"), usage)},
			content: "a", finish: backend.FinishStop},
		{name: "more than a megabyte", pieces: append(longPieces, events(ends("stop"), usage)), content: long, finish: backend.FinishStop},

		{name: "parallel calls",
			pieces: []string{events(begins(0, "a", "look", `{"x":1}`), begins(1, "b", "find", `{"y":"}"}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{"x":1}`), call("b", "find", `{"y":"}"}`)}, told: []int{0, 1}},
		{name: "parallel calls in turn",
			pieces: []string{events(begins(0, "a", "look", `{"x"`), begins(1, "b", "find", `{"y"`), goesOn(1, `:2}`), goesOn(0, `:1}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{"x":1}`), call("b", "find", `{"y":2}`)}, told: []int{1, 0}},
		{name: "parallel calls with one number",
			pieces: []string{events(begins(0, "a", "look", `{}`), begins(0, "b", "find", `{}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{}`), call("b", "find", `{}`)}, told: []int{0, 1}},
		{name: "a call after words", pieces: []string{events(says("Let me look."), begins(0, "a", "look", `{}`), ends("tool_calls"), usage)},
			content: "Let me look.", finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{}`)}, told: []int{0}},
		{name: "a call that ends with stop", pieces: []string{events(begins(0, "a", "look", `{}`), ends("stop"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{}`)}, told: []int{0}},
		{name: "a call of nulls", pieces: []string{events(begins(0, "a", "look", ""),
			`{"choices":[{"index":0,"delta":{"role":null,"tool_calls":[{"id":null,"index":0,"type":"function","function":{"name":null,"arguments":"{}"}}]}}]}`, ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{}`)}, told: []int{0}},
		{name: "malformed arguments", pieces: []string{events(begins(0, "a", "look", `{"x": y}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{"x": y}`)}, told: []int{0}},
		{name: "one brace too many", pieces: []string{events(begins(0, "a", "look", `{"x":1}`), goesOn(0, `}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "look", `{"x":1}`)}, told: []int{0}},
		{name: "a call that was not offered", pieces: []string{events(begins(0, "a", "delete_all", `{}`), ends("tool_calls"), usage)},
			finish: backend.FinishToolCalls, calls: []backend.ToolCall{call("a", "delete_all", `{}`)}, told: []int{0}},
		{name: "calls announced and missing",
			pieces: []string{events(says("x"), ends("tool_calls"), usage)}, content: "x", finish: backend.FinishStop},

		{name: "words cut by length",
			pieces: []string{events(says("Once upon"), ends("length"), usage)}, content: "Once upon", finish: backend.FinishLength},
		{name: "a call cut by length", pieces: []string{events(begins(0, "a", "look", `{"x":"a`), ends("length"), usage)},
			finish: backend.FinishLength, calls: []backend.ToolCall{call("a", "look", `{"x":"a`)}},
		{name: "a cut call completed by the server", pieces: []string{events(
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"look","arguments":"{\"x\":\"a\"}"}}]},"finish_reason":"length"}]}`, usage)},
			finish: backend.FinishLength, calls: []backend.ToolCall{call("a", "look", `{"x":"a"}`)}},
		{name: "two finish reasons, a cut among them",
			pieces: []string{events(says("x"), ends("tool_calls"), ends("length"), usage)}, content: "x", finish: backend.FinishLength},
		{name: "done and usage without a finish reason", pieces: []string{events(says("half"), usage)}, class: backend.Transient},
		{name: "nothing but done", pieces: []string{"data: [DONE]\n\n"}, class: backend.Transient},
		{name: "given up by the engine", pieces: []string{events(says("half"), ends("abort"), usage)}, class: backend.Transient},
		{name: "an error at once",
			pieces: []string{events(`{"error":{"object":"error","message":"The request queue is full.","type":"SERVICE_UNAVAILABLE","param":null,"code":503}}`, usage)},
			class:  backend.Overloaded},
		{name: "an error after words",
			pieces: []string{events(says("half"), `{"error":{"message":"out of luck","type":"internal_server_error","code":500}}`)},
			class:  backend.Transient},
		{name: "whitespace without end", schema: true,
			pieces: []string{events(says("{"), says(strings.Repeat(" \n", 200)), ends("length"), usage)}, class: backend.Degenerate},
		{name: "not JSON", pieces: []string{"data: {oops\n\n"}, class: backend.Transient},
	}
}

// RunOdd tests an adapter of OpenAI's chat protocol with odd answers, and tests that a tool call is reported during the
// stream. open opens the adapter on a host:port; the caller closes it.
func RunOdd(t *testing.T, open func(t *testing.T, addr string) backend.Backend) {
	t.Helper()
	for _, c := range oddTurns() {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, oddServer(t, func(w io.Writer, _ *http.Request) {
				for _, p := range c.pieces {
					if _, err := io.WriteString(w, p); err != nil {
						return
					}
				}
			}))
			c.check(t, b)
		})
	}
	t.Run("a call runs before the stream ends", func(t *testing.T) { testOverlap(t, open) })
}

func (c *oddTurn) check(t *testing.T, b backend.Backend) {
	t.Helper()
	r := &backend.Request{ID: "odd/job-0#1", Model: OddModel, Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}}
	if c.schema {
		r.Schema = &backend.Schema{Name: "answer", JSON: []byte(`{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}`)}
	} else {
		r.Tools = oddTools
	}
	var told []backend.ToolCall
	var order []int
	resp, err := b.Generate(t.Context(), r, backend.Observer{ToolCall: func(i int, call backend.ToolCall) {
		order, told = append(order, i), append(told, call)
	}})
	assert.Equal(t, c.told, order)
	if c.class != "" {
		require.Equal(t, c.class, backend.ClassOf(err), "%v", err)
		return
	}
	require.NoError(t, err)
	assert.Equal(t, c.finish, resp.Finish)
	assert.True(t, c.content == resp.Message.Content, "the content is %.200q", resp.Message.Content)
	assert.Equal(t, c.reasoning, resp.Message.ReasoningText())
	assert.Equal(t, c.calls, resp.Message.ToolCalls)
	for i, index := range order {
		assert.Equal(t, resp.Message.ToolCalls[index], told[i], "the reported call equals the call in the message")
	}
	assert.EqualValues(t, 10, resp.Usage.PromptTokens)
	assert.EqualValues(t, 2, resp.Usage.CompletionTokens)
}

// testOverlap uses a server that ends its stream only after the first of its two tool calls has run. An adapter that
// reports calls at the stream's end would wait forever.
func testOverlap(t *testing.T, open func(t *testing.T, addr string) backend.Backend) {
	ran := make(chan struct{})
	b := open(t, oddServer(t, func(w io.Writer, r *http.Request) {
		_, _ = io.WriteString(w, events(begins(0, "a", "look", `{"x"`), goesOn(0, `:1}`)))
		select {
		case <-ran:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, events(begins(1, "b", "find", `{}`), ends("tool_calls"), usage))
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := &backend.Request{Model: OddModel, Messages: []backend.Message{{Role: backend.RoleUser, Content: "hello"}}, Tools: oddTools}
	resp, err := b.Generate(ctx, r, backend.Observer{ToolCall: func(i int, _ backend.ToolCall) {
		if i == 0 {
			go close(ran) // the tool, which takes no time
		}
	}})
	require.NoError(t, err)
	assert.Len(t, resp.Message.ToolCalls, 2)
}

// oddServer lists OddModel and answers chat completions with a stream. It has no other routes.
func oddServer(t *testing.T, stream func(w io.Writer, r *http.Request)) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","owned_by":"odd","max_model_len":4096}]}`, OddModel)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		stream(flushed{w, http.NewResponseController(w)}, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

type flushed struct {
	io.Writer
	control *http.ResponseController
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

var oddTools = []backend.Tool{
	{Name: "look", Parameters: []byte(`{"type":"object","properties":{"x":{"type":"integer"}},"additionalProperties":false}`)},
	{Name: "find", Parameters: []byte(`{"type":"object","properties":{"y":{"type":"string"}},"additionalProperties":false}`)},
}

const usage = `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`

// events frames chunks. Usage is a turn's last chunk, so the stream ends with it.
func events(chunks ...string) string {
	var b strings.Builder
	for _, c := range chunks {
		b.WriteString("data: " + c + "\n\n")
		if c == usage {
			b.WriteString("data: [DONE]\n\n")
		}
	}
	return b.String()
}

func says(s string) string   { return delta(map[string]any{"content": s}) }
func thinks(s string) string { return delta(map[string]any{"reasoning_content": s}) }
func ends(reason string) string {
	return fmt.Sprintf(`{"model":%q,"choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, OddModel, reason)
}

func begins(index int, id, name, args string) string {
	function := map[string]any{"name": name, "arguments": args}
	return delta(map[string]any{"tool_calls": []any{map[string]any{"index": index, "id": id, "type": "function", "function": function}}})
}

func goesOn(index int, args string) string {
	return delta(map[string]any{"tool_calls": []any{map[string]any{"index": index, "function": map[string]any{"arguments": args}}}})
}

func delta(d map[string]any) string {
	b, _ := json.Marshal(map[string]any{"model": OddModel, "choices": []any{map[string]any{"index": 0, "delta": d}}}) // maps of strings always encode
	return string(b)
}

func bytewise(s string) []string {
	out := make([]string, len(s))
	for i := range out {
		out[i] = s[i : i+1]
	}
	return out
}
