package backendtest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReplaySendsTheRecordingAndKeepsTheRequest(t *testing.T) {
	whole := []byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
	server := Replay(t, Reply{Bytes: whole}, Reply{Bytes: whole, Split: 2}, Reply{Bytes: whole, Cut: len(whole) - 2})
	for _, want := range []struct {
		body string
		err  error
	}{{"hello", nil}, {"hello", nil}, {"hel", io.ErrUnexpectedEOF}, {"hel", io.ErrUnexpectedEOF}} {
		resp, err := http.Post("http://"+server.Addr+"/path", "text/plain", strings.NewReader("question"))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		assert.Equal(t, want.err, err)
		assert.Equal(t, want.body, string(body))
	}
	requests := server.Requests()
	require.Len(t, requests, 4)
	assert.Equal(t, "/path", requests[0].URL.Path)
	assert.Equal(t, "question", string(requests[3].Content))
}

func TestReplayByRoute(t *testing.T) {
	server := ReplayRoutes(t, map[string]Reply{"GET /a": {Bytes: []byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")}})
	for path, want := range map[string]int{"/a": http.StatusNoContent, "/b": http.StatusNotFound} {
		resp, err := http.Get("http://" + server.Addr + path)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode)
	}
	assert.Len(t, server.Asked("GET /a"), 1)
	assert.Empty(t, server.Asked("POST /a"))
}

func TestRecordingsAreWholeResponses(t *testing.T) {
	names := append(Recordings(t, "*/*"), Recordings(t, "*/*/*")...)
	assert.Greater(t, len(names), 300)
	for _, name := range names {
		assert.True(t, strings.HasPrefix(string(Recording(t, name)), "HTTP/1.1 "), name)
	}
}
