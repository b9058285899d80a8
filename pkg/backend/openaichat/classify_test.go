package openaichat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
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
		e := rules(nil).classify(c.status, nil, []byte(c.body))
		assert.Equal(t, c.class, e.Class, "%d %s", c.status, c.body)
		assert.Equal(t, c.status, e.Status)
		assert.Contains(t, e.Message, c.says, "%d %s", c.status, c.body)
		assert.NotContains(t, e.Message, "SECRET")
		assert.NotContains(t, e.Message, "<html>")
	}
}

func TestMessagesAreOneBoundedLine(t *testing.T) {
	t.Parallel()
	e := rules(nil).classify(400, nil, []byte(`{"error":"a\nb `+strings.Repeat("é", 1000)+`"}`))
	assert.LessOrEqual(t, len(e.Message), endpoint.MaxMessageBytes+len("…"))
	assert.True(t, strings.HasPrefix(e.Message, "a b é"))
	assert.True(t, strings.HasSuffix(e.Message, "é…"))
}

func TestKeyIsNotToldInErrors(t *testing.T) {
	t.Parallel()
	c := New(Config{URL: endpoint.URL{Shown: "test://server"}, Key: "sk-secret", Dialect: Dialect{KeyHint: "THE_KEY"}})
	e := c.located(rules(nil).classify(401, nil, []byte(`{"error":{"message":"Incorrect API key provided: sk-secret"}}`)))
	assert.NotContains(t, e.Error(), "sk-secret")
	assert.Contains(t, e.Error(), "check THE_KEY")

	c = New(Config{URL: endpoint.URL{Shown: "test://server"}, Dialect: Dialect{KeyHint: "THE_KEY"}})
	assert.Contains(t, c.located(rules(nil).classify(401, nil, nil)).Error(), "set THE_KEY")
}
