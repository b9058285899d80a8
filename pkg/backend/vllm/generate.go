package vllm

import (
	"context"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Generate runs one model call as a stream. See [backend.Backend].
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	resp, err := b.Client.Generate(ctx, r, o)
	if err == nil && resp.Usage.PromptTokens > 0 && resp.Usage.CachedTokens < 0 {
		b.tell("cached tokens", "the server does not report how many tokens of a prompt it had cached; start vLLM with --enable-prompt-tokens-details")
	}
	return resp, err
}

// tell remembers that the server lacks something, and logs it the first time.
func (b *Backend) tell(what, message string) {
	if b.lacks.Add("", what) {
		b.log.Warn(message, "endpoint", b.Endpoint(), "what", what)
	}
}
