package openaichat

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// BenchmarkGenerate makes simultaneous calls to a server in this process. One op is one stream of 12 events, including
// the server's own work.
func BenchmarkGenerate(b *testing.B) {
	stream := []byte(sse(
		argChunk("0", "chatcmpl-tool-1", "read_file", ""), argChunk("0", "", "", "{"), argChunk("0", "", "", `"path"`),
		argChunk("0", "", "", `: "pkg/`), argChunk("0", "", "", `backend/`), argChunk("0", "", "", `doc.go"`), argChunk("0", "", "", `}`),
		contentChunk("a"), contentChunk("b"), finishChunk("tool_calls"), usageChunk, "[DONE]"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(stream)
	}))
	defer server.Close()
	c := client(b, server.Listener.Addr().String())
	r := ask()
	r.Tools = []backend.Tool{{Name: "read_file", Parameters: []byte(`{"type":"object","properties":{"path":{"type":"string"}}}`)}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := c.Generate(b.Context(), r, backend.Observer{})
			require.NoError(b, err)
		}
	})
}

// BenchmarkTurn measures the client's work for one of these events.
func BenchmarkTurn(b *testing.B) {
	event := []byte(argChunk("0", "chatcmpl-tool-1", "read_file", "x"))
	b.ReportAllocs()
	t := newTurn(backend.Observer{}, false)
	for b.Loop() {
		t.size = 0
		require.NoError(b, t.add(event, chatEvent))
	}
}
