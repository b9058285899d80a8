package openaichat

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Each body comes from a server or a gateway.
func TestClassifyReadsRareWordings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		class  backend.Class
		window int
		says   string
	}{
		{422, "{\"error\":\"Input validation error: `inputs` must have less than 1024 tokens. Given: 3411\",\"error_type\":\"validation\"}", backend.ContextTooLong, 1024, "less than"},
		{400, `{"base_resp":{"status_code":1039,"status_msg":"invalid params, context window exceeds limit (2013)"}}`, backend.ContextTooLong, 0, "context window"},
		{400, `{"error":{"message":"prompt token count of 70000 exceeds the limit of 64000","code":"model_max_prompt_tokens_exceeded"}}`, backend.ContextTooLong, 64000, "70000"},
		{400, `{"message":"The input [9000 tokens] is too long: session_len 8192","object":"error"}`, backend.ContextTooLong, 8192, "session_len"},
		{400, `{"error":{"message":"Range of input length should be [1, 30720]","code":"invalid_parameter_error"}}`, backend.ContextTooLong, 30720, "30720"},
		{400, `{"error":{"code":"1261","message":"Prompt exceeds max length"}}`, backend.ContextTooLong, 0, "max length"},
		{500, `{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}`, backend.ContextTooLong, 0, "exceeded"},
		{400, `{"error":{"message":"max_tokens is too large: 300. This model supports at most 256 completion tokens.","param":"max_tokens"}}`, backend.InvalidRequest, 0, "too large"},
		{400, `{"error":{"message":"The name of the tool exceeds the maximum length of 64"}}`, backend.InvalidRequest, 0, "name"},
		{400, `{"result":{"problem":[{"Reason":"the oven is cold"}]}}`, backend.InvalidRequest, 0, "the oven is cold"},
		{412, `{"error":{"message":"Account acme is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.","code":"PRECONDITION_FAILED"}}`, backend.QuotaExhausted, 0, "suspended"},
		{403, `{"error":{"message":"Key limit exceeded (total limit).","code":403}}`, backend.QuotaExhausted, 0, "Key limit"},
		{400, `{"error":{"message":"Budget has been exceeded! Current cost: 2.1, Max budget: 2.0","type":"budget_exceeded"}}`, backend.QuotaExhausted, 0, "Budget"},
		{421, `Misdirected Request`, backend.Transient, 0, "Misdirected"},
		{424, `{"message":"Model is getting ready"}`, backend.Transient, 0, "ready"},
		{403, `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}`, backend.RateLimited, 0, "rate limit"},
		{404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, backend.UnknownModel, 0, "deployment"},
	} {
		e := rules(nil).classify(c.status, nil, []byte(c.body))
		assert.Equal(t, c.class, e.Class, "%d %s", c.status, c.body)
		assert.Equal(t, c.window, e.Window, "%d %s", c.status, c.body)
		assert.Contains(t, e.Message, c.says)
	}
}
