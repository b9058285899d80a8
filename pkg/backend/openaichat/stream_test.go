package openaichat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// sse frames chunks as events.
func sse(chunks ...string) string {
	var b strings.Builder
	for _, c := range chunks {
		b.WriteString("data: " + c + "\n\n")
	}
	return b.String()
}

func contentChunk(s string) string {
	return `{"choices":[{"index":0,"delta":{"content":` + quote(s) + `}}]}`
}

// argChunk is a piece of tool call number i; id and name may be empty.
func argChunk(i, id, name, args string) string {
	return `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":` + i + `,"id":"` + id + `","function":{"name":"` + name +
		`","arguments":` + quote(args) + `}}]}}]}`
}

func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(q)
}

func finishChunk(reason string) string {
	return `{"choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}`
}

const usageChunk = `{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2}}`

func generate(t *testing.T, stream string) (*backend.Response, *told, error) {
	t.Helper()
	o := &told{}
	resp, err := answering([]byte(stream)).Generate(t.Context(), ask(), o.observer())
	return resp, o, err
}

func TestStreamEndings(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		stream string
		finish backend.FinishReason
		class  backend.Class
	}{
		{"done without finish reason", sse(contentChunk("half"), "[DONE]"), "", backend.Transient},
		{"done and usage without finish reason", sse(contentChunk("half"), usageChunk, "[DONE]"), "", backend.Transient},
		{"end of body without finish reason", sse(contentChunk("half")), "", backend.Transient},
		{"empty body", "", "", backend.Transient},
		{"finish reason without done", sse(contentChunk("all"), finishChunk("stop")), backend.FinishStop, ""},
		{"finish event without a newline", sse(contentChunk("all")) + "data: " + finishChunk("stop"), backend.FinishStop, ""},
		{"finish event that is cut", sse(contentChunk("all")) + "data: " + finishChunk("stop")[:40], "", backend.Transient},
		{"content filter", sse(finishChunk("content_filter"), "[DONE]"), backend.FinishRefused, ""},
		{"abort", sse(contentChunk("x"), finishChunk("abort"), "[DONE]"), "", backend.Transient},
		{"tool calls announced but none there", sse(contentChunk("x"), finishChunk("tool_calls"), "[DONE]"), backend.FinishStop, ""},
		{"not JSON", sse(contentChunk("x"), "{nope", finishChunk("stop")), "", backend.Transient},
		{"refusal", sse(`{"choices":[{"index":0,"delta":{"refusal":"no"}}]}`, finishChunk("stop")), backend.FinishRefused, ""},
		{"error event", sse(contentChunk("x"), `{"error":{"message":"boom","type":"InternalServerError","code":500}}`, "[DONE]"), "", backend.Transient},
		{"error event after finish", sse(finishChunk("stop"), `{"error":{"message":"boom","code":500}}`, "[DONE]"), backend.FinishStop, ""},
		{"error event with spaces", sse(`{ "error": {"message":"full","code":503}}`), "", backend.Overloaded},
		{"flat error event", sse(`{"object":"error","message":"full","code":503}`), "", backend.Overloaded},
		{"string error event", sse(`{"error":"Unauthorized"}`), "", backend.Transient},
		{"error after comments", ": keep-alive\n\n" + sse(`{"error":{"message":"too long","code":"context_length_exceeded"}}`), "", backend.ContextTooLong},
		{"error that is no event", `{"error":{"message":"slow down","code":429}}` + "\n", "", backend.RateLimited},
		{"error event by name", "event: error\n" + sse(`{"error":{"message":"x","code":500}}`), "", backend.Transient},
		{"null error", sse(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"error":null}`), backend.FinishStop, ""},
		{"events of another name", "event: tool_call_dispatch\ndata: {\"x\":1}\n\n" + sse(finishChunk("stop"), "[DONE]"), backend.FinishStop, ""},
		{"CRLF lines", strings.ReplaceAll(sse(contentChunk("x"), finishChunk("stop"), "[DONE]"), "\n", "\r\n"), backend.FinishStop, ""},
		{"other choices", sse(`{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}`, finishChunk("stop")), backend.FinishStop, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			resp, _, err := generate(t, c.stream)
			if c.class != "" {
				require.Equal(t, c.class, backend.ClassOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.finish, resp.Finish)
		})
	}
}

func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, stream string
		counts       bool
	}{
		{"before the finish reason", sse(contentChunk("half")), false},
		{"after the usage", sse(contentChunk("all"), finishChunk("stop"), usageChunk), true},
	}
	for _, c := range cases {
		broken := streaming(func(context.Context) io.ReadCloser {
			return io.NopCloser(io.MultiReader(strings.NewReader(c.stream), errorReader{errors.New("connection reset")}))
		})
		resp, err := broken.Generate(t.Context(), ask(), backend.Observer{})
		if !c.counts {
			assert.Equal(t, backend.Transient, backend.ClassOf(err), c.name)
			assert.ErrorContains(t, err, "connection reset", c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.EqualValues(t, 10, resp.Usage.PromptTokens)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestThousandsOfCommentsAreAccepted(t *testing.T) {
	t.Parallel()
	resp, _, err := generate(t, strings.Repeat(": keep-alive\n\n", 5000)+sse(contentChunk("here"), finishChunk("stop"), "[DONE]"))
	require.NoError(t, err)
	assert.Equal(t, "here", resp.Message.Content)
}

func TestReasoningUnderEitherName(t *testing.T) {
	t.Parallel()
	resp, o, err := generate(t, sse(
		`{"choices":[{"index":0,"delta":{"reasoning":"a","reasoning_content":"a"}}]}`,
		`{"choices":[{"index":0,"delta":{"reasoning_content":"b"}}]}`,
		contentChunk("answer"), finishChunk("stop")))
	require.NoError(t, err)
	assert.Equal(t, "ab", resp.Message.ReasoningText())
	assert.Equal(t, "answer", resp.Message.Content)
	assert.Equal(t, 1, o.firstTokens)
}

func TestOverlongLineIsAnError(t *testing.T) {
	t.Parallel()
	_, _, err := generate(t, "data: "+strings.Repeat("x", maxEventBytes)+"\n")
	assert.Equal(t, backend.Transient, backend.ClassOf(err))
	assert.ErrorContains(t, err, "longer than")
}

func TestLineLongerThanTheBufferIsWhole(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 20_000)
	resp, _, err := generate(t, sse(contentChunk(long), finishChunk("stop")))
	require.NoError(t, err)
	assert.Equal(t, long, resp.Message.Content)
}

func TestOverlongTurnIsDegenerate(t *testing.T) {
	t.Parallel()
	piece := sse(contentChunk(strings.Repeat("é", 1<<19)))
	_, _, err := generate(t, strings.Repeat(piece, 9))
	var e *backend.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, backend.Degenerate, e.Class)
	assert.Len(t, e.Partial, endpoint.MaxPartialBytes)
}

func TestCancelClosesTheConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sse(contentChunk("first")))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("lease lost")
	_, err := client(t, server.Listener.Addr().String()).Generate(ctx, ask(), backend.Observer{FirstToken: func() { cancel(reason) }})
	require.ErrorIs(t, err, reason)
	assert.Empty(t, backend.ClassOf(err))
	<-gone
}

func TestCancelAppliesToBufferedEvents(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("lease lost")
	c := answering([]byte(sse(contentChunk("first"), finishChunk("stop"), usageChunk, "[DONE]")))
	_, err := c.Generate(ctx, ask(), backend.Observer{FirstToken: func() { cancel(reason) }})
	assert.ErrorIs(t, err, reason)
}

func TestRunawayClosesTheConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sse(contentChunk("{"), contentChunk(strings.Repeat(" ", maxSpaceBytes))))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	r := ask()
	r.Schema = &backend.Schema{Name: "x", JSON: []byte(`{}`)}
	_, err := client(t, server.Listener.Addr().String()).Generate(t.Context(), r, backend.Observer{})
	require.Equal(t, backend.Degenerate, backend.ClassOf(err), "%v", err)
	<-gone
}

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	addrs := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addrs[r.RemoteAddr] = true
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sse(contentChunk("x"), finishChunk("stop"), usageChunk, "[DONE]"))
		w.(http.Flusher).Flush() // the body's end goes into its own packet
	}))
	defer server.Close()
	c := client(t, server.Listener.Addr().String())
	for range 5 {
		_, err := c.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
	}
	assert.Len(t, addrs, 1)
}

func TestSilenceBetweenEventsIsTransient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := streaming(func(ctx context.Context) io.ReadCloser {
			r, w := io.Pipe()
			context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
			go func() {
				time.Sleep(time.Hour) // queued: headers were sent, but no byte of the body
				for range 3 {
					time.Sleep(59 * time.Second)
					_, _ = io.WriteString(w, ": keep-alive\n\n")
				}
				_, _ = io.WriteString(w, sse(contentChunk("first")))
			}()
			return r
		})
		r := ask()
		r.SilenceTimeout = time.Minute
		start := time.Now()
		_, err := c.Generate(t.Context(), r, backend.Observer{})
		assert.Equal(t, backend.Transient, backend.ClassOf(err))
		assert.ErrorContains(t, err, "no event for 1m0s")
		assert.Equal(t, time.Hour+3*59*time.Second+time.Minute, time.Since(start))
	})
}

func TestStreamOpenAfterDoneIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := streaming(func(ctx context.Context) io.ReadCloser {
			r, w := io.Pipe()
			context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
			go func() { _, _ = io.WriteString(w, sse(contentChunk("x"), finishChunk("stop"), "[DONE]")) }()
			return r
		})
		start := time.Now()
		resp, err := c.Generate(t.Context(), ask(), backend.Observer{})
		require.NoError(t, err)
		assert.Equal(t, "x", resp.Message.Content)
		assert.Equal(t, drainWait, time.Since(start))
	})
}

func TestCallersDeadlineApplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := streaming(func(ctx context.Context) io.ReadCloser {
			r, _ := io.Pipe()
			context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
			return r
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Generate(ctx, ask(), backend.Observer{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, backend.ClassOf(err))
	})
}

func TestRefusedConnectionIsTransient(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	listener.Close()
	_, err = client(t, addr).Generate(t.Context(), ask(), backend.Observer{})
	assert.Equal(t, backend.Transient, backend.ClassOf(err))
	assert.ErrorContains(t, err, "connection refused")
	assert.Equal(t, 1, strings.Count(err.Error(), "http://"), "the URL occurs once")
}
