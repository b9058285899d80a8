package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calls answers a program's calls in a test.
type calls struct {
	call func(ctx context.Context, r *backend.Request) (*backend.Response, error)
	tool func(ctx context.Context, name string, arguments json.RawMessage) (toolpool.Result, error)
}

func (c calls) Call(ctx context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	return c.call(ctx, r)
}

func (c calls) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "m"}}, nil
}

func (c calls) CountTokens(context.Context, *backend.Request) (int, error) {
	return 0, errors.ErrUnsupported
}

func (c calls) Tools() []backend.Tool {
	return []backend.Tool{{Name: "look", Description: "looks", Parameters: []byte(`{"type":"object","properties":{"k":{"type":"integer"}}}`)}}
}

func (c calls) CallTool(ctx context.Context, name string, arguments json.RawMessage) (toolpool.Result, error) {
	return c.tool(ctx, name, arguments)
}

func open(t *testing.T) *Gateway {
	t.Helper()
	g, err := Open(filepath.Join(t.TempDir(), "s"), nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, g.Close())
		http.DefaultClient.CloseIdleConnections()
	})
	return g
}

func says(text string) calls {
	return calls{call: func(context.Context, *backend.Request) (*backend.Response, error) {
		return &backend.Response{Finish: backend.FinishStop, Message: backend.Message{Content: text}, Model: "m"}, nil
	}}
}

const chat = `{"model":"any","messages":[{"role":"user","content":"q"}]}`

func post(t *testing.T, url, body string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

func TestJobsAreApart(t *testing.T) {
	t.Parallel()
	g := open(t)
	one, endOne := g.Job(says("of one"))
	two, endTwo := g.Job(says("of two"))
	defer endTwo()
	assert.NotEqual(t, one, two)
	_, text := post(t, one+"/v1/chat/completions", chat)
	assert.Contains(t, text, "of one")
	_, text = post(t, two+"/v1/chat/completions", chat)
	assert.Contains(t, text, "of two")
	endOne()
	root, _, _ := strings.Cut(one, "/s/")
	for _, url := range []string{one, root, root + "/s", root + "/s/", root + "/s/x", root + "/s/" + strings.Repeat("a", 5000), two + "/../x", root + "/debug/pprof"} {
		status, text := post(t, url+"/v1/chat/completions", chat)
		assert.Equal(t, http.StatusUnauthorized, status, url)
		assert.Contains(t, text, "no job with this URL", url)
	}
}

// A secret opens its own job only, on each path, and the tools end with the model calls.
func TestSecretsOpenToolsOfTheirJobOnly(t *testing.T) {
	t.Parallel()
	g := open(t)
	toolOf := func(name string) calls {
		return calls{tool: func(context.Context, string, json.RawMessage) (toolpool.Result, error) {
			return toolpool.Result{Content: "of " + name}, nil
		}}
	}
	const look = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"k":1}}}`
	asMCP := func(r *http.Request) { r.Header.Set("Accept", "application/json, text/event-stream") }
	one, endOne := g.Job(toolOf("one"))
	two, endTwo := g.Job(toolOf("two"))
	defer endTwo()
	for _, url := range []string{two + "/mcp", two + "/mcp/"} {
		_, text := post(t, url, look, asMCP)
		assert.Contains(t, text, "of two")
	}
	_, text := post(t, one+"/mcp", look, asMCP)
	assert.Contains(t, text, "of one")
	endOne()
	status, text := post(t, one+"/mcp", look, asMCP)
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.NotContains(t, text, "of ")
}

// slow connects to a job, sends the beginning of a request and never reads.
func slow(t *testing.T, url, request string) {
	t.Helper()
	address, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err = fmt.Fprintf(conn, "POST /%s%s", path, request)
	require.NoError(t, err)
}

// A program that serves many jobs lives on when an attempt ends. Its slow requests must not hold up the end of the attempt.
func TestSlowClientsDoNotHoldUpTheEndOfAnAttempt(t *testing.T) {
	t.Parallel()
	const header = " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: "
	long := strings.Repeat("x", 8<<20) // more than the buffers of a connection
	const look = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"k":1}}}`
	for name, request := range map[string]string{
		"body of a model call": "/v1/chat/completions" + header + "1000\r\n\r\n{",
		"body of a tool call":  "/mcp" + header + "1000\r\n\r\n{",
		"answer of a model":    "/v1/chat/completions" + header + fmt.Sprint(len(chat)) + "\r\n\r\n" + chat,
		"answer of a tool":     "/mcp" + header + fmt.Sprint(len(look)) + "\r\n\r\n" + look,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			c := says(long)
			c.tool = func(context.Context, string, json.RawMessage) (toolpool.Result, error) {
				return toolpool.Result{Content: long}, nil
			}
			url, end := g.Job(c)
			slow(t, url, request)
			require.Eventually(t, func() bool { // the request is served
				g.mu.Lock()
				defer g.mu.Unlock()
				for _, j := range g.jobs {
					return len(j.room) == 1
				}
				return false
			}, 10*time.Second, time.Millisecond)
			ended := make(chan struct{})
			go func() { end(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("the attempt does not end")
			}
		})
	}
}

func TestPagesOfABrowserAreRefused(t *testing.T) {
	t.Parallel()
	url, end := open(t).Job(says("x"))
	defer end()
	status, _ := post(t, url+"/v1/chat/completions", chat, func(r *http.Request) { r.Header.Set("Origin", "https://example.com") })
	assert.Equal(t, http.StatusUnauthorized, status)
}

// The end of an attempt ends its requests, so that no call of it runs after its lease.
func TestRequestsEndWithTheirJob(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	url, end := open(t).Job(calls{call: func(ctx context.Context, _ *backend.Request) (*backend.Response, error) {
		close(began)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}})
	var client sync.WaitGroup
	client.Go(func() { post(t, url+"/v1/chat/completions", chat) })
	<-began
	end()
	client.Wait()
}

func TestRequestsOfOneJobAreLimited(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var begun sync.WaitGroup
	begun.Add(maxRequests)
	url, end := open(t).Job(calls{call: func(context.Context, *backend.Request) (*backend.Response, error) {
		begun.Done()
		<-release
		return &backend.Response{Finish: backend.FinishStop}, nil
	}})
	defer end()
	var clients sync.WaitGroup
	for range maxRequests {
		clients.Go(func() { post(t, url+"/v1/chat/completions", chat) })
	}
	begun.Wait()
	status, text := post(t, url+"/v1/chat/completions", chat)
	assert.Equal(t, http.StatusTooManyRequests, status, text)
	close(release)
	clients.Wait()
}

func TestSandboxesUseTheSocket(t *testing.T) {
	t.Parallel()
	g := open(t)
	url, end := g.Job(says("through the socket"))
	defer end()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.Socket())
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(chat))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(text), "through the socket")
}

func TestToolsOverMCP(t *testing.T) {
	t.Parallel()
	url, end := open(t).Job(calls{tool: func(_ context.Context, name string, arguments json.RawMessage) (toolpool.Result, error) {
		if string(arguments) == "{}" {
			return toolpool.Result{}, errors.New("the attempt has ended")
		}
		return toolpool.Result{Content: fmt.Sprintf("%s %s", name, arguments), Failed: strings.Contains(string(arguments), "2")}, nil
	}})
	defer end()
	client := mcp.NewClient(&mcp.Implementation{Name: "t"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url + "/mcp"}, nil)
	require.NoError(t, err)
	defer session.Close()
	tools, err := session.ListTools(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, tools.Tools, 1)
	assert.Equal(t, "look", tools.Tools[0].Name)
	for k, failed := range map[int]bool{1: false, 2: true} {
		r, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"k": k}})
		require.NoError(t, err)
		assert.Equal(t, failed, r.IsError)
		assert.Equal(t, fmt.Sprintf(`look {"k":%d}`, k), r.Content[0].(*mcp.TextContent).Text)
	}
	_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	require.ErrorContains(t, err, "the attempt has ended")

	// One POST is enough, for clients without a library.
	status, text := post(t, url+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"k":1}}}`,
		func(r *http.Request) { r.Header.Set("Accept", "application/json, text/event-stream") })
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, `look {\"k\":1}`)
}

// recorder keeps the time limit of reads.
type recorder struct {
	*httptest.ResponseRecorder
	limit time.Time
}

func (r *recorder) SetReadDeadline(t time.Time) error {
	r.limit = t
	return nil
}

func TestToolsMayTakeLongerThanABody(t *testing.T) {
	t.Parallel()
	w := &recorder{ResponseRecorder: httptest.NewRecorder(), limit: time.Now().Add(bodyTime)}
	limit := w.limit
	handler := newTools(calls{tool: func(context.Context, string, json.RawMessage) (toolpool.Result, error) {
		limit = w.limit
		return toolpool.Result{Content: "done"}, nil
	}})
	send := func(body string) {
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		handler.ServeHTTP(w, r)
	}
	send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"k":1}}}`)
	assert.Contains(t, w.Body.String(), "done")
	assert.Zero(t, limit)

	w.ResponseRecorder = httptest.NewRecorder()
	send(strings.Repeat(" ", maxToolCall+1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

// The connections of a program that serves many jobs outlive an attempt. Its end must not disturb the calls of other jobs.
func TestEndOfAnAttemptSparesOtherJobs(t *testing.T) {
	t.Parallel()
	g := open(t)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	send := func(url string) (string, error) {
		resp, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(chat))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return string(text), err
	}
	patient := calls{call: func(ctx context.Context, _ *backend.Request) (*backend.Response, error) {
		return &backend.Response{Finish: backend.FinishStop, Message: backend.Message{Content: fmt.Sprint("cause: ", context.Cause(ctx))}}, nil
	}}
	other, endOther := g.Job(patient)
	defer endOther()
	for range 20 {
		began := make(chan struct{})
		url, end := g.Job(calls{call: func(ctx context.Context, _ *backend.Request) (*backend.Response, error) {
			close(began)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		var first sync.WaitGroup
		first.Go(func() { _, _ = send(url) })
		<-began
		end()
		first.Wait()
		text, err := send(other)
		require.NoError(t, err)
		assert.Contains(t, text, "cause: <nil>")
	}
}
