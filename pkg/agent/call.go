package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
)

// callModel makes the turn's model call, and retries it as its failures allow. It returns the tool calls that were
// started meanwhile. The caller runs or discards them. After an error, no tool call is left.
func (a *attempt) callModel(s *scope, t nextTurn) (*backend.Response, *toolRun, error) {
	return a.call(s, t, a.def.request(a.job, t, a.conv.messages))
}

// call makes a model call as callModel does.
func (a *attempt) call(s *scope, t nextTurn, req *backend.Request) (*backend.Response, *toolRun, error) {
	trial := &trial{endpoint: a.endpoint, model: req.Model, job: a.job.ID.String(), maxRetries: a.def.maxRetries, waits: waits{random: a.random}}
	ranAway := false
	for {
		calls := a.newToolRun(s, t)
		began, waited := time.Now(), a.spent.held+a.spent.slot
		resp, err := a.generate(s, t, req, calls, trial)
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
		if errors.Is(err, ErrPaused) {
			continue // the wait for a slot includes the pause
		}
		e := asBackendError(err)
		switch {
		case e.Class == backend.Degenerate && (ranAway || a.conv == nil): // the prompt of a program may lack the schema
			a.refusal = e
			return nil, nil, invalid(errors.New("the model ran away twice: "+e.Message), e.Partial)
		case e.Class == backend.Degenerate:
			// The prompt still contains the schema. With the grammar, a model can write white space without end.
			ranAway, req.Schema = true, nil
			a.log.InfoContext(s.work, "the model ran away; the turn is retried without response_format", "turn", t.number, "error", err)
			continue
		case e.Class == backend.ContextTooLong && a.conv != nil && a.relieve(e):
			a.log.InfoContext(s.work, "the server counts more tokens than estimated; the conversation is shortened", "turn", t.number, "error", err)
			continue
		case e.Class == backend.ContextTooLong:
			a.refusal = e
			return nil, nil, rejected(e)
		}
		if err := a.judge(s, t, trial, req, e); err != nil {
			return nil, nil, err
		}
	}
}

// judge waits for the next try after a failed call. If no try is left, it returns the job's error.
func (a *attempt) judge(s *scope, t nextTurn, trial *trial, req *backend.Request, e *backend.Error) error {
	trial.fail(e.Class)
	if !trial.counts { // no call was answered meanwhile, so the outage does not count against the time limit
		s.clock.giveBack(time.Since(trial.sent))
		defer s.clock.Stop()()
	}
	began := time.Now()
	defer since(began, &a.spent.retry)
	if trial.exhausted(e.Class) {
		if trial.endpoint != nil {
			if err := sleep.For(s.pause, settleTime); err != nil {
				return s.ended(err)
			}
		}
		if trial.hopeless(s.pause, req, e) {
			a.refusal = e
			return failure(e, trial)
		}
	}
	delay := trial.waits.next(e.Class, min(e.RetryAfter, maxAskedWait))
	a.log.InfoContext(s.work, "model call failed; the turn is retried", "turn", t.number, "failures", trial.failures, "delay", delay, "error", e)
	if err := sleep.For(s.pause, delay); err != nil {
		return s.ended(err)
	}
	return nil
}

// failure returns the job's error after its last try.
func failure(e *backend.Error, t *trial) *batch.Error {
	if e.Class.Retryable() {
		return unavailable(e, t.failures-1)
	}
	out := rejected(e)
	out.RequestAtFault = t.endpoint != nil && t.proven
	return out
}

// errTurnTimeout ends a model call that takes too long.
var errTurnTimeout = errors.New("the model call took longer than timeouts.turn")

// errWait marks failures of the wait for a slot.
var errWait = errors.New("no slot")

// generate makes one model call within the batch's budget, and counts its usage.
func (a *attempt) generate(s *scope, t nextTurn, req *backend.Request, calls *toolRun, trial *trial) (*backend.Response, error) {
	budget, err := a.reserve(s, t, req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWait, err)
	}
	resp, err := a.generateInSlot(s, t, req, calls, trial, budget)
	a.settleCall(s, budget, req, resp)
	return resp, err
}

// generateInSlot makes one model call inside a slot. The slot is held for the call only (I8): it is released before the
// answer is used, and on every return.
func (a *attempt) generateInSlot(s *scope, t nextTurn, req *backend.Request, calls *toolRun, trial *trial, budget *reservation) (*backend.Response, error) {
	release, err := a.acquire(s, t, req.Hints.Session, budget.settle != nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWait, err)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(s.work, a.def.turnTimeout, errTurnTimeout)
	defer cancel()
	observer := a.watch
	observer.FirstToken = func() {
		budget.began = true
		if a.watch.FirstToken != nil {
			a.watch.FirstToken()
		}
	}
	if t.mayCall {
		observer.ToolCall = calls.early
	}
	trial.start()
	resp, err := a.session.Model.Generate(ctx, req, observer)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errTurnTimeout):
		return nil, &backend.Error{Class: backend.Transient, Err: errTurnTimeout}
	case err != nil:
		return nil, err
	case !Finished(resp):
		return nil, &backend.Error{Class: backend.Transient, Message: fmt.Sprintf("the call ended with the finish reason %q", resp.Finish)}
	}
	return resp, nil
}

// acquire waits for a slot. A stop counts, too, if the slot became free at the same moment: other agents that stop may have freed it.
func (a *attempt) acquire(s *scope, t nextTurn, session string, reserved bool) (release func(), err error) {
	began := time.Now()
	release, held, err := a.session.Slots.Acquire(s.pause, Wait{TurnsRemaining: t.remaining, Session: session, Clock: s.clock, Reserved: reserved})
	a.spent.held += held
	a.spent.slot += time.Since(began) - held
	if err != nil {
		return nil, err
	}
	if err := s.boundary(); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// boundaryAfter returns the error of the attempt if err ends the attempt and not only the call, and nil otherwise.
func (s *scope) boundaryAfter(err error) error {
	if errors.Is(err, errWait) && !errors.Is(err, ErrPaused) {
		return s.ended(err)
	}
	return s.over()
}

// ended returns why a wait on s.pause failed.
func (s *scope) ended(err error) error {
	if over := s.over(); over != nil {
		return over
	}
	if s.pause.Err() != nil {
		return ErrStopped
	}
	return err
}

// asBackendError returns err as a backend error. An error without a class counts as a broken connection.
func asBackendError(err error) *backend.Error {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return e
	}
	return &backend.Error{Class: backend.Transient, Err: err}
}

func rejected(e *backend.Error) *batch.Error {
	if e.Class == backend.ContextTooLong {
		return batch.NewError(batch.Oversized, clip(e.Error(), maxMessage))
	}
	return batch.NewError(batch.BackendRejected, clip(e.Error(), maxMessage))
}

func unavailable(e *backend.Error, retries int) *batch.Error {
	return batch.NewError(batch.BackendUnavailable, clip(fmt.Sprintf("the model call failed and %d retries did not help: %v", retries, e), maxMessage))
}
