package bedrock

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// canned answers every request with one body.
type canned struct {
	status int
	header http.Header
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: c.header, Body: io.NopCloser(bytes.NewReader(c.body)), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

func generate(t *testing.T, c canned) (*backend.Response, error) {
	t.Helper()
	b, err := New(t.Context(), Config{URL: "bedrock://eu-west-1/" + fakeModel, Endpoint: "http://127.0.0.1:1", Credentials: credentials, Transport: c})
	require.NoError(t, err)
	defer b.Close()
	return b.Generate(t.Context(), ask(), backend.Observer{})
}

// Arbitrary bytes as a stream of events give an answer or an error with a class.
func FuzzStream(f *testing.F) {
	w := httptest.NewRecorder()
	sendEvent(w, "messageStart", `{"role":"assistant"}`)
	sendEvent(w, "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"a"}}`)
	sendEvent(w, "messageStop", `{"stopReason":"end_turn"}`)
	f.Add(w.Body.Bytes())
	f.Add([]byte("\x00\x00\x00\xff\xff\xff\xff\xff"))
	f.Add([]byte("data: {}"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		resp, err := generate(t, canned{200, http.Header{"Content-Type": {"application/vnd.amazon.eventstream"}}, stream})
		if err != nil {
			require.NotEmpty(t, backend.ClassOf(err))
			return
		}
		require.NotEmpty(t, resp.Finish)
	})
}

// Any error body gives a class and a short line of text.
func FuzzErrorBody(f *testing.F) {
	f.Add(400, "ValidationException", []byte(`{"message":"the model identifier is invalid"}`))
	f.Add(429, "ThrottlingException:http://internal.amazon.com/", []byte(`{"Message":"slow"}`))
	f.Add(500, strings.Repeat("x", 3000), []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		if status < 300 || status > 599 {
			t.Skip("no error")
		}
		_, err := generate(t, canned{status, http.Header{"Content-Type": {"application/json"}, "X-Amzn-Errortype": {kind}}, body})
		require.NotEmpty(t, backend.ClassOf(err))
		require.LessOrEqual(t, len(err.Error()), endpoint.MaxMessageBytes+400)
		require.False(t, strings.ContainsAny(err.Error(), "\r\n"), "%q", err)
	})
}
