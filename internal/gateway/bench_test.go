package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkCall measures a model call through a session: a request of 50 KB over loopback, and an answer that is there at once. The overhead
// of the session is the difference to BenchmarkDirectCall.
func BenchmarkCall(b *testing.B) {
	g, err := Open(filepath.Join(b.TempDir(), "s"), nil)
	require.NoError(b, err)
	defer g.Close()
	url, end := g.Job(says("answer"))
	defer end()
	benchmarkPosts(b, url+"/v1/chat/completions")
}

// BenchmarkDirectCall measures the same call to a server that reads the request and writes an answer of the same size.
func BenchmarkDirectCall(b *testing.B) {
	answer := []byte(strings.Repeat("x", 400))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	benchmarkPosts(b, server.URL)
}

func benchmarkPosts(b *testing.B, url string) {
	body := `{"model":"m","messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("word ", 100)+`"},{"role":"assistant","content":"yes"},`, 90) +
		`{"role":"user","content":"go on"}]}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.NoError(b, resp.Body.Close())
	}
}
