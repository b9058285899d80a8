package modelapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/batchagent/batchagent/pkg/backend"
)

// callFunc is a Caller that is a function.
type callFunc func(ctx context.Context, o backend.Observer) (*backend.Response, error)

func (f callFunc) Call(ctx context.Context, _ *backend.Request, o backend.Observer) (*backend.Response, error) {
	return f(ctx, o)
}

func (f callFunc) CountTokens(context.Context, *backend.Request) (int, error) {
	return 0, errors.ErrUnsupported
}

func (f callFunc) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "qwen3"}}, nil
}

// TestFailureInAStream checks that a failure after the first piece is an error event.
func TestFailureInAStream(t *testing.T) {
	t.Parallel()
	flushed := make(chan struct{})
	ends := map[string]string{
		"chat":      `data: {"error":{"message":"the stream was cut","type":"server_error","param":null,"code":"transient"}}`,
		"responses": `data: {"type":"error","sequence_number":6,"code":"transient","message":"the stream was cut","param":null}`,
		"messages":  `data: {"type":"error","error":{"type":"api_error","message":"the stream was cut"}}`,
	}
	for api, route := range routes {
		c := callFunc(func(_ context.Context, o backend.Observer) (*backend.Response, error) {
			o.Text("It is")
			<-flushed // the handler has written the piece
			return nil, &backend.Error{Class: backend.Transient, Message: "the stream was cut"}
		})
		server := httptest.NewServer(New(c))
		resp := postStream(t, server, route, with(api, `"stream":true`))
		body := bufio.NewReader(resp.Body)
		first, err := body.ReadString('\n')
		require.NoError(t, err)
		flushed <- struct{}{}
		rest, err := io.ReadAll(body)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		all := strings.TrimSpace(first + string(rest))
		assert.True(t, strings.HasSuffix(all, ends[api]), all)
		assert.NotContains(t, all, "[DONE]")
		assert.NotContains(t, all, "message_stop")
		assert.Equal(t, api == "responses", strings.Contains(all, `"status":"failed"`))
		resp.Body.Close()
		server.Close()
	}
}

func postStream(t *testing.T, server *httptest.Server, route, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+route, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	return resp
}

// TestChangedAnswer checks that a stream fails if its pieces are not the beginning of the answer.
func TestChangedAnswer(t *testing.T) {
	t.Parallel()
	for _, whole := range []string{"It was", "It"} {
		c := callFunc(func(_ context.Context, o backend.Observer) (*backend.Response, error) {
			o.Text("It is")
			return &backend.Response{Message: backend.Message{Content: whole}, Finish: backend.FinishStop}, nil
		})
		_, _, body := post(t, c, routes["chat"], with("chat", `"stream":true`))
		assert.Contains(t, body, "the answer changed")
		assert.NotContains(t, body, "[DONE]")
	}
}

// TestShortenedReasoning checks that reasoning that a session shortens does not end its stream.
func TestShortenedReasoning(t *testing.T) {
	t.Parallel()
	c := callFunc(func(_ context.Context, o backend.Observer) (*backend.Response, error) {
		o.Reasoning("a long thought")
		m := backend.Message{Content: "Yes.", Reasoning: &backend.Reasoning{Text: "a [… shortened …] t"}}
		return &backend.Response{Message: m, Finish: backend.FinishStop}, nil
	})
	_, _, body := post(t, c, routes["chat"], with("chat", `"stream":true`))
	assert.Contains(t, body, "a long thought")
	assert.NotContains(t, body, "shortened")
	assert.True(t, strings.HasSuffix(body, "data: [DONE]\n\n"))
}

// TestClientGone checks that the calls of a client that closes its connection are cancelled.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, options := range []string{`"stream":true`, `"n":3`, `"stream":true,"n":3`} {
		began, ended := make(chan struct{}, 3), make(chan error, 3)
		c := callFunc(func(ctx context.Context, _ backend.Observer) (*backend.Response, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, context.Cause(ctx)
		})
		server := httptest.NewServer(New(c))
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+routes["chat"], strings.NewReader(with("chat", options)))
		require.NoError(t, err)
		go func() {
			<-began
			leave()
		}()
		_, err = server.Client().Do(r) //nolint:bodyclose // there is no response
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, <-ended, context.Canceled)
		server.Close()
	}
}

// TestOneFailureEndsAllChoices checks that the other calls are cancelled, and that the first error is reported.
func TestOneFailureEndsAllChoices(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"false", "true"} {
		var calls atomic.Int32
		c := callFunc(func(ctx context.Context, _ backend.Observer) (*backend.Response, error) {
			if calls.Add(1) == 2 {
				return nil, &backend.Error{Class: backend.Overloaded, Message: "no slot"}
			}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		status, _, body := post(t, c, routes["chat"], with("chat", `"n":3,"stream":`+stream))
		assert.Equal(t, 503, status)
		assert.Contains(t, body, "no slot")
	}
}

// TestChoices checks that n choices are n calls, and that their usage is added up.
func TestChoices(t *testing.T) {
	t.Parallel()
	s := &script{response: answersOfServers[0].response}
	_, _, body := post(t, s, routes["chat"], with("chat", `"n":3`))
	assert.Len(t, s.calls, 3)
	assert.EqualValues(t, 3, gjson.Get(body, "choices.#").Int())
	assert.EqualValues(t, 2, gjson.Get(body, "choices.2.index").Int())
	assert.JSONEq(t, `{"prompt_tokens":90,"completion_tokens":12,"total_tokens":102,"prompt_tokens_details":{"cached_tokens":48}}`, gjson.Get(body, "usage").Raw)

	s.events = answersOfServers[0].events
	_, _, body = post(t, s, routes["chat"], with("chat", `"n":3,"stream":true,"stream_options":{"include_usage":true}`))
	texts := make([]string, 3)
	finished := 0
	for line := range strings.Lines(body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		for _, c := range gjson.Get(data, "choices").Array() {
			texts[c.Get("index").Int()] += c.Get("delta.content").String()
			if c.Get("finish_reason").String() == "stop" {
				finished++
			}
		}
	}
	assert.Equal(t, slices.Repeat([]string{"It is sunny."}, 3), texts)
	assert.Equal(t, 3, finished)
	assert.Contains(t, body, `"usage":{"prompt_tokens":90`)
	assert.True(t, strings.HasSuffix(body, "data: [DONE]\n\n"))
}

// TestWaitingStreamSendsComments checks that a client sees a living connection while its call waits for a slot.
func TestWaitingStreamSendsComments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := callFunc(func(ctx context.Context, _ backend.Observer) (*backend.Response, error) {
			select {
			case <-time.After(2*patience + time.Second):
			case <-ctx.Done():
			}
			return nil, &backend.Error{Class: backend.Overloaded, Message: "no slot"}
		})
		status, _, body := post(t, c, routes["messages"], with("messages", `"stream":true`))
		assert.Equal(t, 200, status)
		assert.Equal(t, 2, strings.Count(body, ": waiting\n\n"))
		assert.Contains(t, body, "event: error\n")
	})
}

// TestSlowClient checks that a client that does not read neither blocks a call nor fills the memory.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	f := newFeed()
	o := f.observer(0)
	for range 1_000_000 {
		o.Text("word ")
	}
	items, err := f.next(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Len(t, items, 1)
	assert.Len(t, items[0].text, 5_000_000)
	for i := range maxItems + 1 {
		o.ToolCall(i, backend.ToolCall{})
	}
	_, err = f.next(t.Context(), time.Hour)
	require.ErrorIs(t, err, errSlowClient)
}

// TestClientThatDoesNotRead checks that the connection is cut, so that the client does not take its end for the end of the answer.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	w := &stuck{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	c := callFunc(func(ctx context.Context, o backend.Observer) (*backend.Response, error) {
		o.Text("a")
		<-w.writes
		for i := range maxItems + 1 {
			o.ToolCall(i, backend.ToolCall{ID: "a"})
		}
		close(w.release)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, routes["chat"], strings.NewReader(with("chat", `"stream":true`)))
	assert.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { New(c).ServeHTTP(w, r) })
	require.ErrorIs(t, <-ended, errSlowClient)
}

// stuck is a client that does not read until it is released.
type stuck struct {
	*httptest.ResponseRecorder

	writes, release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	close(s.writes)
	<-s.release
	return len(p), nil
}

// TestFailedWrite checks that a write that fails cancels the calls.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	c := callFunc(func(ctx context.Context, o backend.Observer) (*backend.Response, error) {
		o.Text("a")
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, routes["chat"], strings.NewReader(with("chat", `"stream":true`)))
	New(c).ServeHTTP(failing{httptest.NewRecorder()}, r)
	require.ErrorIs(t, <-ended, errSlowClient)
}

// TestEndOfASessionInAStream checks that a program does not take the end of its session for the end of the answer.
func TestEndOfASessionInAStream(t *testing.T) {
	t.Parallel()
	for api, route := range routes {
		ctx, end := context.WithCancelCause(t.Context())
		c := callFunc(func(ctx context.Context, o backend.Observer) (*backend.Response, error) {
			o.Text("a")
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		w := ending{httptest.NewRecorder(), func() { end(errLease) }}
		New(c).ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, route, strings.NewReader(with(api, `"stream":true`))))
		assert.Contains(t, w.Body.String(), "the session has ended: the lease is gone")
	}
}

// ending is a client whose session ends after the first write.
type ending struct {
	*httptest.ResponseRecorder

	end func()
}

func (e ending) Write(p []byte) (int, error) {
	defer e.end()
	return e.ResponseRecorder.Write(p)
}

// failing is a client with a broken connection.
type failing struct{ *httptest.ResponseRecorder }

func (failing) Write([]byte) (int, error) { return 0, errors.New("write timeout") }
