package openaichat

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// FuzzStream uses arbitrary bytes as a stream's body. The call gives an error with a class or a consistent turn, and
// the result does not depend on how the bytes are split.
func FuzzStream(f *testing.F) {
	for _, pattern := range []string{"vllm-0.32*/*-stream", "sglang-0.5.23/*/*-stream", "dynamo-1.6.1/*-stream"} {
		for _, name := range backendtest.Recordings(f, pattern) {
			if b := body(f, name); len(b) < 16<<10 { // the long ones add no new cases
				f.Add(b)
			}
		}
	}
	f.Add([]byte(sse(argChunk("0", "a", "f", `{"x":1}}`), argChunk("0", "b", "g", `1`), finishChunk("length"), usageChunk)))
	f.Add([]byte(sse(argChunk("0", "", "f", `{"x":1}}`), `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"more":"b"}]}}]}`, finishChunk("stop"))))
	f.Add([]byte("event: x\ndata: {}\n\n" + sse(`{"error":{"code":503}}`)))
	f.Add([]byte("\xef\xbb\xbf" + sse(contentChunk("NOT "), contentChunk("approved."), finishChunk("STOP"), "[DONE]")))
	f.Add([]byte(strings.ReplaceAll(sse(contentChunk("a"), ": keepalive", finishChunk("eos"), usageChunk), "\n", "\r")))
	f.Add([]byte("data: {\"choices\": [\ndata: {\"delta\": {\"content\": [{\"type\":\"text\",\"text\":\"a\"}]},\ndata:  \"finish_reason\": \"stop\"}]}\n\n"))
	f.Add([]byte("error: {\"code\":500,\"message\":\"x\"}\n\n"))
	f.Add([]byte(`{"choices":[{"message":{"content":"a","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"finish_reason":"stop"}]}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		plain := ask()
		plain.Schema = &backend.Schema{Name: "s", JSON: []byte(`{}`)}
		dispatching := ask()
		dispatching.Tools = []backend.Tool{{Name: "f", Parameters: []byte(`{}`)}}
		fuzzStream(t, stream, plain, Dialect{})
		fuzzStream(t, stream, dispatching, Dialect{Dispatch: true})
	})
}

func fuzzStream(t *testing.T, stream []byte, r *backend.Request, d Dialect) {
	t.Helper()
	o := &told{}
	whole := answering(stream)
	whole.dialect = d
	resp, err := whole.Generate(t.Context(), r, o.observer())
	bytewise := streaming(func(context.Context) io.ReadCloser {
		return io.NopCloser(iotest.OneByteReader(bytes.NewReader(stream)))
	})
	bytewise.dialect = d
	again, againErr := bytewise.Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.ClassOf(err), backend.ClassOf(againErr))
	if err != nil {
		assert.NotEmpty(t, backend.ClassOf(err))
		return
	}
	assert.Equal(t, timeless(resp), timeless(again))
	assert.NotEmpty(t, resp.Finish)
	assert.Equal(t, resp.Finish == backend.FinishToolCalls, resp.Finish != backend.FinishLength &&
		resp.Finish != backend.FinishRefused && len(resp.Message.ToolCalls) > 0)
	seen := map[string]bool{}
	for _, c := range resp.Message.ToolCalls {
		assert.False(t, seen[c.ID])
		seen[c.ID] = true
	}
	for i, index := range o.indexes {
		call, early := resp.Message.ToolCalls[index], o.calls[i]
		call.Extra, early.Extra = nil, nil // later chunks may add members
		assert.Equal(t, call, early)
	}
}
