package modelapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a Caller with the same answer to every call.
type script struct {
	response backend.Response
	err      error
	events   func(o backend.Observer) // before the answer; nil for none

	mu    sync.Mutex
	calls []*backend.Request // guarded by mu
}

func (s *script) Call(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	s.mu.Lock()
	s.calls = append(s.calls, r)
	s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.events != nil {
		s.events(o)
	}
	if s.err != nil {
		return nil, s.err
	}
	resp := s.response
	return &resp, nil
}

func (s *script) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "qwen3", MaxModelLen: 4096}}, nil
}

func (s *script) CountTokens(context.Context, *backend.Request) (int, error) {
	return 0, errors.ErrUnsupported
}

// counting is a script that counts tokens.
type counting struct{ script }

func (c *counting) CountTokens(_ context.Context, r *backend.Request) (int, error) {
	n := 0
	for _, m := range r.Messages {
		n += len(strings.Fields(m.Text()))
	}
	return n, nil
}

// post sends a request to a session and returns the status, the headers and the body of its answer.
func post(t *testing.T, c Caller, path, body string) (int, http.Header, string) {
	t.Helper()
	return send(t, New(c), httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body)))
}

func send(t *testing.T, h http.Handler, r *http.Request) (int, http.Header, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Code, w.Header(), string(body)
}

// decoders are the decoders by the folder of their test data.
var decoders = map[string]func(string) (*request, *failure){
	"chat":      func(s string) (*request, *failure) { return parsed(s, decodeChat) },
	"responses": func(s string) (*request, *failure) { return parsed(s, decodeResponses) },
	"messages":  func(s string) (*request, *failure) { return parsed(s, decodeMessages) },
}

// routes are the routes by the folder of their test data.
var routes = map[string]string{"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}

// least is the smallest valid request of each API.
var least = map[string]string{
	"chat":      `{"model":"qwen3","messages":[{"role":"user","content":"hi"}]}`,
	"responses": `{"model":"qwen3","input":"hi"}`,
	"messages":  `{"model":"qwen3","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
}

// with returns the smallest request of an API with further fields.
func with(api, fields string) string {
	return strings.TrimSuffix(least[api], "}") + "," + fields + "}"
}

var errLease = errors.New("the lease is gone")

func indented(t *testing.T, v any) string {
	t.Helper()
	out, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	return string(out) + "\n"
}

// parsed parses and decodes a body.
func parsed(body string, decode func(value) (*request, *failure)) (*request, *failure) {
	v, f := parse(body)
	if f != nil {
		return nil, f
	}
	return decode(v)
}
