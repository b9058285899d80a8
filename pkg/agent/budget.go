package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Budget limits the usage of all agents of a batch together (I12).
type Budget interface {
	// Counts reports whether tokens are limited. If so, usage is estimated for servers that report none.
	Counts() bool
	// Reserve waits until the budget has room for a model call. The caller must call settle once, when the call has ended.
	// Nil usage means that the call broke off after its answer had begun; its usage is unknown, and the reservation counts
	// as used. settle returns when the usage is counted or ctx ends. An error of Reserve ends the attempt without a result,
	// at a turn boundary. Reserve also waits for the end of a pause; [Slots.Acquire] returns at once if w.Reserved is set.
	Reserve(ctx context.Context, w Wait, e Estimate) (settle func(ctx context.Context, used *batch.Usage), err error)
}

// Estimate is the usage that an agent expects of its next model call.
type Estimate struct {
	PromptTokens  int64
	MaxCompletion int64 // 0 if the answer has no limit
}

// reservation is the part of the batch's budget that one model call may use.
type reservation struct {
	settle func(context.Context, *batch.Usage)
	began  bool // the answer began to arrive
}

// reserve waits for room in the batch's budget.
func (a *attempt) reserve(s *scope, t nextTurn, req *backend.Request) (*reservation, error) {
	if a.session.Budget == nil {
		return &reservation{}, nil
	}
	defer since(time.Now(), &a.spent.held)
	settle, err := a.session.Budget.Reserve(s.pause, Wait{TurnsRemaining: t.remaining, Session: req.Hints.Session, Clock: s.clock}, Estimate{
		PromptTokens:  int64(promptBytes(req)/bytesPerTokenIn) + 1,
		MaxCompletion: int64(req.Sampling.MaxTokens),
	})
	if err != nil {
		return nil, fmt.Errorf("reserve budget: %w", err)
	}
	return &reservation{settle: settle}, nil
}

// settleCall settles the usage of a call. resp is nil if it failed.
func (a *attempt) settleCall(s *scope, p *reservation, req *backend.Request, resp *backend.Response) {
	defer since(time.Now(), &a.spent.held)
	switch {
	case resp != nil:
		a.countUsage(s, req, resp)
		if p.settle != nil {
			u := turnUsage(resp.Usage)
			p.settle(s.caller, &u)
		}
	case p.settle == nil:
	case p.began:
		p.settle(s.caller, nil)
	default:
		p.settle(s.caller, &batch.Usage{})
	}
}

// maxCallTokens limits the token counts that a server may report for one call.
const maxCallTokens = 1_000_000_000

// countTimeout limits one token count at the server.
const countTimeout = 5 * time.Second

// countUsage corrects the usage that a server reported: no count is negative, and the cached tokens are at most the
// prompt's. If tokens are limited or priced, a missing count is estimated.
func (a *attempt) countUsage(s *scope, req *backend.Request, resp *backend.Response) {
	u := &resp.Usage
	u.PromptTokens = min(max(u.PromptTokens, 0), maxCallTokens)
	u.CompletionTokens = min(max(u.CompletionTokens, 0), maxCallTokens)
	u.CachedTokens = min(u.CachedTokens, u.PromptTokens)
	if !a.tokensCount() {
		return
	}
	if u.PromptTokens == 0 {
		u.PromptTokens, u.Estimated = a.tokens(s, req, promptBytes(req)), true
	}
	if size := answerBytes(resp); u.CompletionTokens == 0 && size > 0 {
		answer := backend.Message{Role: backend.RoleUser, Content: resp.Message.Content}
		u.CompletionTokens, u.Estimated = int64(size-len(answer.Content))/bytesPerTokenIn, true
		if answer.Content != "" {
			u.CompletionTokens += a.tokens(s, &backend.Request{Model: req.Model, Messages: []backend.Message{answer}}, len(answer.Content))
		}
		u.CompletionTokens = max(u.CompletionTokens, 1)
	}
}

// tokensCount reports whether tokens are limited or priced.
func (a *attempt) tokensCount() bool {
	return a.def.budget != (batch.Budget{}) || a.def.prices != (batch.Prices{}) || a.session.Budget != nil && a.session.Budget.Counts()
}

// tokens counts a prompt at the server, or estimates it from its size.
func (a *attempt) tokens(s *scope, req *backend.Request, size int) int64 {
	estimated := int64(size/bytesPerTokenIn) + 1
	if a.counter == nil {
		return estimated
	}
	ctx, cancel := context.WithTimeoutCause(s.work, countTimeout, errCountTimeout)
	defer cancel()
	n, err := a.counter.CountTokens(ctx, req)
	if err != nil || n <= 0 || n > maxCallTokens {
		a.log.DebugContext(ctx, "the server did not count tokens; they are estimated from bytes", "error", err)
		return estimated
	}
	return int64(n)
}

var errCountTimeout = errors.New("counting tokens took longer than 5 s")

// promptBytes returns the size of a request's texts.
func promptBytes(r *backend.Request) int {
	n := 0
	for _, m := range r.Messages {
		n += messageBytes(m)
	}
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Parameters)
	}
	return n
}

func answerBytes(r *backend.Response) int { return messageBytes(r.Message) }

// imageBytes is the size of a text with as many tokens as an image.
const imageBytes = 4 << 10

func messageBytes(m backend.Message) int {
	n := len(m.Content) + len(m.ReasoningText())
	for _, p := range m.Parts {
		n += len(p.Text) + len(p.Other)
		if p.Image != "" {
			n += imageBytes
		}
	}
	for _, c := range m.ToolCalls {
		n += len(c.Name) + len(c.Arguments)
	}
	return n
}
