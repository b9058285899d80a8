package openaichat

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/retryafter"
)

// Any error body gives a class and a short line of text.
func FuzzErrorBody(f *testing.F) {
	for _, body := range []string{
		"", "<html>too large</html>", "null", "[]", `{"error":"a"}`, `{"error":{"message":"m","type":"t","code":429,"param":"p"}}`,
		`[{"error":{"code":429,"message":"Resource exhausted","details":[{"retryDelay":"7s"}]}}]`, `{"detail":[{"msg":"x","loc":["body","messages"]}]}`,
		`{"error":{"message":"x","metadata":{"raw":"{\"error\":{\"message\":\"y\"}}"}}}`, "maximum context length is 4096 tokens",
	} {
		f.Add(400, body, "7")
		f.Add(429, body, "Mon, 30 Nov 2026 06:00:00 GMT")
	}
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		e := rules(nil).classify(status, http.Header{"Retry-After": {after}, "X-Ratelimit-Reset-Tokens": {after}}, []byte(body))
		require.NotEmpty(t, e.Class)
		require.LessOrEqual(t, len(e.Message), 2_000)
		require.False(t, strings.ContainsAny(e.Message, "\r\n"), "%q", e.Message)
		require.True(t, utf8.ValidString(e.Message) || !utf8.ValidString(body))
		require.GreaterOrEqual(t, e.RetryAfter, 0*e.RetryAfter)
		require.LessOrEqual(t, e.RetryAfter, retryafter.Most)
		_ = e.Error()
	})
}

// Any list of models gives plausible names and sizes, or nothing.
func FuzzCards(f *testing.F) {
	f.Add([]byte(`{"object":"list","data":[{"id":"m","max_model_len":4096,"created":1}]}`))
	f.Add([]byte(`[{"id":"m","context_length":"4096"}]`))
	f.Add([]byte(`{"models":[{"name":"m","model":"m"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		cards, ok := parseCards(body)
		if !ok {
			require.Empty(t, cards)
		}
	})
}
