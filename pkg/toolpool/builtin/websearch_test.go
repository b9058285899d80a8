package builtin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

// The answers have the documented format of each service, reduced to the parsed fields and their neighbours.
var searchAnswers = map[string]string{
	"brave": `{"type":"search","query":{"original":"go"},"web":{"type":"search","results":[
		{"title":"The Go Language","url":"https://go.dev/","is_source_local":false,"description":"Build simple,\n secure systems","profile":{"name":"Go"}},
		{"title":"Go (game)","url":"https://example.org/go","description":"A board game"}]}}`,
	"serpapi": `{"search_metadata":{"status":"Success"},"organic_results":[
		{"position":1,"title":"The Go Language","link":"https://go.dev/","displayed_link":"https://go.dev","snippet":"Build simple, secure systems"},
		{"position":2,"title":"Go (game)","link":"https://example.org/go","snippet":"A board game"}]}`,
	"tavily": `{"query":"go","answer":null,"images":[],"results":[
		{"title":"The Go Language","url":"https://go.dev/","content":"Build simple, secure systems","score":0.99,"raw_content":null},
		{"title":"Go (game)","url":"https://example.org/go","content":"A board game","score":0.5}],"response_time":1.2}`,
}

func TestWebSearch(t *testing.T) {
	t.Parallel()
	const key = "k-3141592653"
	for _, provider := range builtin.SearchProviders {
		t.Run(provider.Name, func(t *testing.T) {
			t.Parallel()
			var status atomic.Int64
			var answer atomic.Value
			status.Store(http.StatusOK)
			answer.Store(searchAnswers[provider.Name])
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				switch provider.Name {
				case "brave":
					assert.Equal(t, key, r.Header.Get("X-Subscription-Token"))
					assert.Equal(t, "go & co", r.URL.Query().Get("q"))
				case "serpapi":
					assert.Equal(t, key, r.URL.Query().Get("api_key"))
					assert.Equal(t, "go & co", r.URL.Query().Get("q"))
				case "tavily":
					assert.Equal(t, "Bearer "+key, r.Header.Get("Authorization"))
					assert.Contains(t, string(body), `"query":"go \u0026 co"`)
				}
				w.WriteHeader(int(status.Load()))
				_, _ = w.Write([]byte(answer.Load().(string))) //nolint:forcetypeassert // a string was stored
			}))
			defer server.Close()
			provider.URL = server.URL + "/search"
			ask := func(a args) toolpool.Result {
				p, err := toolpool.New(toolpool.Config{})
				require.NoError(t, err)
				require.NoError(t, p.Register(builtin.WebSearch(provider, key, nil, http.DefaultTransport)))
				r := use(t, p, "web_search", a)
				assert.NotContains(t, r.Content, key)
				return r
			}
			assert.Equal(t, "1. The Go Language\n   https://go.dev/\n   Build simple, secure systems\n"+
				"2. Go (game)\n   https://example.org/go\n   A board game\n", ask(args{"query": "go & co"}).Content)
			assert.NotContains(t, ask(args{"query": "go & co", "count": 1}).Content, "2. ")
			answer.Store(`{}`)
			assert.Equal(t, "(no results)", ask(args{"query": "go & co"}).Content)
			answer.Store(`<html>`)
			assert.Contains(t, ask(args{"query": "go & co"}).Content, "cannot be read")
			for code, want := range map[int64]string{401: "refuses the key in " + provider.KeyEnv, 429: "no more queries", 500: "answered 500"} {
				status.Store(code)
				r := ask(args{"query": "go & co"})
				assert.True(t, r.Failed)
				assert.Contains(t, r.Content, want)
			}
			server.Close()
			assert.Contains(t, ask(args{"query": "go & co"}).Content, "cannot be reached")
		})
	}
}
