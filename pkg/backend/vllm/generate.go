package vllm

import (
	"context"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Generate runs one model call as a stream. See [backend.Backend].
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	resp, err := b.Client.Generate(ctx, r, o)
	if err == nil {
		b.watchCached(resp.Usage)
	}
	return resp, err
}

const (
	// longPrompt is more tokens than a block of any prefix cache holds.
	longPrompt = 256
	// silentAnswers is the number of answers to long prompts without cached tokens after which the server's flag for
	// them counts as missing.
	silentAnswers = 20
)

// watchCached logs that the server reports no cached tokens. vLLM omits them from an answer without cached tokens, so a
// few such answers prove nothing.
func (b *Backend) watchCached(u backend.Usage) {
	switch {
	case u.CachedTokens >= 0:
		b.silent.Store(-1 << 30)
	case u.PromptTokens >= longPrompt && b.silent.Add(1) == silentAnswers:
		b.tell("cached tokens", "the server does not report how many tokens of a prompt it had cached; start vLLM with --enable-prompt-tokens-details")
	}
}

// tell records that the server misses an ability, and logs it the first time.
func (b *Backend) tell(what, message string) {
	if b.lacks.Add("", what) {
		b.log.Warn(message, "endpoint", b.Endpoint(), "what", what)
	}
}
