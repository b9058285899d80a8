package openaichat

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client opens a client on a host:port.
func client(t testing.TB, addr string) *Client {
	t.Helper()
	u, err := endpoint.ParseURL("http://"+addr, map[string]endpoint.Scheme{"http": {HTTP: "http"}}, "KEY")
	require.NoError(t, err)
	c := New(Config{URL: u})
	t.Cleanup(func() { c.Close() })
	return c
}

// roundTripper answers every request itself.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// streaming returns a client that answers every call with a body.
func streaming(body func(ctx context.Context) io.ReadCloser) *Client {
	return New(Config{
		URL: endpoint.URL{Shown: "test://server", Root: "http://server.test"},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}},
				Body: body(r.Context()), Request: r}, nil
		}),
	})
}

// answering returns a client that answers every call with a text.
func answering(text []byte) *Client {
	return streaming(func(context.Context) io.ReadCloser { return io.NopCloser(bytes.NewReader(text)) })
}

// told records the calls of an observer.
type told struct {
	firstTokens int
	calls       []backend.ToolCall
	indexes     []int
}

func (o *told) observer() backend.Observer {
	return backend.Observer{
		FirstToken: func() { o.firstTokens++ },
		ToolCall: func(i int, c backend.ToolCall) {
			o.indexes = append(o.indexes, i)
			o.calls = append(o.calls, c)
		},
	}
}

// replay makes one call to a recording.
func replay(t *testing.T, name string, r *backend.Request) (*backend.Response, *told, error) {
	t.Helper()
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, name)})
	o := &told{}
	resp, err := client(t, server.Addr).Generate(t.Context(), r, o.observer())
	return resp, o, err
}

// mustReplay makes one call to a recording and requires success.
func mustReplay(t *testing.T, name string) (*backend.Response, *told) {
	t.Helper()
	resp, o, err := replay(t, name, ask())
	require.NoError(t, err)
	return resp, o
}

func ask() *backend.Request {
	return &backend.Request{
		ID:       "b_1/job-0#1",
		Model:    "smollm2-135m",
		Messages: []backend.Message{{Role: backend.RoleUser, Content: "What is the weather in Rome?"}},
	}
}

// decoded decodes a JSON object.
func decoded(t testing.TB, content []byte) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, json.Unmarshal(content, &out), string(content))
	return out
}

// body returns the decoded body of a recorded response.
func body(t testing.TB, name string) []byte {
	t.Helper()
	return readBody(t, backendtest.Recording(t, name))
}
