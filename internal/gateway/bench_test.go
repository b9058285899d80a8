package gateway

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkCall measures what a session adds to a model call: a request of 50 KB over loopback, and an answer that is there at once.
func BenchmarkCall(b *testing.B) {
	g, err := Open(filepath.Join(b.TempDir(), "s"), nil)
	require.NoError(b, err)
	defer g.Close()
	url, end := g.Job(says("answer"))
	defer end()
	body := `{"model":"m","messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("word ", 100)+`"},{"role":"assistant","content":"yes"},`, 90) +
		`{"role":"user","content":"go on"}]}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.NoError(b, resp.Body.Close())
	}
}
