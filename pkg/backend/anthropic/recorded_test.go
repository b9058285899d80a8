package anthropic

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

func TestRecordedStreams(t *testing.T) {
	cases := map[string]struct {
		finish backend.FinishReason
		usage  backend.Usage
		calls  int
		says   string // in the content or reasoning
	}{
		"vllm-0.32/anthropic-messages-stream":            {finish: backend.FinishStop, usage: backend.Usage{PromptTokens: 27, CachedTokens: 0, CompletionTokens: 20}, says: "Le Grand Paris is the capital of France"},
		"vllm-0.32/anthropic-tool-result-stream":         {finish: backend.FinishLength, says: "You've built it."},
		"vllm-0.32/anthropic-tools-any-stream":           {finish: backend.FinishLength, usage: backend.Usage{PromptTokens: 158, CachedTokens: 0, CompletionTokens: 96}, calls: 1},
		"sglang-0.5.23/base/anthropic-messages-stream":   {finish: backend.FinishStop, says: "Paris"},
		"sglang-0.5.23/base/anthropic-tools-any-stream":  {finish: backend.FinishToolCalls, calls: 1},
		"sglang-0.5.23/think/anthropic-reasoning-stream": {finish: backend.FinishLength, says: "3"},
		"dynamo-1.6.1/anthropic-messages-stream":         {finish: backend.FinishStop},
		"dynamo-1.6.1/anthropic-messages-length-stream":  {finish: backend.FinishLength},
		"dynamo-1.6.1/anthropic-tools-stream":            {finish: backend.FinishToolCalls, usage: backend.Usage{PromptTokens: 158, CachedTokens: 32, CompletionTokens: 38}, calls: 1},
		"dynamo-1.6.1/dispatch-anthropic-tools-stream":   {finish: backend.FinishToolCalls, calls: 1},
	}
	for name, c := range cases {
		for _, split := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s/%d", name, split), func(t *testing.T) {
				t.Parallel()
				server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, name), Split: split})
				resp, err := open(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
				require.NoError(t, err)
				assert.Equal(t, c.finish, resp.Finish)
				assert.Len(t, resp.Message.ToolCalls, c.calls)
				assert.Contains(t, resp.Message.Content+resp.Message.ReasoningText(), c.says)
				assert.Positive(t, resp.Usage.PromptTokens)
				assert.Positive(t, resp.Usage.CompletionTokens)
				if c.usage != (backend.Usage{}) {
					assert.Equal(t, c.usage, resp.Usage)
				}
			})
		}
	}
}

func TestRecordedErrors(t *testing.T) {
	for name, want := range map[string]backend.Class{
		"vllm-0.32/anthropic-err-too-long":                    backend.ContextTooLong,
		"sglang-0.5.23/base/anthropic-err-too-long":           backend.ContextTooLong,
		"sglang-0.5.23/pool/err-prompt-over-pool-anthropic":   backend.ContextTooLong,
		"sglang-0.5.23/guard/anthropic-without-key":           backend.Auth,
		"sglang-0.5.23/guard/err-queue-full-anthropic":        backend.Overloaded,
		"sglang-0.5.23/guard/err-queue-full-anthropic-stream": backend.Overloaded,
		"dynamo-1.6.1/anthropic-err-bad-json":                 backend.InvalidRequest,
		"dynamo-1.6.1/anthropic-err-empty-messages":           backend.InvalidRequest,
		"dynamo-1.6.1/anthropic-err-unknown-model":            backend.UnknownModel,
		"dynamo-1.6.1/anthropic-disabled":                     backend.InvalidRequest,
		"dynamo-1.6.1/no-worker-anthropic":                    backend.Overloaded,
		"dynamo-1.6.1/overload-anthropic":                     backend.Overloaded,
		"dynamo-1.6.1/worker-limit-anthropic":                 backend.Overloaded,
	} {
		server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, name)})
		_, err := open(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		assert.Equal(t, want, backend.ClassOf(err), "%s: %v", name, err)
	}
}

// A stream cut anywhere before its stop reason is transient, and never a short answer.
func TestCutStreamIsTransient(t *testing.T) {
	whole := backendtest.Recording(t, "dynamo-1.6.1/anthropic-tools-stream")
	end := bytes.Index(whole, []byte(`{"type":"message_delta"`))
	require.Positive(t, end)
	head := bytes.Index(whole, []byte("\r\n\r\n")) + 4
	for cut := head; cut < end; cut += 61 {
		server := backendtest.Replay(t, backendtest.Reply{Bytes: whole, Cut: cut})
		_, err := open(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		require.Equal(t, backend.Transient, backend.ClassOf(err), "cut at %d: %v", cut, err)
	}
}

// feed parses the text of a stream.
func feed(stream string, o backend.Observer) (*backend.Response, error) {
	body := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader(stream))}
	r := newReading(o)
	return r.end(r.read(context.Background(), body))
}

func sent(lines ...string) string {
	var b strings.Builder
	for _, l := range lines {
		kind, _, _ := strings.Cut(strings.TrimPrefix(l, `{"type":"`), `"`)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, l)
	}
	return b.String()
}

const (
	begin    = `{"type":"message_start","message":{"type":"message","role":"assistant","content":[],"model":"m","usage":{"input_tokens":3,"output_tokens":1}}}`
	finish   = `{"type":"message_stop"}`
	textOn   = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	blockOff = `{"type":"content_block_stop","index":0}`
)

func text(s string) string {
	return `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + s + `"}}`
}

func stop(reason string) string {
	return `{"type":"message_delta","delta":{"stop_reason":"` + reason + `"},"usage":{"output_tokens":9}}`
}

func toolOn(i int, id string) string {
	return fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":%q,"name":"f","input":{}}}`, i, id)
}

func toolIn(i int, s string) string {
	return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%q}}`, i, s)
}

func toolOff(i int) string { return fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, i) }

func TestOddModels(t *testing.T) {
	const mega = 1 << 20
	cases := map[string]struct {
		stream   string
		finish   backend.FinishReason
		class    backend.Class
		content  string
		calls    []string
		reported int
	}{
		"empty answer":           {stream: sent(begin, stop("end_turn"), finish), finish: backend.FinishStop},
		"no message_stop":        {stream: sent(begin, textOn, text("a"), blockOff, stop("end_turn")), finish: backend.FinishStop, content: "a"},
		"no stop reason":         {stream: sent(begin, textOn, text("a"), blockOff, finish), class: backend.Transient},
		"nothing at all":         {stream: "", class: backend.Transient},
		"only done":              {stream: "data: [DONE]\n\n", class: backend.Transient},
		"refusal":                {stream: sent(begin, textOn, text("no"), blockOff, stop("refusal"), finish), finish: backend.FinishRefused, content: "no"},
		"length":                 {stream: sent(begin, textOn, text("a"), stop("max_tokens"), finish), finish: backend.FinishLength, content: "a"},
		"stop sequence":          {stream: sent(begin, textOn, text("a"), stop("stop_sequence"), finish), finish: backend.FinishStop, content: "a"},
		"paused":                 {stream: sent(begin, stop("pause_turn"), finish), class: backend.Transient},
		"window":                 {stream: sent(begin, textOn, text("a"), stop("model_context_window_exceeded"), finish), class: backend.ContextTooLong},
		"unknown stop":           {stream: sent(begin, stop("abort"), finish), class: backend.Transient},
		"pings and comments":     {stream: ": keep-alive\n\n" + sent(`{"type":"ping"}`, begin, `{"type":"ping"}`, textOn, text("a"), `{"type":"ping"}`, stop("end_turn"), finish), finish: backend.FinishStop, content: "a"},
		"unknown event":          {stream: sent(begin, `{"type":"weather","temperature":21}`, textOn, text("a"), stop("end_turn"), finish), finish: backend.FinishStop, content: "a"},
		"events without names":   {stream: strings.NewReplacer("event: message_start\n", "", "event: content_block_delta\n", "", "event: message_delta\n", "").Replace(sent(begin, textOn, text("a"), stop("end_turn"), finish)), finish: backend.FinishStop, content: "a"},
		"error without name":     {stream: "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n", class: backend.Overloaded},
		"tokens with fractions":  {stream: sent(strings.Replace(begin, `"input_tokens":3`, `"input_tokens":3.0`, 1), textOn, text("a"), stop("end_turn"), finish), finish: backend.FinishStop, content: "a"},
		"impossible usage":       {stream: sent(strings.Replace(begin, `"input_tokens":3`, `"input_tokens":-1e300`, 1), textOn, text("a"), strings.Replace(stop("end_turn"), `"output_tokens":9`, `"output_tokens":1e300`, 1), finish), finish: backend.FinishStop, content: "a"},
		"text that is no text":   {stream: sent(begin, textOn, strings.Replace(text("a"), `"a"`, `7`, 1), stop("end_turn"), finish), class: backend.Transient},
		"unknown block":          {stream: sent(begin, `{"type":"content_block_start","index":0,"content_block":{"type":"hologram","x":[1]}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta","x":1}}`, blockOff, stop("end_turn"), finish), finish: backend.FinishStop},
		"thinking and signature": {stream: sent(begin, `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"xx"}}`, blockOff, stop("end_turn"), finish), finish: backend.FinishStop},
		"two calls":              {stream: sent(begin, toolOn(0, "a"), toolIn(0, `{"x":`), toolIn(0, `1}`), toolOff(0), toolOn(1, "b"), toolOff(1), stop("tool_use"), finish), finish: backend.FinishToolCalls, calls: []string{`{"x":1}`, `{}`}, reported: 2},
		"interleaved calls":      {stream: sent(begin, toolOn(0, "a"), toolOn(1, "b"), toolIn(1, `{"y":2}`), toolIn(0, `{"x":1}`), toolOff(1), toolOff(0), stop("tool_use"), finish), finish: backend.FinishToolCalls, calls: []string{`{"x":1}`, `{"y":2}`}, reported: 2},
		"calls that end turn":    {stream: sent(begin, toolOn(0, "a"), toolIn(0, `{}`), toolOff(0), stop("end_turn"), finish), finish: backend.FinishToolCalls, calls: []string{`{}`}, reported: 1},
		"announced, withheld":    {stream: sent(begin, stop("tool_use"), finish), finish: backend.FinishStop},
		"malformed arguments":    {stream: sent(begin, toolOn(0, "a"), toolIn(0, `{"x":`), toolOff(0), stop("tool_use"), finish), finish: backend.FinishToolCalls, calls: []string{`{"x":`}, reported: 1},
		"call cut by length":     {stream: sent(begin, toolOn(0, "a"), toolIn(0, `{"x":`), toolOff(0), stop("max_tokens"), finish), finish: backend.FinishLength, calls: []string{`{"x":`}},
		"same ID twice":          {stream: sent(begin, toolOn(0, "a"), toolIn(0, `{}`), toolOff(0), toolOn(1, "a"), toolIn(1, `{}`), toolOff(1), stop("tool_use"), finish), finish: backend.FinishToolCalls, calls: []string{`{}`, `{}`}, reported: 2},
		"input of no block":      {stream: sent(begin, toolIn(7, `{}`), toolOff(7), stop("end_turn"), finish), finish: backend.FinishStop},
		"overloaded in stream":   {stream: sent(begin, textOn, text("a"), `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), class: backend.Overloaded},
		"throttled in stream":    {stream: sent(begin, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`), class: backend.RateLimited},
		"unreadable error":       {stream: sent(begin) + "event: error\ndata: <html>\n\n", class: backend.Transient},
		"not JSON":               {stream: sent(begin) + "event: content_block_delta\ndata: {\"type\":\n\n", class: backend.Transient},
		"unicode in escapes":     {stream: sent(begin, textOn, text(`\ud83d\ude00 é`), text("€"), stop("end_turn"), finish), finish: backend.FinishStop, content: "😀 é€"},
		"1 MB":                   {stream: sent(begin, textOn, text(strings.Repeat("x", mega)), stop("end_turn"), finish), finish: backend.FinishStop, content: strings.Repeat("x", mega)},
		"without end":            {stream: sent(append([]string{begin, textOn}, repeated(text(strings.Repeat("x", mega)), 9)...)...), class: backend.Degenerate},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			reported := 0
			resp, err := feed(c.stream, backend.Observer{ToolCall: func(int, backend.ToolCall) { reported++ }})
			if c.class != "" {
				var b Backend
				require.Equal(t, c.class, backend.ClassOf(b.failure(t.Context(), err)), "%v", err)
				return
			}
			require.NoError(t, err)
			assert.GreaterOrEqual(t, min(resp.Usage.PromptTokens, resp.Usage.CompletionTokens), int64(0))
			assert.Equal(t, c.finish, resp.Finish)
			assert.Equal(t, c.content, resp.Message.Content)
			var args []string
			ids := map[string]bool{}
			for _, call := range resp.Message.ToolCalls {
				args = append(args, call.Arguments)
				ids[call.ID] = true
			}
			assert.Equal(t, c.calls, args)
			assert.Len(t, ids, len(c.calls), "IDs are distinct")
			assert.Equal(t, c.reported, reported)
		})
	}
}

func repeated(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestDocumentedErrors(t *testing.T) {
	cases := []struct {
		status  int
		kind    string
		message string
		want    backend.Class
	}{
		{400, "invalid_request_error", "max_tokens: Field required", backend.InvalidRequest},
		{400, "invalid_request_error", "prompt is too long: 201000 tokens > 200000 maximum", backend.ContextTooLong},
		{400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000", backend.ContextTooLong},
		{400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", backend.QuotaExhausted},
		{400, "invalid_request_error", "You have reached your specified API usage limits.", backend.QuotaExhausted},
		{401, "authentication_error", "invalid x-api-key", backend.Auth},
		{402, "billing_error", "pay", backend.QuotaExhausted},
		{403, "permission_error", "no", backend.Auth},
		{404, "not_found_error", "model: claude-none", backend.UnknownModel},
		{404, "not_found_error", "Not Found", backend.InvalidRequest},
		{408, "", "", backend.Transient},
		{409, "", "conflict", backend.Transient},
		{413, "request_too_large", "Request exceeds the maximum size", backend.ContextTooLong},
		{429, "rate_limit_error", "This request would exceed your organization's rate limit", backend.RateLimited},
		{500, "api_error", "Internal server error", backend.Transient},
		{502, "", "", backend.Transient},
		{503, "", "", backend.Overloaded},
		{504, "timeout_error", "timed out", backend.Transient},
		{529, "overloaded_error", "Overloaded", backend.Overloaded},
		{301, "", "", backend.InvalidRequest},
	}
	for _, c := range cases {
		body := fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":"req_1"}`, c.kind, c.message)
		e := classify(c.status, http.Header{"Retry-After": {"7"}}, []byte(body), time.Now())
		assert.Equal(t, c.want, e.Class, "%d %s", c.status, body)
		assert.Equal(t, 7*time.Second, e.RetryAfter)
	}
	for _, body := range []string{"", "<html>too large</html>", "null", "[]"} { // from a proxy
		assert.Equal(t, backend.ContextTooLong, classify(413, nil, []byte(body), time.Now()).Class)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(sent(begin, textOn, text("a"), blockOff, stop("end_turn"), finish))
	f.Add(sent(begin, toolOn(0, "a"), toolIn(0, `{"x":1}`), toolOff(0), stop("tool_use"), finish))
	f.Add(sent(begin, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`))
	f.Fuzz(func(t *testing.T, stream string) {
		told := map[int]backend.ToolCall{}
		resp, err := feed(stream, backend.Observer{ToolCall: func(i int, c backend.ToolCall) {
			if _, twice := told[i]; twice {
				t.Fatalf("call %d told twice", i)
			}
			told[i] = c
		}})
		if err != nil {
			return
		}
		if resp.Finish == "" { // names in JSON match in any case, so the text of the stream need not have "stop_reason"
			t.Fatal("an answer without a stop reason")
		}
		for i, c := range told {
			if !assert.ObjectsAreEqual(resp.Message.ToolCalls[i], c) {
				t.Fatalf("call %d was told as %v and is %v", i, c, resp.Message.ToolCalls[i])
			}
		}
	})
}

// Every recording of any server gives a complete turn or an error with a class.
func TestEveryRecordingIsATurnOrAnError(t *testing.T) {
	ended := regexp.MustCompile(`(?m)^data: ?\{.*"stop_reason": ?"(end_turn|max_tokens|tool_use|stop_sequence)"`)
	turns := 0
	for _, name := range append(backendtest.Recordings(t, "*/*"), backendtest.Recordings(t, "*/*/*")...) {
		recording := backendtest.Recording(t, name)
		server := backendtest.Replay(t, backendtest.Reply{Bytes: recording})
		resp, err := open(t, server.Addr).Generate(t.Context(), ask(), backend.Observer{})
		if !ended.Match(recording) {
			assert.NotEmpty(t, backend.ClassOf(err), "%s: %v", name, err)
			continue
		}
		if assert.NoError(t, err, name) {
			turns++
			assert.NotEmpty(t, resp.Finish, name)
		}
	}
	assert.Greater(t, turns, 10)
}
