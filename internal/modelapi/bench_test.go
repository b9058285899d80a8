package modelapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
)

// bodyOf returns a request of about size bytes: a conversation of messages of 500 bytes, with lines of code.
func bodyOf(api string, size int, options string) string {
	var b strings.Builder
	open := map[string]string{"chat": `{"messages":[`, "responses": `{"input":[`, "messages": `{"max_tokens":9,"messages":[`}
	b.WriteString(open[api])
	for i := 0; b.Len() < size; i++ {
		role := []string{"user", "assistant"}[i%2]
		fmt.Fprintf(&b, `{"role":%q,"content":"%s"},`, role, strings.Repeat(`    if config[\"name\"] == value: return load(value)\n`, 9))
	}
	return b.String() + `{"role":"user","content":"end"}]` + options + `}`
}

// BenchmarkCall is the overhead of a call with a body of 50 KB and a Caller that answers at once.
func BenchmarkCall(b *testing.B) {
	for _, api := range []string{"chat", "responses", "messages"} {
		b.Run(api, func(b *testing.B) {
			body := bodyOf(api, 50_000, "")
			h := New(callFunc(func(context.Context, backend.Observer) (*backend.Response, error) {
				r := answersOfServers[1].response
				return &r, nil
			}))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, routes[api], strings.NewReader(body))
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Body.String())
				}
			}
		})
	}
}

// BenchmarkFirstPiece is the time from a piece of the model server to its arrival at the client.
func BenchmarkFirstPiece(b *testing.B) {
	for _, api := range []string{"chat", "responses", "messages"} {
		b.Run(api, func(b *testing.B) {
			sent := make(chan time.Time, 1)
			server := httptest.NewServer(New(callFunc(func(_ context.Context, o backend.Observer) (*backend.Response, error) {
				sent <- time.Now()
				o.Text("It is sunny.")
				r := answersOfServers[0].response
				return &r, nil
			})))
			defer server.Close()
			body := bodyOf(api, 50_000, `,"stream":true`)
			var total time.Duration
			first := make([]byte, 1)
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+routes[api], strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				resp, err := server.Client().Do(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, first); err != nil {
					b.Fatal(err)
				}
				total += time.Since(<-sent)
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/piece")
		})
	}
}
