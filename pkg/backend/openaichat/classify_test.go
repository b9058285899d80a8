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
		{404, `{"detail":"Not Found"}`, backend.Transient, "base path"},
		{404, `<html>the model railway</html>`, backend.Transient, "web page: no such route"},
		{404, `{"error":{"message":"No endpoints found that support tool use.","code":404}}`, backend.InvalidRequest, "tool use."},
		{498, `{"error":{"message":"Flex tier capacity exceeded","type":"capacity_exceeded"}}`, backend.Overloaded, "capacity"},
		{400, `{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed"}}`, backend.Transient, "Failed"},
		{400, `{"error":{"message":"Failed to generate JSON.","code":"json_validate_failed"}}`, backend.Transient, "Failed"},
		{400, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"oven is cold\"}}"}}}`, backend.Transient, "Provider returned error: oven is cold"},
		{400, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"This model's maximum context length is 10 tokens."}}}`, backend.ContextTooLong, "maximum"},
		{400, `{"error":{"message":"Your credit balance is too low to access the API","type":"invalid_request_error"}}`, backend.QuotaExhausted, "credit"},
		{403, `{"error":{"message":"Insufficient balance"}}`, backend.QuotaExhausted, "balance"},
		{400, `{"success":false,"errors":[{"code":7009,"message":"upstream is away"}]}`, backend.InvalidRequest, "upstream is away"},
		{422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":"SECRET"}]},"code":null}`, backend.InvalidRequest, "stream_options: Extra"},
		{502, `<html><head><title>502 Bad &amp; Gateway</title></head></html>`, backend.Transient, `titled "502 Bad & Gateway"`},
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
		{413, ``, backend.ContextTooLong, "client_max_body_size"},
		{408, ``, backend.Transient, "Timeout"},
		{409, ``, backend.Transient, "Conflict"},
		{425, ``, backend.Transient, "Early"},
		{429, `{"error":{"message":"slower","code":"rate_limit_exceeded"}}`, backend.RateLimited, "slower"},
		{429, ``, backend.RateLimited, "Too Many"},
		{429, `{"error":{"message":"You exceeded your current quota. Please retry in 9.5s.","status":"RESOURCE_EXHAUSTED"}}`, backend.RateLimited, "9.5s"},
		{429, `{"error":{"message":"You exceeded your current quota","details":[{"violations":[{"quotaId":"RequestsPerDayPerModel"}]},{"retryDelay":"9s"}]}}`, backend.QuotaExhausted, "quota"},
		{429, `{"error":{"message":"Limit on tokens per day (TPD). Please try again in 57m36s."}}`, backend.RateLimited, "57m36s"},
		{429, `{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}`, backend.QuotaExhausted, "money"},
		{429, `{"error":{"message":"no money","code":"credit_balance_exhausted"}}`, backend.QuotaExhausted, "money"},
		{500, `{"error":{"message":"maximum context length bookkeeping broke","code":500}}`, backend.Transient, "broke"},
		{502, `<html>bad gateway</html>`, backend.Transient, "web page"},
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

// Each wording comes from a server or a gateway, with its window.
func TestClassifyRecognisesOverflow(t *testing.T) {
	t.Parallel()
	cases := []struct {
		status int
		body   string
		window int
	}{
		{400, `{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.","code":"context_length_exceeded"}}`, 8192},
		{400, `{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}`, 4096},
		{400, `{"error":{"code":400,"message":"request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error"}}`, 4096},
		{400, `{"error":"The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= n_ctx: 4096)."}`, 4096},
		{400, `{"object":"error","message":"Prompt contains 40122 tokens and 0 draft tokens, too large for model with 32768 maximum context length","code":"3051"}`, 32768},
		{422, "{\"error\":{\"message\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 300 `max_new_tokens`\",\"param\":\"max_tokens\"}}", 8193},
		{400, `[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]`, 1048576},
		{400, `{"error":{"code":400,"message":"The input token count is 1200000 but model only supports up to 1048576.","status":"INVALID_ARGUMENT"}}`, 1048576},
		{400, `{"error":{"message":"This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (149000 of text input, 1000 in the output).","code":400}}`, 131072},
		{400, `{"error":{"message":"prompt is too long: 209000 tokens > 200000 maximum","type":"invalid_request_error"}}`, 200000},
		{400, "{\"error\":{\"message\":\"input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, decrease input length\"}}", 200000},
		{400, `{"message":"Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192","code":"context_length_exceeded"}`, 8192},
		{400, `{"object":"error","message":"The input (5000 tokens) is longer than the model's context length (4096 tokens).","type":"BadRequestError","code":400}`, 4096},
		{400, `{"object":"error","message":"Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5300 tokens: 5000 tokens from the input messages and 300 tokens for the completion."}`, 4096},
		{400, `{"error":{"message":"litellm.ContextWindowExceededError: litellm.BadRequestError: prompt is too large","code":"400"}}`, 0},
		{400, `{"error":{"message":"Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.","code":"context_length_exceeded"}}`, 272000},
		{400, `{"error":{"message":"This model's maximum prompt length is 131072 but the request contains 150000 tokens."}}`, 131072},
		{400, `{"message":"Input is too long for requested model."}`, 0},
		{400, `{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."}`, 4081},
		{413, `<html><head><title>413 Request Entity Too Large</title></head></html>`, 0},
		{429, `{"error":{"message":"Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 30601."}}`, 0},
		{500, `{"error":{"code":500,"message":"context shift is disabled","type":"server_error"}}`, 0},
		{500, `{"error":"litellm.ContextWindowExceededError: too long"}`, 0},
	}
	for _, c := range cases {
		e := rules(nil).classify(c.status, nil, []byte(c.body))
		assert.Equal(t, backend.ContextTooLong, e.Class, "%s", c.body)
		assert.Equal(t, c.window, e.Window, "%s", c.body)
		assert.NotEmpty(t, e.Message)
	}
	for _, body := range []string{
		`{"error":{"message":"Invalid 'max_tokens': must be at least 1"}}`,
		`{"error":{"message":"the image is too large"}}`,
		`{"error":{"message":"tool name is too long"}}`,
	} {
		assert.Equal(t, backend.InvalidRequest, rules(nil).classify(400, nil, []byte(body)).Class, body)
	}
}

func TestMessagesAreOneLimitedLine(t *testing.T) {
	t.Parallel()
	e := rules(nil).classify(400, nil, []byte(`{"error":"a\nb `+strings.Repeat("é", 1000)+`"}`))
	assert.LessOrEqual(t, len(e.Message), endpoint.MaxMessageBytes+len("…"))
	assert.True(t, strings.HasPrefix(e.Message, "a b é"))
	assert.True(t, strings.HasSuffix(e.Message, "é…"))
}

func TestErrorsDoNotContainTheKey(t *testing.T) {
	t.Parallel()
	c := New(Config{URL: endpoint.URL{Shown: "test://server"}, Key: "sk-secret", Dialect: Dialect{KeyHint: "THE_KEY"}})
	e := c.located(rules(nil).classify(401, nil, []byte(`{"error":{"message":"Incorrect API key provided: sk-secret"}}`)))
	assert.NotContains(t, e.Error(), "sk-secret")
	assert.Contains(t, e.Error(), "check THE_KEY")

	c = New(Config{URL: endpoint.URL{Shown: "test://server"}, Dialect: Dialect{KeyHint: "THE_KEY"}})
	assert.Contains(t, c.located(rules(nil).classify(401, nil, nil)).Error(), "set THE_KEY")
}
