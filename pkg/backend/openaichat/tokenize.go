package openaichat

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Tokenize counts the tokens of a request's prompt, including its tools and the start of the answer. It uses the
// /tokenize route of vLLM and SGLang, which is outside of the protocol.
func (c *Client) Tokenize(ctx context.Context, r *backend.Request) (int, error) {
	model, err := c.ModelOr(ctx, r.Model)
	if err != nil {
		return 0, err
	}
	prompt, err := EncodePrompt(model, r)
	if err != nil {
		return 0, err
	}
	body, err := c.Fetch(ctx, http.MethodPost, "/tokenize", prompt)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Count *int `json:"count"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Count == nil {
		return 0, fmt.Errorf("count tokens at %s: the answer of /tokenize has no count", c.url.Shown)
	}
	return *answer.Count, nil
}
