package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// callModel makes the turn's model call, and repeats it as its failures allow. It returns the tool calls that were
// started meanwhile; the caller runs or discards them. After an error none is left.
func (a *attempt) callModel(s *scope, t turnPlan) (*backend.Response, *toolRun, error) {
	req := a.prog.request(a.job, t, a.conv.messages)
	waits := waits{random: a.random}
	ranAway := false
	for failures := 0; ; {
		calls := a.newToolRun(s, t)
		began, waited := time.Now(), a.spent.held+a.spent.slot
		resp, err := a.generate(s, t, req, calls)
		waited = a.spent.held + a.spent.slot - waited
		if err == nil {
			a.spent.call(time.Since(began)-waited, resp)
			return resp, calls, nil
		}
		calls.discard()
		a.spent.retry += time.Since(began) - waited
		if over := s.boundaryAfter(err); over != nil {
			return nil, nil, over
		}
		e := asBackendError(err)
		switch {
		case e.Class == backend.Degenerate && ranAway:
			return nil, nil, invalid(errors.New("the model ran away twice: "+e.Message), e.Partial)
		case e.Class == backend.Degenerate:
			// The schema is in the prompt as well; a grammar is what lets a model write white space for ever.
			ranAway, req.Schema = true, nil
			a.log.InfoContext(s.work, "the model ran away; the turn is repeated without response_format", "turn", t.number, "error", err)
			continue
		case e.Class == backend.ContextTooLong && a.relieve(e):
			a.log.InfoContext(s.work, "the server counts more tokens than were reckoned; tool results are shortened", "turn", t.number, "error", err)
			continue
		case !e.Class.Retryable():
			return nil, nil, rejected(e)
		case failures >= a.prog.maxRetries:
			return nil, nil, unavailable(e, failures)
		}
		failures++
		delay := waits.next(e.Class, e.RetryAfter)
		a.log.InfoContext(s.work, "model call failed; the turn is repeated", "turn", t.number, "failures", failures, "delay", delay, "error", err)
		began = time.Now()
		err = sleep(s.pause, delay)
		a.spent.retry += time.Since(began)
		if err != nil {
			return nil, nil, s.ended(err)
		}
	}
}

// errTurnTimeout ends a model call that takes too long.
var errTurnTimeout = errors.New("the model call took longer than timeouts.turn")

// errWait marks failures of the wait for a slot.
var errWait = errors.New("no slot")

// generate makes one model call inside a slot. The slot covers the call and nothing else (I8): it is given back before
// anything is done with the answer, and on every way out.
func (a *attempt) generate(s *scope, t turnPlan, req *backend.Request, calls *toolRun) (*backend.Response, error) {
	release, err := a.acquire(s, t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWait, err)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(s.work, a.prog.turnTimeout, errTurnTimeout)
	defer cancel()
	var observer backend.Observer
	if t.mayCall {
		observer.ToolCall = calls.early
	}
	resp, err := a.model.Generate(ctx, req, observer)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errTurnTimeout):
		return nil, &backend.Error{Class: backend.Transient, Err: errTurnTimeout}
	case err != nil:
		return nil, err
	case !finished(resp):
		return nil, &backend.Error{Class: backend.Transient, Message: fmt.Sprintf("the call ended with the finish reason %q", resp.Finish)}
	}
	return resp, nil
}

// acquire waits for a slot.
func (a *attempt) acquire(s *scope, t turnPlan) (release func(), err error) {
	began, held := time.Now(), time.Duration(0)
	release, err = a.slots.Acquire(context.WithValue(s.pause, heldKey{}, &held), t.remaining)
	a.spent.held += held
	a.spent.slot += time.Since(began) - held
	return release, err
}

// boundaryAfter tells whether err ends the attempt rather than the call.
func (s *scope) boundaryAfter(err error) error {
	if errors.Is(err, errWait) {
		return s.ended(err)
	}
	return s.over()
}

// ended tells why a wait on s.pause failed.
func (s *scope) ended(err error) error {
	if over := s.over(); over != nil {
		return over
	}
	if s.pause.Err() != nil {
		return ErrStopped
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// asBackendError reads the class of a failure. One without a class is taken for a broken connection.
func asBackendError(err error) *backend.Error {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return e
	}
	return &backend.Error{Class: backend.Transient, Err: err}
}

func rejected(e *backend.Error) error {
	if e.Class == backend.ContextTooLong {
		return batch.NewError(batch.Oversized, clip(e.Error(), maxMessage))
	}
	return batch.NewError(batch.BackendRejected, clip(e.Error(), maxMessage))
}

func unavailable(e *backend.Error, retries int) error {
	return batch.NewError(batch.BackendUnavailable, clip(fmt.Sprintf("the model call failed and %d retries did not help: %v", retries, e), maxMessage))
}
