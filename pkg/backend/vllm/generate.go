package vllm

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// Generate runs one model call as a stream. See [backend.Backend].
//
// A 0.32 takes every field that it does not know. Older servers, other policies and gateways may refuse one of those that vLLM has
// beyond the protocol: the call is then made again without it, which costs nothing, and the log says so once.
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	for {
		sent := b.extra(r) // calls side by side may be refused for the same field
		resp, err := b.Client.Generate(ctx, r, o)
		if err == nil {
			if resp.Usage.PromptTokens > 0 && resp.Usage.CachedTokens < 0 {
				b.tell("cached tokens", "the server does not tell how many tokens of a prompt it had cached; start vLLM with --enable-prompt-tokens-details")
			}
			return resp, nil
		}
		field := unwanted(sent, err)
		if field == "" {
			return nil, err
		}
		b.tell(field, "the server refuses a field of the request, which is left away from now on")
	}
}

// unwanted names the one of the fields for which a request was refused; "" if it was refused for another reason.
func unwanted(sent []openaichat.Field, err error) string {
	e, ok := errors.AsType[*backend.Error](err)
	if !ok || e.Class != backend.InvalidRequest || e.Status != http.StatusBadRequest && e.Status != http.StatusUnprocessableEntity {
		return ""
	}
	for _, f := range sent {
		if strings.Contains(strings.ToLower(e.Message), f.Name) {
			return f.Name
		}
	}
	return ""
}

// tell remembers that the server lacks something, and logs it the first time.
func (b *Backend) tell(what, message string) {
	if b.lacks.Add("", what) {
		b.log.Warn(message, "endpoint", b.Endpoint(), "what", what)
	}
}
