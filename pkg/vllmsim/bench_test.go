package vllmsim

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// benchBodies returns the two turns of one agent: a tool call, then an answer that follows a schema in the prompt.
func benchBodies(b *testing.B, s *Server) []string {
	b.Helper()
	schema := `{"type":"object","properties":{"file":{"type":"string"},"verdict":{"enum":["good","bad"]},"summary":{"type":"string"}},"required":["file","verdict","summary"]}`
	head := system(strings.Repeat("You review source files and report what is wrong. ", 20)+"Answer with JSON of this schema: "+schema) + "," + user("Review the file pkg/batch/state.go.")
	first := chatBody(head, readFile+","+streamed)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(first)))
	r := read(b, w.Result())
	require.Len(b, r.calls, 1)
	return []string{first, chatBody(head+toolTurn(r.calls[0], strings.Repeat("package batch\n", 50)), readFile+","+streamed)}
}

// One op is one streamed chat completion, without a connection: the simulator's own cost.
func BenchmarkChat(b *testing.B) {
	s, err := New(Config{})
	require.NoError(b, err)
	bodies := benchBodies(b, s)
	for i, name := range []string{"turn=tool", "turn=answer"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := discard{header: http.Header{}}
				s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(bodies[i])))
			}
		})
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

// One op is one streamed chat completion over loopback. 1,250 clients share the processors with the server, each with its own
// connection. ns/op is wall time divided by all requests. With forward=60 it cannot fall below 48 µs.
func BenchmarkClients(b *testing.B) {
	for _, forward := range []float64{0, 60} {
		b.Run(fmt.Sprintf("forward=%g", forward), func(b *testing.B) {
			s, err := New(Config{ForwardMS: forward})
			require.NoError(b, err)
			bodies := benchBodies(b, s)
			url, stop, err := s.Start(b.Context(), "127.0.0.1:0")
			require.NoError(b, err)
			defer func() { _ = stop() }()
			transport := &http.Transport{MaxIdleConns: 2_000, MaxIdleConnsPerHost: 2_000, DialContext: (&net.Dialer{}).DialContext}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var left atomic.Int64
			left.Store(int64(b.N))
			var clients sync.WaitGroup
			b.ResetTimer()
			for range 1_250 {
				clients.Go(func() {
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						resp, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(bodies[n%2]))
						if err != nil {
							b.Error(err)
							return
						}
						if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
							b.Error(resp.Status, err)
						}
						_ = resp.Body.Close()
					}
				})
			}
			clients.Wait()
		})
	}
}
