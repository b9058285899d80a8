package openaichat

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	cases := []struct {
		status int
		body   string
		class  backend.Class
		says   string
	}{
		{401, `{"error":"Unauthorized"}`, backend.Auth, "Unauthorized"},
		{403, ``, backend.Auth, "Forbidden"},
		{402, `{"error":{"message":"pay"}}`, backend.QuotaExhausted, "pay"},
		{404, `{"error":{"message":"The model does not exist.","type":"NotFoundError","param":"model","code":404}}`, backend.UnknownModel, "exist"},
		{404, `{"error":{"message":"Model not found: x","code":404}}`, backend.UnknownModel, "x"},
		{404, `{"error":{"message":"gone","code":"model_not_found"}}`, backend.UnknownModel, "gone"},
		{400, `{"error":{"message":"gone","code":"model_not_found"}}`, backend.UnknownModel, "gone"},
		{404, `{"detail":"Not Found"}`, backend.InvalidRequest, "base path"},
		{404, `<html>the model railway</html>`, backend.InvalidRequest, "Not Found: no such route"},
		{307, ``, backend.InvalidRequest, "redirects"},
		{400, `{"error":{"message":"too long","param":"input_tokens","code":400}}`, backend.ContextTooLong, "too long"},
		{400, `{"object":"error","message":"This model's maximum context length is 10 tokens.","type":"BadRequestError","param":null,"code":400}`,
			backend.ContextTooLong, "maximum"},
		{400, `{"object":"error","message":"The input (9 tokens) is longer than the model's context length (8 tokens).","code":400}`,
			backend.ContextTooLong, "longer"},
		{400, `{"error":{"message":"x","code":"context_length_exceeded"}}`, backend.ContextTooLong, "x"},
		{400, `{"error":{"message":["a","b"],"code":null}}`, backend.InvalidRequest, "a, b"},
		{422, `{"detail":[{"loc":["body","stop"],"msg":"too many","input":"SECRET"}]}`, backend.InvalidRequest, "stop: too many"},
		{400, `{"error":{"message":"1 error: {'loc': 'body', 'input': 'SECRET'}"}}`, backend.InvalidRequest, "'loc': 'body' …"},
		{405, `{"detail":"Method Not Allowed"}`, backend.InvalidRequest, "Method"},
		{413, ``, backend.InvalidRequest, "Too Large"},
		{408, ``, backend.Transient, "Timeout"},
		{409, ``, backend.Transient, "Conflict"},
		{425, ``, backend.Transient, "Early"},
		{429, `{"error":{"message":"slower","code":"rate_limit_exceeded"}}`, backend.RateLimited, "slower"},
		{429, ``, backend.RateLimited, "Too Many"},
		{429, `{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}`, backend.QuotaExhausted, "money"},
		{429, `{"error":{"message":"no money","code":"credit_balance_exhausted"}}`, backend.QuotaExhausted, "money"},
		{500, `{"error":{"message":"maximum context length bookkeeping broke","code":500}}`, backend.Transient, "broke"},
		{502, `<html>bad gateway</html>`, backend.Transient, "Bad Gateway"},
		{504, `upstream timed out`, backend.Transient, "upstream timed out"},
		{520, ``, backend.Transient, ""},
		{501, `{"error":{"message":"not here"}}`, backend.InvalidRequest, "not here"},
		{503, `{"error":{"message":"busy","type":"Service Unavailable","param":null,"code":503}}`, backend.Overloaded, "busy"},
		{529, `{"message":"Service temporarily unavailable","type":"x","code":529}`, backend.Overloaded, "temporarily"},
		{503, `{"error":{"message":"x","code":"slow_down"}}`, backend.Overloaded, "x"},
		{400, `{"error":{"message":{"odd":1},"code":[1]}}`, backend.InvalidRequest, "odd"},
		{400, `[]`, backend.InvalidRequest, "[]"},
	}
	for _, c := range cases {
		e := classify(c.status, nil, []byte(c.body))
		assert.Equal(t, c.class, e.Class, "%d %s", c.status, c.body)
		assert.Equal(t, c.status, e.Status)
		assert.Contains(t, e.Message, c.says, "%d %s", c.status, c.body)
		assert.NotContains(t, e.Message, "SECRET")
		assert.NotContains(t, e.Message, "<html>")
	}
}

func TestMessagesAreOneBoundedLine(t *testing.T) {
	t.Parallel()
	e := classify(400, nil, []byte(`{"error":"a\nb `+strings.Repeat("é", 1000)+`"}`))
	assert.LessOrEqual(t, len(e.Message), maxMessageBytes+len("…"))
	assert.True(t, strings.HasPrefix(e.Message, "a b é"))
	assert.True(t, strings.HasSuffix(e.Message, "é…"))
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		header map[string]string
		want   time.Duration
	}{
		{nil, 0},
		{map[string]string{"Retry-After": "7"}, 7 * time.Second},
		{map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		{map[string]string{"Retry-After": "7", "Retry-After-Ms": "20"}, 20 * time.Millisecond},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT"}, 30 * time.Second},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT", "Date": "Mon, 23 Nov 2026 12:00:20 GMT"}, 10 * time.Second},
		{map[string]string{"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0},
		{map[string]string{"Retry-After": "-3"}, 0},
		{map[string]string{"Retry-After": "NaN"}, 0},
		{map[string]string{"Retry-After": "1e300"}, maxRetryAfter},
		{map[string]string{"Retry-After": "soon"}, 0},
	}
	for _, c := range cases {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		assert.Equal(t, c.want, retryAfter(h, now), "%v", c.header)
	}
}

func TestKeyIsNotToldInErrors(t *testing.T) {
	t.Parallel()
	c := New(Config{URL: URL{Shown: "test://server"}, Key: "sk-secret", Dialect: Dialect{KeyHint: "THE_KEY"}})
	e := c.located(classify(401, nil, []byte(`{"error":{"message":"Incorrect API key provided: sk-secret"}}`)))
	assert.NotContains(t, e.Error(), "sk-secret")
	assert.Contains(t, e.Error(), "check THE_KEY")

	c = New(Config{URL: URL{Shown: "test://server"}, Dialect: Dialect{KeyHint: "THE_KEY"}})
	assert.Contains(t, c.located(classify(401, nil, nil)).Error(), "set THE_KEY")
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	schemes := map[string]Scheme{"x": {HTTP: "http", Port: "8000"}, "x+https": {HTTP: "https"}}
	cases := []struct {
		raw  string
		want URL
		err  string
	}{
		{"x://127.0.0.1", URL{"x://127.0.0.1", "http://127.0.0.1:8000", false}, ""},
		{"x://gpu-1:9000/", URL{"x://gpu-1:9000", "http://gpu-1:9000", true}, ""},
		{"x://[::1]", URL{"x://[::1]", "http://[::1]:8000", false}, ""},
		{"x://localhost/v1/", URL{"x://localhost/v1", "http://localhost:8000", false}, ""},
		{"x+https://host/prefix/v1", URL{"x+https://host/prefix/v1", "https://host/prefix", false}, ""},
		{"X://h", URL{"x://h", "http://h:8000", true}, ""},
		{"x://user:hunter2@host", URL{}, "environment: THE_KEY"},
		{"x://user:hunter%2@host", URL{}, "environment"},
		{"x://host?key=hunter2", URL{}, "environment"},
		{"x://host#hunter2", URL{}, "environment"},
		{"x://", URL{}, "names no host"},
		{"x:host", URL{}, "names no host"},
		{"x://host:80a", URL{}, "invalid port"},
		{"y://host", URL{}, "unknown scheme"},
		{"", URL{}, "unknown scheme"},
	}
	for _, c := range cases {
		got, err := ParseURL(c.raw, schemes, "THE_KEY")
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.raw)
			assert.NotContains(t, err.Error(), "hunter")
			continue
		}
		require.NoError(t, err, c.raw)
		assert.Equal(t, c.want, got, c.raw)
	}
}
