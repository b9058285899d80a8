package vllm

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// KeyHint names the variables of the API key.
const KeyHint = "BATCHAGENT_API_KEY or VLLM_API_KEY"

// Schemes are the URL schemes of this adapter.
var Schemes = map[string]endpoint.Scheme{
	"vllm":       {HTTP: "http", Port: "8000"},
	"vllm+http":  {HTTP: "http", Port: "8000"},
	"vllm+https": {HTTP: "https"},
}

// Config describes one vLLM server.
type Config = openaichat.Server

// Backend is one vLLM server. It implements [backend.Backend], [backend.TokenCounter] and [backend.LoadReporter].
type Backend struct {
	*openaichat.Client
	log *slog.Logger
	// lacks records the server's missing abilities, each logged once.
	lacks  endpoint.Refusals
	silent atomic.Int64 // answers to long prompts without cached tokens; far below 0 after one with them
}

// New returns a backend for a server. It does not connect.
func New(cfg Config) (*Backend, error) {
	b := &Backend{}
	var err error
	if b.Client, b.log, err = openaichat.Dial(cfg, Schemes, b.dialect(), "BATCHAGENT_API_KEY", "VLLM_API_KEY"); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Backend) dialect() openaichat.Dialect {
	return openaichat.Dialect{
		Capabilities: backend.Capabilities{
			Name:             "vllm",
			PrefixCache:      true,
			CachedUsage:      true,
			StructuredOutput: true,
			Priority:         true,
			MaxConcurrent:    256, // the server's own default of running requests
		},
		KeyHint: KeyHint,
		Extra:   b.extra,
	}
}

// extra returns vLLM's fields outside of the protocol.
func (b *Backend) extra(r *backend.Request) []openaichat.Field {
	fields := make([]openaichat.Field, 0, 6)
	if at := place(r.Hints); at != 0 {
		fields = append(fields, openaichat.Field{Name: "priority", Value: at})
	}
	if r.Hints.Session != "" {
		fields = append(fields, openaichat.Field{Name: "session_id", Value: r.Hints.Session})
	}
	if r.ID != "" {
		// The cut predecessor of a repeated call may still be running, and older engines refuse an ID that is in use.
		id := r.ID + "-" + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // unique, not secret
		fields = append(fields, openaichat.Field{Name: "request_id", Value: id})
	}
	return fields
}

// ranks is the number of places between two priorities.
const ranks = 1_000

// place returns vLLM's priority, where lower is sooner. Calls of the same priority follow their rank. Calls of priority 0 never
// pass those of other clients, which have 0 too.
func place(h backend.Hints) int {
	limit := math.MaxInt / (2 * ranks)
	return -max(min(h.Priority, limit), -limit)*ranks + max(min(h.Rank, ranks-1), 0)
}

// Ready requests the health route, which fails when the engine is dead. If a gateway does not have the route, Ready
// requests the list of models instead.
func (b *Backend) Ready(ctx context.Context) error {
	_, err := b.Fetch(ctx, http.MethodGet, "/health", nil)
	if e, ok := errors.AsType[*backend.Error](err); ok && e.Status == http.StatusNotFound {
		return b.Client.Ready(ctx)
	}
	return err
}

// CountTokens counts the tokens of a request's prompt, with its tools and the start of the answer. A prompt over the
// model's window is counted too.
func (b *Backend) CountTokens(ctx context.Context, r *backend.Request) (int, error) {
	return b.Tokenize(ctx, r)
}
