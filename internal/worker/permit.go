package worker

import (
	"context"
	"errors"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

const (
	// streamsFor is how long an answer must stream before it proves that the server works again.
	streamsFor = 2 * time.Second
	// controlTokens limits the answer to a control request. Servers refuse smaller limits.
	controlTokens  = 16
	controlTimeout = 30 * time.Second
)

// sendFunc sends a request to the model server.
type sendFunc func(context.Context, *backend.Request, backend.Observer) (*backend.Response, error)

// permit lets one model call start. The breaker of the model learns how the call ended.
type permit struct {
	health  *health
	breaker *scheduler.Breaker
	ticket  *scheduler.Ticket
	streams *time.Timer // nil unless the call may end an outage and its answer has begun
}

// admit returns a permit for a call, or [agent.ErrPaused] if an outage began. During an outage, the breaker may want a control
// request first, which admit sends. job is the name with which the call waited in await: with another one, both could contradict each other
// without end.
func (h *health) admit(ctx context.Context, job string, r *backend.Request, send sendFunc) (*permit, error) {
	b := h.of(r.Model)
	p := &permit{health: h, breaker: b, ticket: b.Admit(time.Now(), job)}
	if p.ticket == nil {
		return nil, agent.ErrPaused
	}
	if p.ticket.Control {
		if err := control(ctx, send, r); err != nil {
			p.end(ctx, nil, err)
			return nil, agent.ErrPaused
		}
		if b.Controlled(time.Now(), p.ticket) {
			h.wake()
		}
	}
	return p, nil
}

// observed returns the observer of a permitted call. During an outage, an answer that streams long enough ends the outage.
func (p *permit) observed(o backend.Observer) backend.Observer {
	if p.breaker.Outage() == nil {
		return o
	}
	next := o.FirstToken
	o.FirstToken = func() {
		if next != nil {
			next()
		}
		p.streams = time.AfterFunc(streamsFor, func() {
			if p.breaker.Streams(time.Now(), p.ticket) {
				p.health.wake()
			}
		})
	}
	return o
}

// end reports the end of the call to the breaker.
func (p *permit) end(ctx context.Context, resp *backend.Response, err error) {
	if p.streams != nil {
		p.streams.Stop()
	}
	if p.breaker.End(time.Now(), p.ticket, callEnd(ctx, resp, err)) {
		p.health.wake()
	}
}

// control sends a request that a working server answers.
func control(ctx context.Context, send sendFunc, like *backend.Request) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	_, err := send(ctx, &backend.Request{
		ID: like.ID + "-control", Model: like.Model, Hints: backend.Hints{Session: "control"},
		Messages: []backend.Message{{Role: backend.RoleUser, Content: "Answer with OK."}},
		Sampling: backend.Sampling{MaxTokens: controlTokens}, SilenceTimeout: controlTimeout,
	}, backend.Observer{})
	return err
}

// callEnd classifies the end of a call for the breaker.
func callEnd(ctx context.Context, resp *backend.Response, err error) scheduler.CallEnd {
	switch {
	case err == nil && agent.Finished(resp):
		return scheduler.CallEnd{Verdict: scheduler.Answered}
	case err == nil:
		return scheduler.CallEnd{Verdict: scheduler.Failed, Kind: string(backend.Transient), Reason: "server ends answers without a reason"}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return scheduler.CallEnd{Verdict: scheduler.Failed, Kind: string(backend.Transient), Reason: "server takes longer than timeouts.turn"}
	case ctx.Err() != nil:
		return scheduler.CallEnd{}
	}
	kind, reason := describe(err)
	out := scheduler.CallEnd{Verdict: scheduler.Failed, Kind: kind, Reason: reason}
	e, ok := errors.AsType[*backend.Error](err)
	if !ok {
		return out
	}
	out.RetryAfter, out.Permanent, out.Foreign = e.RetryAfter, !e.Class.Retryable(), foreign(e)
	switch {
	case e.Class == backend.RateLimited:
		out.Verdict = scheduler.Throttled
	case e.Class == backend.Degenerate:
		out.Verdict = scheduler.Answered
	case e.Class == backend.ContextTooLong:
		out.Verdict = scheduler.NoVerdict
	case refuses(e):
		out.Verdict = scheduler.Refused
	}
	return out
}
