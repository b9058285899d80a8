package openaichat

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
)

const jsonAnswer = `{"a": "x", "n": 1}`

// calling returns a chunk with one member of a delta.
func calling(member string) string { return `{"choices":[{"index":0,"delta":{` + member + `}}]}` }

// TestStreamsAsTheyCome decodes byte-exact streams of servers and gateways. A call in calls is its name and arguments.
func TestStreamsAsTheyCome(t *testing.T) {
	t.Parallel()
	whole := sse(contentChunk("NOT "), contentChunk("approved."), finishChunk("stop"), usageChunk, "[DONE]")
	tools := func(deltas ...string) string { return sse(append(deltas, finishChunk("tool_calls"), "[DONE]")...) }
	cases := []struct {
		name, stream string
		content      string
		calls        []string
		finish       backend.FinishReason
		class        backend.Class
		message      string
	}{
		{name: "byte order mark", stream: "\xef\xbb\xbf" + whole, content: "NOT approved."},
		{name: "byte order mark on each line", stream: strings.ReplaceAll(whole, "data:", "\xef\xbb\xbfdata:"), content: "NOT approved."},
		{name: "lines that end with CR", stream: strings.ReplaceAll(whole, "\n", "\r"), content: "NOT approved."},
		{name: "lines that end with CR LF", stream: strings.ReplaceAll(whole, "\n", "\r\n"), content: "NOT approved."},
		{name: "events without blank lines", stream: strings.ReplaceAll(whole, "\n\n", "\n"), content: "NOT approved."},
		{name: "no space after the colon", stream: strings.ReplaceAll(whole, "data: ", "data:"), content: "NOT approved."},
		{name: "field name in capitals", stream: strings.ReplaceAll(whole, "data: ", "Data: "), content: "NOT approved."},
		{name: "no newline at the end", stream: sse(contentChunk("a")) + "data: " + finishChunk("stop"), content: "a"},
		{name: "data of several lines", stream: "data: {\"choices\": [\ndata: {\"delta\": {\"content\": \"a}\"},\ndata:  \"finish_reason\": \"stop\"}]\ndata: }\n\n", content: "a}"},
		{name: "keep-alives as data", stream: "data: : keepalive\n\ndata:\n\ndata: \n\n:\n\ndata: {}\n\ndata: ping\n\n" + whole, content: "NOT approved."},
		{name: "named keep-alives", stream: "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: ping\ndata: 2026-01-01T00:00:00Z\n\nid: 5\nretry: 1000\n\n" + whole, content: "NOT approved."},
		{name: "chunks under a name", stream: strings.ReplaceAll(whole, "data:", "event: chunk\ndata:"), content: "NOT approved."},
		{name: "field of another name", stream: "x-trace: 1\n\n" + whole, content: "NOT approved."},
		{name: "done in small letters", stream: strings.ReplaceAll(whole, "[DONE]", "[done]"), content: "NOT approved."},
		{name: "text after the finish reason", stream: sse(contentChunk("a"), finishChunk("stop"), contentChunk("b"), "[DONE]"), content: "ab"},
		{name: "garbage after the finish reason", stream: sse(contentChunk("a"), finishChunk("stop"), "not json", "{broken", "[DONE]"), content: "a"},
		{name: "an error after the finish reason", stream: sse(contentChunk("a"), finishChunk("stop"), `{"error":{"message":"x","code":500}}`), content: "a"},

		{name: "empty error beside the text", stream: sse(`{"choices":[{"delta":{"content":"a"}}],"error":{}}`, `{"choices":[{"delta":{},"finish_reason":"stop"}],"error":""}`, "[DONE]"), content: "a"},
		{name: "one choice in place of a list", stream: sse(`{"choices":{"delta":{"content":"a"},"finish_reason":"stop"}}`, "[DONE]"), content: "a"},

		{name: "unreadable line", stream: sse(contentChunk("a")) + "date: " + contentChunk("b") + "\n\n" + sse(finishChunk("stop")), class: backend.Transient, message: "not part of an event"},
		{name: "unreadable data", stream: sse(contentChunk("a"), "b", finishChunk("stop")), class: backend.Transient, message: "not a chat chunk"},
		{name: "delta that is text", stream: sse(`{"choices":[{"delta":"a"}]}`, finishChunk("stop")), class: backend.Transient, message: "unreadable choices"},
		{name: "part of an unknown type", stream: sse(calling(`"content":[{"type":"poem","lines":["a"]}]`), finishChunk("stop")), class: backend.Transient, message: `"poem"`},
		{name: "another protocol", stream: sse(contentChunk("a"), `{"type":"response.output_text.delta","delta":"b"}`, finishChunk("stop")), class: backend.Transient, message: `has "delta"`},
		{name: "empty body", stream: "", class: backend.Transient, message: "the answer is empty"},
		{name: "text body", stream: "error code: 524", class: backend.Transient, message: "error code: 524"},
		{name: "page", stream: "<!DOCTYPE html>\n<html><title>We will be\n back</title></html>", class: backend.Transient, message: `titled "We will be back"`},
		{name: "foreign JSON", stream: `{"status":"ok"}`, class: backend.Transient, message: "no chat completion"},
		{name: "error as a field", stream: "error: {\"code\":500,\"message\":\"context shift is disabled\",\"type\":\"server_error\"}\n\n", class: backend.ContextTooLong, message: "context shift"},
		{name: "error as a string", stream: "event: error\ndata: {\"error\":\"loaded with context length of only 4096 tokens\"}\n\n", class: backend.ContextTooLong, message: "only 4096"},
		{name: "error by its event's name", stream: "event: error\ndata: it broke\n\n", class: backend.Transient, message: "it broke"},
		{name: "answer in one piece", stream: "{\n \"choices\": [{\"message\": {\"content\": \"a\"}, \"finish_reason\": \"stop\"}]}", content: "a"},
		{name: "message in place of a delta", stream: sse(`{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`, "[DONE]"), content: "a"},
		{name: "whole message after its deltas", stream: sse(contentChunk("a"), `{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`, "[DONE]"), content: "a"},

		{name: "JSON without a finish reason", stream: sse(contentChunk(jsonAnswer), "[DONE]"), content: jsonAnswer},
		{name: "JSON without a finish reason and mark", stream: sse(contentChunk(jsonAnswer)), content: jsonAnswer},
		{name: "open JSON without a finish reason", stream: sse(contentChunk(jsonAnswer[:9]), "[DONE]"), class: backend.Transient, message: "without a finish reason"},
		{name: "text without a finish reason", stream: sse(contentChunk("all of it"), "[DONE]"), class: backend.Transient, message: "output_schema"},
		{name: "number without a finish reason", stream: sse(contentChunk("12"), "[DONE]"), class: backend.Transient, message: "without a finish reason"},
		{name: "call without a finish reason", stream: sse(argChunk("0", "c", "f", `{"x":1}`), "[DONE]"), calls: []string{`f {"x":1}`}, finish: backend.FinishToolCalls},
		{name: "open call without a finish reason", stream: sse(argChunk("0", "c", "f", `{"x"`), "[DONE]"), class: backend.Transient, message: "without a finish reason"},
		{name: "unknown reason of a whole answer", stream: sse(contentChunk(jsonAnswer), finishChunk("because")), content: jsonAnswer},
		{name: "unknown reason of a text", stream: sse(contentChunk("a"), finishChunk("because")), class: backend.Transient, message: "because"},
		{name: "engine out of resources", stream: sse(contentChunk(jsonAnswer), finishChunk("insufficient_system_resource")), class: backend.Transient, message: "insufficient"},
		{name: "reason as an object", stream: sse(contentChunk("a"), `{"choices":[{"delta":{},"finish_reason":{"type":"stop","matched":2}}]}`), content: "a"},

		{name: "content as parts", stream: sse(calling(`"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]`),
			calling(`"content":[{"type":"text","text":"a"},{"type":"reference","reference_ids":[1]},"b"]`), finishChunk("stop")), content: "ab"},
		{name: "content as a number", stream: sse(contentChunk("n = "), calling(`"content":1.50`), finishChunk("stop")), content: "n = 1.50"},
		{name: "content as an object", stream: sse(calling(`"content":{"a":"x"}`), finishChunk("stop")), content: `{"a":"x"}`},
		{name: "members of odd types", stream: sse(`{"id":7,"model":null,"created":"now","choices":[{"index":"0","delta":{"role":3,"content":"a","refusal":null,"tool_calls":null},"finish_reason":null}],"usage":"none"}`,
			finishChunk("stop")), content: "a"},
		{name: "refusal in pieces", stream: sse(calling(`"refusal":"I "`), calling(`"refusal":"won't."`), finishChunk("stop")), content: "I won't.", finish: backend.FinishRefused},

		{name: "arguments as an object", stream: tools(calling(`"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":{"x": 1}}}]`)), calls: []string{`f {"x": 1}`}},
		{name: "arguments encoded twice", stream: tools(argChunk("0", "c", "f", `"{\"x\":1}"`)), calls: []string{`f {"x":1}`}},
		{name: "one index and no ID", stream: tools(argChunk("0", "", "f", `{"x":1}`), argChunk("0", "", "f", `{"x":2}`)), calls: []string{`f {"x":1}`, `f {"x":2}`}},
		{name: "one index and no ID in pieces", stream: tools(argChunk("0", "", "f", ""), argChunk("0", "", "", `{"x":1}`), argChunk("0", "", "g", ""), argChunk("0", "", "", `{}`)),
			calls: []string{`f {"x":1}`, `g {}`}},
		{name: "call sent twice", stream: tools(argChunk("0", "", "f", `{"x":1}`), argChunk("0", "", "f", `{"x":1}`)), calls: []string{`f {"x":1}`}},
		{name: "name repeated at the end", stream: tools(argChunk("0", "", "f", `{"x":1}`), argChunk("0", "", "f", "")), calls: []string{`f {"x":1}`}},
		{name: "name in pieces", stream: tools(argChunk("0", "c", "read_", ""), argChunk("0", "", "file", ""), argChunk("0", "", "", `{}`)), calls: []string{`read_file {}`}},
		{name: "name with a namespace", stream: tools(argChunk("0", "c", "functions.f", `{}`)), calls: []string{`f {}`}},
		{name: "name with a channel", stream: tools(argChunk("0", "c", "f<|channel|>commentary", `{}`)), calls: []string{`f {}`}},
		{name: "form before tool_calls", stream: sse(calling(`"function_call":{"name":"f","arguments":""}`), calling(`"function_call":{"arguments":"{\"x\":1}"}`), finishChunk("function_call")),
			calls: []string{`f {"x":1}`}},
		{name: "length after a whole call", stream: sse(argChunk("0", "c", "f", `{}`), finishChunk("length")), calls: []string{`f {}`}, finish: backend.FinishLength},
	}
	for _, reason := range []string{"eos", "eos_token", "end_turn", "STOP", "Stop", "stop_sequence", "COMPLETE"} {
		cases = append(cases, cases[0])
		last := &cases[len(cases)-1]
		last.name, last.stream, last.content = "reason "+reason, sse(contentChunk("a"), finishChunk(reason)), "a"
	}
	for _, reason := range []string{"MAX_TOKENS", "max_tokens", "LENGTH", "model_length"} {
		cases = append(cases, cases[0])
		last := &cases[len(cases)-1]
		last.name, last.stream, last.content, last.finish = "reason "+reason, sse(contentChunk("a"), finishChunk(reason)), "a", backend.FinishLength
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := ask()
			for _, name := range []string{"f", "g", "read_file"} {
				r.Tools = append(r.Tools, backend.Tool{Name: name, Parameters: []byte(`{}`)})
			}
			for split, body := range map[string]io.Reader{
				"whole": strings.NewReader(c.stream), "bytewise": iotest.OneByteReader(strings.NewReader(c.stream)),
			} {
				resp, err := streaming(func(context.Context) io.ReadCloser { return io.NopCloser(body) }).Generate(t.Context(), r, backend.Observer{})
				if c.class != "" {
					require.Equal(t, c.class, backend.ClassOf(err), "%s: %v", split, err)
					assert.ErrorContains(t, err, c.message, split)
					continue
				}
				require.NoError(t, err, split)
				assert.Equal(t, c.content, resp.Message.Content, split)
				var calls []string
				for _, call := range resp.Message.ToolCalls {
					calls = append(calls, call.Name+" "+call.Arguments)
				}
				assert.Equal(t, c.calls, calls, split)
				switch {
				case c.finish != "":
					assert.Equal(t, c.finish, resp.Finish, split)
				case len(c.calls) > 0:
					assert.Equal(t, backend.FinishToolCalls, resp.Finish, split)
				default:
					assert.Equal(t, backend.FinishStop, resp.Finish, split)
				}
			}
		})
	}
}

func TestUsageInEveryForm(t *testing.T) {
	t.Parallel()
	for event, want := range map[string]backend.Usage{
		`{"choices":[],"usage":{"prompt_tokens":100.0,"completion_tokens":20.0,"total_tokens":120.0}}`:                                    {PromptTokens: 100, CompletionTokens: 20, CachedTokens: -1},
		`{"choices":null,"usage":{"prompt_tokens":"100","completion_tokens":-3}}`:                                                         {PromptTokens: 100, CachedTokens: -1},
		`{"usage":{"input_tokens":100,"output_tokens":20}}`:                                                                               {PromptTokens: 100, CompletionTokens: 20, CachedTokens: -1},
		`{"choices":[],"x_groq":{"usage":{"prompt_tokens":100,"completion_tokens":20}}}`:                                                  {PromptTokens: 100, CompletionTokens: 20, CachedTokens: -1},
		`{"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":100,"completion_tokens":20}}]}`:                                       {PromptTokens: 100, CompletionTokens: 20, CachedTokens: -1},
		`{"usage":{"prompt_tokens":100,"completion_tokens":20,"prompt_cache_hit_tokens":64}}`:                                             {PromptTokens: 100, CompletionTokens: 20, CachedTokens: 64},
		`{"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}}`:  {PromptTokens: 100, CompletionTokens: 320, CachedTokens: -1},
		`{"usage":{"prompt_tokens":100,"completion_tokens":320,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}}`: {PromptTokens: 100, CompletionTokens: 320, CachedTokens: -1},
		`{"usage":[1]}`: {CachedTokens: -1},
	} {
		resp, _, err := generate(t, sse(contentChunk("a"), finishChunk("stop"), event, "[DONE]"))
		require.NoError(t, err, event)
		assert.Equal(t, want, resp.Usage, event)
	}
}

// TestStreamWithoutAMarkEndsSoon holds a stream open after its answer is complete.
func TestStreamWithoutAMarkEndsSoon(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		within time.Duration
	}{
		"with usage":    {sse(contentChunk("a"), finishChunk("stop"), usageChunk), grace},
		"without usage": {sse(contentChunk("a"), finishChunk("stop")), graceForUsage},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			cl := streaming(func(ctx context.Context) io.ReadCloser {
				return &heldOpen{Reader: strings.NewReader(c.stream), ctx: ctx}
			})
			resp, err := cl.Generate(t.Context(), ask(), backend.Observer{})
			require.NoError(t, err, name)
			assert.Equal(t, "a", resp.Message.Content, name)
			assert.Equal(t, c.within, time.Since(began), name)
		})
	}
}

// heldOpen sends its text and then endless comments, until ctx ends.
type heldOpen struct {
	io.Reader
	ctx context.Context
}

func (h *heldOpen) Read(p []byte) (int, error) {
	if n, err := h.Reader.Read(p); err == nil {
		return n, nil
	}
	select {
	case <-h.ctx.Done():
		return 0, h.ctx.Err()
	case <-time.After(300 * time.Millisecond):
		return copy(p, ": ping\n\n"), nil
	}
}

func (h *heldOpen) Close() error { return nil }

func TestCompressedStreamIsUnpacked(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, _ = io.WriteString(zip, sse(contentChunk("a"), finishChunk("stop"), "[DONE]"))
		_ = zip.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(b.Bytes())
	}))
	defer server.Close()
	resp, err := client(t, server.Listener.Addr().String()).Generate(t.Context(), ask(), backend.Observer{})
	require.NoError(t, err)
	assert.Equal(t, "a", resp.Message.Content)
}

// framed encodes chunks with a random framing.
func framed(t *rapid.T, chunks []string) string {
	end := rapid.SampledFrom([]string{"\n", "\r", "\r\n"}).Draw(t, "end")
	prefix := rapid.SampledFrom([]string{"data: ", "data:", "\xef\xbb\xbfdata: ", "event: chunk" + end + "data: "}).Draw(t, "prefix")
	between := rapid.SampledFrom([]string{end, end + end, end + ": ping" + end + end, end + "data: : keepalive" + end + end, end + "data:" + end + end, end + "event: ping" + end + "data: {}" + end + end})
	var b strings.Builder
	for _, c := range chunks {
		if rapid.Bool().Draw(t, "lines") && !strings.HasPrefix(c, "[") {
			c = strings.ReplaceAll(c, `,"delta"`, end+"data: "+`,"delta"`)
		}
		b.WriteString(prefix + c + between.Draw(t, "between"))
	}
	return b.String()
}

// TestNoFramingLosesText generates texts, framings, damage and splits: the call fails, or its content has every piece.
func TestNoFramingLosesText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.StringN(1, 12, -1), 1, 6).Draw(t, "pieces")
		chunks := make([]string, len(pieces))
		for i, p := range pieces {
			chunks[i] = contentChunk(p)
		}
		damage := rapid.SampledFrom([]string{"", "oops", `{"choices":[`, `{"choices":7}`, `{"type":"text","text":"x"}`, `[1]`, `{"choices":[{"delta":{"content":[{"type":"x"}]}}]}`}).Draw(t, "damage")
		at := rapid.IntRange(0, len(chunks)).Draw(t, "at")
		all := append([]string{}, chunks[:at]...)
		if damage != "" {
			all = append(all, damage)
		}
		all = append(append(all, chunks[at:]...), finishChunk("stop"), "[DONE]")
		stream := framed(t, all)
		split := rapid.IntRange(1, 40).Draw(t, "split")
		resp, err := streaming(func(context.Context) io.ReadCloser {
			return io.NopCloser(&chunked{strings.NewReader(stream), split})
		}).Generate(context.Background(), ask(), backend.Observer{})
		if err != nil {
			assert.NotEmpty(t, damage, "%v in %q", err, stream)
			assert.NotEmpty(t, backend.ClassOf(err))
			return
		}
		var want strings.Builder
		for _, p := range pieces {
			want.WriteString(strings.ToValidUTF8(p, "\ufffd"))
		}
		assert.Equal(t, want.String(), resp.Message.Content, "%q", stream)
	})
}

// chunked reads at most n bytes at once.
type chunked struct {
	io.Reader
	n int
}

func (c *chunked) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), c.n)]) }
