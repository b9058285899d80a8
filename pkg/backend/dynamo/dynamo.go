package dynamo

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// KeyHint names the variable of the API key.
const KeyHint = "BATCHAGENT_API_KEY"

// Schemes are the URL schemes of this adapter.
var Schemes = map[string]endpoint.Scheme{
	"dynamo":       {HTTP: "http", Port: "8000"},
	"dynamo+http":  {HTTP: "http", Port: "8000"},
	"dynamo+https": {HTTP: "https"},
}

// Declared are the adapter's capabilities. A frontend has one or more workers; the capabilities assume one.
var Declared = backend.Capabilities{
	Name:             "dynamo",
	PrefixCache:      true,
	CachedUsage:      true,
	StructuredOutput: true,
	Priority:         true,
	MaxConcurrent:    256, // an engine's default of running requests
}

// sessionHeader identifies the turns of an agent, for a frontend with session affinity. No parent is sent, because it
// would bind all agents of a batch to one worker.
const sessionHeader = "x-dynamo-session-id"

// Config describes one frontend.
type Config = openaichat.Server

// Backend is one Dynamo frontend. It implements [backend.Backend] and [backend.LoadReporter].
type Backend struct {
	*openaichat.Client
	log   *slog.Logger
	usage usageCheck
}

// New returns a backend for a frontend. It does not connect.
func New(cfg Config) (*Backend, error) {
	b := &Backend{}
	var err error
	b.Client, b.log, err = openaichat.Dial(cfg, Schemes, openaichat.Dialect{
		Capabilities: Declared,
		KeyHint:      KeyHint,
		Extra:        extra,
		Header:       header,
		Dispatch:     true,
		Clamp:        true,
	}, "BATCHAGENT_API_KEY")
	if err != nil {
		return nil, err
	}
	return b, nil
}

// agentHints are nvext.agent_hints. An unknown key at any level of nvext fails the request.
type agentHints struct {
	Priority int32  `json:"priority,omitempty"` // higher is sooner
	OSL      uint32 `json:"osl,omitempty"`      // expected tokens of the answer
}

// extra returns Dynamo's only field outside of the protocol.
func extra(r *backend.Request) []openaichat.Field {
	hints := agentHints{
		Priority: int32(max(min(r.Hints.Priority, 1<<31-1), -1<<31)), //nolint:gosec // limited
		OSL:      uint32(max(min(r.Hints.OutputTokens, 1<<31-1), 0)), //nolint:gosec // limited
	}
	if hints == (agentHints{}) {
		return nil
	}
	return []openaichat.Field{{Name: "nvext", Value: map[string]agentHints{"agent_hints": hints}}}
}

func header(r *backend.Request) http.Header {
	h := http.Header{}
	if r.Hints.Session != "" {
		h.Set(sessionHeader, r.Hints.Session)
	}
	return h
}

// reasoningField is the server's name for the reasoning of a message.
const reasoningField = "reasoning_content"

// Generate runs one model call as a stream. See [backend.Backend].
func (b *Backend) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	call := *r
	call.Messages = openaichat.ReasoningAs(reasoningField, openaichat.Repaired(r.Messages))
	resp, err := b.Client.Generate(ctx, &call, o)
	if err != nil {
		return nil, err
	}
	if !b.usage.plausible(&call, resp.Usage) {
		b.log.Info("the usage of a call is implausible and is not counted; the request probably moved to another worker",
			"endpoint", b.Endpoint(), "request", r.ID, "prompt_tokens", resp.Usage.PromptTokens)
		resp.Usage = backend.Usage{CachedTokens: -1, CompletionTokens: resp.Usage.CompletionTokens}
	}
	return resp, nil
}

// Ready checks each model, because the frontend's health does not include its workers. One ready model is enough.
func (b *Backend) Ready(ctx context.Context) error {
	cards, err := b.Cards(ctx)
	if err != nil {
		return err
	}
	if len(cards) == 0 {
		return &backend.Error{Class: backend.Overloaded, Endpoint: b.Endpoint(), Status: http.StatusOK, Message: "no worker serves a model"}
	}
	var first error
	for _, c := range cards {
		_, err := b.Fetch(ctx, http.MethodGet, "/v1/models/"+url.PathEscape(c.ID)+"/ready", nil)
		if e, ok := errors.AsType[*backend.Error](err); err == nil || ok && e.Status == http.StatusNotFound {
			return nil // a frontend without the route lists only served models
		}
		first = cmp.Or(first, err)
	}
	return first
}
