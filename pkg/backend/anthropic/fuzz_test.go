package anthropic

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/retryafter"
)

// Any error body gives a class and a short line of text.
func FuzzErrorBody(f *testing.F) {
	for _, body := range []string{"", "<html>", "null", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, `{"error":{"type":"` + strings.Repeat("x", 3000) + `"}}`} {
		f.Add(529, body, "7")
		f.Add(429, body, "2026-11-30T06:00:00Z")
	}
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		h := http.Header{"Retry-After": {after}, "Anthropic-Ratelimit-Tokens-Remaining": {"0"}, "Anthropic-Ratelimit-Tokens-Reset": {after}}
		e := classify(status, h, []byte(body), time.Now())
		require.NotEmpty(t, e.Class)
		require.LessOrEqual(t, len(e.Message), endpoint.MaxMessageBytes+3)
		require.False(t, strings.ContainsAny(e.Message, "\r\n"))
		require.GreaterOrEqual(t, e.RetryAfter, time.Duration(0))
		require.LessOrEqual(t, e.RetryAfter, retryafter.Most)
	})
}
