package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Causes with which agents are cancelled, or end without a result.
var (
	errDrained   = errors.New("the worker is shutting down")
	errCancelled = errors.New("the batch was cancelled")
	// errBackendAway: the backend was unreachable for a whole lease. Another worker may reach it.
	errBackendAway = errors.New("the backend is not ready")
	errOtherModel  = errors.New("another model answered first, and the batch is bound to it")
	// The following two release a job of a batch with a budget. A release costs no attempt.
	errUsedUp = errors.New("the budget of the batch is used up")
	// errNoRoom: calls in flight held the rest of the budget for a whole lease. Their worker may be dead, and only a claim
	// finds expired leases.
	errNoRoom = errors.New("the calls in flight may need the rest of the batch's budget")
)

// attempt runs the job's agent to its end, and then commits its result or releases its lease.
func (s *session) attempt(ctx context.Context, c statestore.Claimed) {
	defer s.cancel(nil)
	defer s.absence.end()
	if len(c.Journal) > 0 {
		s.log.Info("resuming from the journal", "turns", len(c.Journal))
	}
	ctx = s.span.beginAttempt(ctx, s, len(c.Journal))
	s.pace(s.lease.Job)
	s.state = batch.Preflight
	s.metrics.moved(batch.Pending, s.state)

	result, err := s.runner.Run(ctx, s.batch.def, s.job(c), s.uses())
	s.closeSessions()

	s.span.endAttempt(result, err)
	s.metrics.moved(s.state, batch.Pending)
	s.pace(s.lease.Job)
	if s.batch.seeding != nil {
		s.batch.seeding.Begun(time.Now()) // the claim loop is woken when the job ends
	}
	if err == nil && result.Turns > 0 && result.ReusedFrom == "" {
		err = s.bind(ctx)
	}
	if err == nil && s.batch.plans != "" && result.Status == batch.OK {
		s.items, err = s.batch.items(result.Output) // the agent has checked the output
	}
	s.hand(context.WithoutCancel(ctx), result, err)
}

// job returns the agent's job.
func (s *session) job(c statestore.Claimed) agent.Job {
	return agent.Job{
		ID: s.lease.Job, Attempt: s.lease.Attempt, Payload: s.payload, Turns: c.Journal, Queued: c.Queued, Logger: s.log, Stop: s.stopping,
	}
}

// uses returns what the agent uses: this session.
func (s *session) uses() agent.Session {
	uses := agent.Session{Model: s, Slots: s, Tools: s, Journal: s, Effects: s, Budget: s, Twins: s, Observer: s}
	if s.batch.reduces != "" {
		uses.Results = s
	}
	if s.programs != nil {
		uses.Program = s
	}
	return uses
}

// hand hands a result to the committer, or ends the lease of an attempt that has none.
func (s *session) hand(ctx context.Context, result batch.Result, err error) {
	switch {
	case err == nil:
		s.commits.add(s, result)
	case errors.Is(err, statestore.ErrFenced):
		s.floods.lost.warn(s.log, "lease was lost; another worker runs the job")
		s.metrics.fenced()
		s.live.remove(s)
	case errors.Is(err, errCancelled):
		s.commits.add(s, s.cancelledResult())
	case errors.Is(err, statestore.ErrConflict):
		s.floods.forgotten.warn(s.log, "Redis forgot turns of this job that it had acknowledged: it was restarted, or replaced by its replica; the job resumes from the remaining turns")
		s.release(ctx)
	case errors.Is(err, agent.ErrStopped), errors.Is(err, errDrained), errors.Is(err, errBackendAway), errors.Is(err, errOtherModel),
		errors.Is(err, errUsedUp), errors.Is(err, errNoRoom):
		s.release(ctx)
	default:
		// A bug. The lease expires and another attempt may succeed. After the last attempt the job ends as WorkerLost.
		s.log.Error("agent ended without a result", "error", err)
		s.live.remove(s)
	}
}

// errSilent ends the wait for Redis when a job is released.
var errSilent = fmt.Errorf("no answer of Redis within %s", lastWords)

// release releases the job. If Redis cannot be reached, the lease expires.
func (s *session) release(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, lastWords, errSilent)
	defer cancel()
	s.live.remove(s)
	if err := s.patient.Release(ctx, s.lease.Job.Batch, []batch.Lease{s.lease}); err != nil {
		s.floods.held.warn(s.log, "could not release a job; its lease will expire", "error", err)
	}
}

// endWith commits the result of a job that must not run.
func (s *session) endWith(r batch.Result) {
	s.pace(s.lease.Job)
	s.commits.add(s, r)
}

// ended is called by the committer with the outcome of the result's commit.
func (s *session) ended(r batch.Result, o statestore.FinishOutcome) {
	s.metrics.ended(r, o)
	s.passOn(r, o)
	if o == statestore.Committed {
		s.span.committed(r)
		s.server.kv.end(s.lease.Job, r.Status == batch.OK && r.ReusedFrom == "")
		s.totals.add(r)
	}
	s.live.remove(s)
}

func (s *session) cancelledResult() batch.Result {
	return s.resultOf(batch.StatusCancelled, batch.NewError(batch.JobCancelled, "the batch was cancelled before the job ended"))
}

func (s *session) lostResult() batch.Result {
	return s.resultOf(batch.StatusFailed, batch.NewError(batch.WorkerLost,
		fmt.Sprintf("each of %d attempts ended with its worker gone; `coordinator retry` runs the job again", s.lease.Attempt)))
}

// resultOf returns the result of a job without an output.
func (s *session) resultOf(status batch.Status, e *batch.Error) batch.Result {
	job := s.lease.Job
	id, input := s.batch.def.Row(s.payload)
	return batch.Result{
		Batch: job.Batch, JobID: batch.JobID(job.Index), Index: job.Index,
		ID: id, Input: input, Status: status, Item: spec.ItemOf(s.payload), Error: e, Attempts: s.lease.Attempt, Worker: s.worker,
		Question: s.batch.def.Question(s.payload), Row: spec.RowOf(s.payload),
	}
}
