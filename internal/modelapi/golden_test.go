package modelapi

import (
	"encoding/json"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update")
	assert.Equal(t, string(want), got)
}

// TestRequests decodes each request in testdata. Its golden file has the model call, or the error.
func TestRequests(t *testing.T) {
	t.Parallel()
	for api, decode := range decoders {
		files, err := filepath.Glob(filepath.Join("testdata", api, "*.request.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files, api)
		for _, file := range files {
			t.Run(api+"/"+strings.TrimSuffix(filepath.Base(file), ".request.json"), func(t *testing.T) {
				t.Parallel()
				body, err := os.ReadFile(file)
				require.NoError(t, err)
				q, f := decode(string(body))
				require.Nil(t, f, "%+v", f)
				golden(t, strings.Replace(file, ".request.json", ".call.json", 1), indented(t, readable(q)))
			})
		}
	}
}

// readable returns a request with its schemas as JSON.
func readable(q *request) any {
	type tool struct {
		Name, Description string
		Parameters        json.RawMessage
		Strict            bool
	}
	c := q.call
	out := map[string]any{
		"model": q.model, "choices": q.choices, "stream": q.stream, "usage": q.usage, "sealed": q.sealed,
		"messages": c.Messages, "tool_choice": c.ToolChoice, "must_call": c.MustCall, "one_call": c.OneCall, "sampling": c.Sampling,
	}
	tools := []tool{}
	for _, t := range c.Tools {
		tools = append(tools, tool{t.Name, t.Description, t.Parameters, t.Strict})
	}
	out["tools"] = tools
	if s := c.Schema; s != nil {
		out["schema"] = map[string]any{
			"name": s.Name, "description": s.Description, "json": json.RawMessage(s.JSON), "loose": s.Loose, "beside_tools": s.BesideTools,
		}
	}
	return out
}

// answered is an answer of a model server: its events and the response.
type answered struct {
	name     string
	events   func(o backend.Observer)
	response backend.Response
}

var answersOfServers = []answered{
	{"text", func(o backend.Observer) {
		o.Text("It is ")
		o.Text("sunny")
	}, backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: "It is sunny."}, Finish: backend.FinishStop, Model: "qwen3",
		Usage: backend.Usage{PromptTokens: 30, CachedTokens: 16, CompletionTokens: 4},
	}},
	{"calls", func(o backend.Observer) {
		o.Reasoning("I need ")
		o.Reasoning("it.")
		o.Text("Let me look.")
		o.ToolCall(0, backend.ToolCall{ID: "call_1", Name: "get_weather", Arguments: `{"city": "Rome"}`})
	}, backend.Response{
		Message: backend.Message{
			Role: backend.RoleAssistant, Content: "Let me look.",
			Reasoning: &backend.Reasoning{Text: "I need it.", Protocol: backend.ProtocolChat, Fields: []string{"reasoning"}},
			ToolCalls: []backend.ToolCall{
				{ID: "call_1", Name: "get_weather", Arguments: `{"city": "Rome"}`},
				{ID: "call_2", Name: "get_weather", Arguments: `not JSON`, Extra: json.RawMessage(`{"extra_content":{"google":{"thought_signature":"S=="}}}`)},
			},
		}, Finish: backend.FinishToolCalls, Model: "qwen3",
		Usage: backend.Usage{PromptTokens: 30, CachedTokens: -1, CompletionTokens: 20},
	}},
	{"signed", func(o backend.Observer) {
		o.Reasoning("First.")
		o.ReasoningBlock(backend.ProtocolAnthropic, backend.ReasoningBlock{Bytes: 6, Signature: "sig(First.)"})
		o.ReasoningBlock(backend.ProtocolAnthropic, backend.ReasoningBlock{Redacted: "encrypted=="})
		o.Text("Look.")
		o.Reasoning(" Then.")
		o.ReasoningBlock(backend.ProtocolAnthropic, backend.ReasoningBlock{Bytes: 6, Signature: "sig( Then.)", After: 1})
	}, backend.Response{
		Message: backend.Message{
			Role: backend.RoleAssistant, Content: "Look.",
			Reasoning: &backend.Reasoning{Text: "First. Then.", Protocol: backend.ProtocolAnthropic, Blocks: []backend.ReasoningBlock{
				{Bytes: 6, Signature: "sig(First.)"}, {Redacted: "encrypted=="}, {Bytes: 6, Signature: "sig( Then.)", After: 1},
			}},
			ToolCalls: []backend.ToolCall{{ID: "toolu_1", Name: "get_weather", Arguments: `{}`}},
		}, Finish: backend.FinishToolCalls, Model: "claude",
		Usage: backend.Usage{PromptTokens: 42, CachedTokens: 30, CompletionTokens: 20},
	}},
	{"length", func(o backend.Observer) { o.Text("It is") }, backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: "It is su"}, Finish: backend.FinishLength, Model: "qwen3",
		Usage: backend.Usage{PromptTokens: 30, CachedTokens: 0, CompletionTokens: 3},
	}},
	{"refusal", nil, backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, Content: "I cannot help."}, Refusal: "I cannot help.", Finish: backend.FinishRefused, Model: "gpt",
		Usage: backend.Usage{PromptTokens: 30, CachedTokens: -1, CompletionTokens: 4},
	}},
	{"filtered", nil, backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant}, Finish: backend.FinishRefused, Model: "gpt", Usage: backend.Usage{CachedTokens: -1},
	}},
}

// encoded writes an answer as a stream, on one goroutine, so that adjacent pieces are always one event.
func encoded(t *testing.T, api string, q *request, a answered) string {
	t.Helper()
	f := newFeed()
	if a.events != nil {
		a.events(f.observer(0))
	}
	f.push(item{kind: ended, response: &a.response})
	items, err := f.next(t.Context(), time.Hour)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	out := newEventWriter(w)
	encoders := map[string]func() encoder{
		"chat":      func() encoder { return newChatStream(out, q) },
		"responses": func() encoder { return newResponsesStream(out, q) },
		"messages":  func() encoder { return newMessagesStream(out, q) },
	}
	e := encoders[api]()
	var track progress
	for i := range items {
		require.NoError(t, track.take(&items[i], e))
	}
	e.finish([]*backend.Response{&a.response})
	require.NoError(t, out.flush())
	return w.Body.String()
}

var random = regexp.MustCompile(`(chatcmpl-|resp_|msg_|rs_|fc_)[A-Z2-7]{26}|("created(?:_at)?":)\d+`)

func scrubbed(s string) string { return random.ReplaceAllString(s, "${1}${2}0") }

// TestResponses encodes each answer in each API, whole and as a stream. The golden files have the bytes.
func TestResponses(t *testing.T) {
	t.Parallel()
	for api, route := range routes {
		for _, a := range answersOfServers {
			t.Run(api+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join("testdata", api, a.name)
				status, header, body := post(t, &script{response: a.response}, route, least[api])
				assert.Equal(t, 200, status)
				assert.Equal(t, "application/json", header.Get("Content-Type"))
				golden(t, file+".response.json", scrubbed(body)+"\n")

				options := `"stream":true`
				if api == "chat" {
					options += `,"stream_options":{"include_usage":true}`
				}
				q, f := decoders[api](with(api, options))
				require.Nil(t, f)
				q.shown = "qwen3"
				golden(t, file+".stream.txt", scrubbed(encoded(t, api, q, a)))
			})
		}
	}
}
