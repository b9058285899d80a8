package sglang

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/bits"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
	"github.com/batchagent/batchagent/pkg/backend/openaichat"
)

// KeyHint names the variables of the API key.
const KeyHint = "BATCHAGENT_API_KEY or SGLANG_API_KEY"

// Schemes are the URL schemes of this adapter.
var Schemes = map[string]endpoint.Scheme{
	"sglang":       {HTTP: "http", Port: "30000"},
	"sglang+http":  {HTTP: "http", Port: "30000"},
	"sglang+https": {HTTP: "https"},
}

// Declared are the adapter's capabilities.
var Declared = backend.Capabilities{
	Name:             "sglang",
	PrefixCache:      true,
	CachedUsage:      true,
	StructuredOutput: true,
	Priority:         true,
	MaxConcurrent:    256, // as for vLLM; the server's own limit depends on its memory, and its queue has none
}

// Config describes one SGLang server.
type Config = openaichat.Server

// Backend is one SGLang server. It implements [backend.Backend], [backend.TokenCounter], [backend.LoadReporter] and
// [backend.SessionCloser].
type Backend struct {
	*openaichat.Client
	log      *slog.Logger
	served   served
	settings atomic.Pointer[settings] // nil until read
	plain    atomic.Bool              // the server refuses requests with a priority
	blind    atomic.Bool              // the missing metrics were already logged
	aborts   background
	closings background
}

// New returns a backend for a server. It does not connect.
func New(cfg Config) (*Backend, error) {
	b := &Backend{aborts: background{limit: maxAborts}, closings: background{limit: maxClosings}}
	var err error
	b.Client, b.log, err = openaichat.Dial(cfg, Schemes, openaichat.Dialect{
		Capabilities: Declared,
		KeyHint:      KeyHint,
		Extra:        b.extra,
		Class:        class,
		Clamp:        true,
	}, "BATCHAGENT_API_KEY", "SGLANG_API_KEY")
	if err != nil {
		return nil, err
	}
	return b, nil
}

// extra returns SGLang's fields outside of the protocol. It always sends the priority, because a missing one sorts
// last: a plain 0 must come before -1.
func (b *Backend) extra(r *backend.Request) []openaichat.Field {
	fields, set := []openaichat.Field{{Name: "rid", Value: r.ID}}, b.set()
	if set.Sessions && r.Hints.Session != "" {
		fields = append(fields, openaichat.Field{Name: "session_id", Value: r.Hints.Session})
	}
	if b.plain.Load() {
		return fields
	}
	priority := set.place(r.Hints)
	if set.LowFirst {
		priority = -priority
	}
	return append(fields, openaichat.Field{Name: "priority", Value: priority})
}

const (
	// ranks is the number of places between two priorities, if no call interrupts another.
	ranks = 1_000
	// defaultStep is the server's default of settings.Step.
	defaultStep = 10
)

// place returns SGLang's priority, where higher is sooner. Calls of the same priority follow their rank. The server interrupts a
// running call for one that is a step sooner, so calls of one priority stay within a step: their places are powers of two.
func (s settings) place(h backend.Hints) int {
	step, rank := cmp.Or(s.Step, defaultStep), bits.Len(uint(max(h.Rank, 0)))
	if s.NoInterrupts {
		step, rank = ranks, max(h.Rank, 0)
	}
	step = max(min(step, ranks), 1)
	limit := math.MaxInt32 / ranks
	return max(min(h.Priority, limit), -limit)*step - min(rank, step-1)
}

// class recognizes SGLang's errors by their message, because their type and often their status are too general.
func class(e openaichat.Refusal) backend.Class {
	words := strings.ToLower(e.Message)
	switch {
	case strings.Contains(words, "exceeds the maximum allowed length"): // the limit of the KV pool, which may be below the window
		return backend.ContextTooLong
	case strings.Contains(words, priorityRefused), strings.Contains(words, "duplicate request id"):
		return backend.Transient // the next call has no priority, and another ID
	case strings.Contains(words, "request running timeout"):
		return backend.Transient
	case strings.Contains(words, "lora adapter") && e.Status < http.StatusInternalServerError:
		return backend.UnknownModel
	}
	return ""
}

// priorityRefused is in the error of a server that was started with --abort-on-priority-when-disabled.
const priorityRefused = "using priority is disabled"

// settings are the values that the adapter uses from the server's page of settings.
type settings struct {
	PromptLimit int  `json:"max_req_input_len"`    // tokens
	KVTokens    int  `json:"max_total_num_tokens"` // of the whole cache
	LowFirst    bool `json:"schedule_low_priority_values_first"`
	// Step is the difference of priorities from which a call interrupts a running one, unless NoInterrupts is set.
	Step         int  `json:"priority_scheduling_preemption_threshold"`
	NoInterrupts bool `json:"disable_priority_preemption"`
	Sessions     bool `json:"enable_session_radix_cache"` // the cache keeps the conversations of open sessions
}

// set returns the settings that were last read.
func (b *Backend) set() settings {
	if s := b.settings.Load(); s != nil {
		return *s
	}
	return settings{}
}

// learn reads the server's settings. If the server refuses, learn returns zero settings. The log line about an
// unreadable page does not quote it, because the page contains keys.
func (b *Backend) learn(ctx context.Context) settings {
	var s settings
	page, err := b.Fetch(ctx, http.MethodGet, "/server_info", nil)
	if err == nil && json.Unmarshal(page, &s) != nil {
		s = settings{}
		b.log.Warn("/server_info is not readable; the prompt limit and the size of the KV cache are not known", "endpoint", b.Endpoint())
	}
	if err == nil {
		b.settings.Store(&s)
	}
	return s
}

// Models lists the served models. A model's window is the prompt limit if that is smaller: a KV cache smaller than the
// model's context limits prompts.
func (b *Backend) Models(ctx context.Context) ([]backend.Model, error) {
	models, err := b.Client.Models(ctx)
	if err != nil {
		return nil, err
	}
	b.served.asked(models, nil)
	limit := b.learn(ctx).PromptLimit
	for i := range models {
		if limit > 0 && (models[i].MaxModelLen == 0 || limit < models[i].MaxModelLen) {
			models[i].MaxModelLen = limit
		}
	}
	return models, nil
}

// Ready requests the cheap route /ready. /health would generate a token and take a second. A server without the route,
// such as the optional frontend in Rust, must list its models instead.
func (b *Backend) Ready(ctx context.Context) error {
	_, err := b.Fetch(ctx, http.MethodGet, "/ready", nil)
	if e, ok := errors.AsType[*backend.Error](err); ok && e.Status == http.StatusNotFound {
		return b.Client.Ready(ctx)
	}
	return err
}

// CountTokens counts the tokens of a request's prompt, with its tools and the start of the answer. A prompt over the
// model's window is counted too.
func (b *Backend) CountTokens(ctx context.Context, r *backend.Request) (int, error) {
	call, err := b.prepare(ctx, r)
	if err != nil {
		return 0, err
	}
	return b.Tokenize(ctx, call)
}

// Close waits for running aborts and ends of sessions, and closes idle connections.
func (b *Backend) Close() error {
	b.aborts.close()
	b.closings.close()
	return b.Client.Close()
}
