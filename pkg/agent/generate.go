package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// How long a turn waits before its model call is made again. A dropped connection or a lone 500 is repeated at once
// and then ever more slowly; a server that is overloaded gets time from the start.
const (
	faultBackoff  = 40 * time.Millisecond
	faultFactor   = 8
	loadBackoff   = 500 * time.Millisecond
	loadFactor    = 2
	maxBackoff    = 30 * time.Second
	maxRetryAfter = 5 * time.Minute
)

// errTurnTimeout is the cause with which a turn's time limit ends its model call.
var errTurnTimeout = errors.New("the model call did not end within timeouts.turn")

// generate makes the model call of one turn, and makes it again after transient faults. Each call holds a slot, the
// waits between them do not (I8). Tool calls that arrive in the stream start at once.
func (a *run) generate(ctx context.Context, mayCall bool, calls *calls) (*backend.Response, error) {
	fault, load := newBackoff(faultBackoff, faultFactor), newBackoff(loadBackoff, loadFactor)
	for retries := 0; ; retries++ {
		req := a.request(mayCall)
		resp, err := a.call(ctx, req, calls)
		if err == nil {
			return resp, nil
		}
		calls.abandon()
		var failed *backend.Error
		if ctx.Err() != nil || !errors.As(err, &failed) {
			return nil, err
		}
		if failed.Class == backend.Degenerate && req.Schema == nil {
			e := batch.NewError(batch.OutputInvalid, "the model wrote white space without end, also without an enforced format")
			e.Raw = cut(failed.Partial)
			return nil, e
		}
		if e := permanent(failed); e != nil {
			return nil, e
		}
		if failed.Class == backend.Degenerate {
			// The schema stands in the prompt too; only its enforcement is dropped.
			a.plain = true
			continue
		}
		if retries >= a.program.plan.MaxRetries {
			return nil, batch.NewError(batch.BackendUnavailable,
				fmt.Sprintf("the server failed %d times in a row: %s", retries+1, failed))
		}
		wait := fault
		if failed.Class == backend.RateLimited || failed.Class == backend.Overloaded {
			wait = load
		}
		d := wait.NextBackOff()
		d = max(d/2+time.Duration(a.cfg.Jitter()*float64(d/2)), min(failed.RetryAfter, maxRetryAfter))
		a.cfg.Logger.Debug("model call failed; trying again", "job", a.job.ID, "wait", d, "error", err)
		if err := a.pause(ctx, d); err != nil {
			return nil, err
		}
	}
}

func newBackoff(first time.Duration, factor float64) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval, b.RandomizationFactor = first, factor, maxBackoff, 0
	b.Reset()
	return b
}

// permanent is the job's error for a fault that repeating the call cannot cure, and nil for any other.
func permanent(e *backend.Error) *batch.Error {
	switch {
	case e.Class == backend.ContextTooLong:
		return batch.NewError(batch.Oversized, "the conversation does not fit the model's context: "+e.Error())
	case !e.Class.Retryable():
		return batch.NewError(batch.BackendRejected, e.Error())
	default:
		return nil
	}
}

// call takes a slot, makes one model call, and gives the slot back.
func (a *run) call(ctx context.Context, req *backend.Request, calls *calls) (*backend.Response, error) {
	release, err := a.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	limit := a.program.plan.Timeouts.Turn
	callCtx := ctx
	if limit > 0 {
		var end context.CancelFunc
		callCtx, end = context.WithTimeoutCause(ctx, limit, errTurnTimeout)
		defer end()
	}
	resp, err := a.model.Generate(callCtx, req, backend.Observer{ToolCall: calls.early})
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(callCtx), errTurnTimeout) {
		return nil, &backend.Error{Class: backend.Transient, Endpoint: "model call", Message: errTurnTimeout.Error() + " (" + limit.String() + ")"}
	}
	return resp, err
}

// acquire waits for a slot, or for Job.Stop.
func (a *run) acquire(ctx context.Context) (release func(), err error) {
	if a.job.Stop == nil {
		return a.slots.Acquire(ctx, a.program.plan.MaxTurns-a.talk.turns)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	granted := make(chan struct{})
	defer close(granted)
	go func() {
		select {
		case <-a.job.Stop:
			cancel(ErrStopped)
		case <-granted:
		}
	}()
	return a.slots.Acquire(ctx, a.program.plan.MaxTurns-a.talk.turns)
}

// request is the next model call. The tools are always listed, also when they may not be called: a server that shows
// them to the model would otherwise see another prefix.
func (a *run) request(mayCall bool) *backend.Request {
	p := a.program
	r := &backend.Request{
		ID:       fmt.Sprintf("%s#%d", a.job.ID, a.talk.turns+1),
		Model:    p.plan.Model,
		Messages: a.talk.messages,
		Tools:    p.tools,
		Sampling: backend.Sampling(p.plan.Sampling),
		Hints:    backend.Hints{Priority: p.plan.Priority, Session: a.job.ID.String()},
	}
	if len(p.tools) > 0 {
		r.ToolChoice = backend.ToolChoiceNone
		if mayCall {
			r.ToolChoice = backend.ToolChoiceAuto
		}
	}
	// An enforced format makes servers drop tool calls.
	if !mayCall && !a.plain {
		r.Schema = p.format
	}
	return r
}

// pause waits, unless the job is stopped or ctx ends.
func (a *run) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-a.job.Stop:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
