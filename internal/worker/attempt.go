package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// attempt is one live job.
type attempt struct {
	lease  batch.Lease
	work   *work
	cancel context.CancelCauseFunc
	// journalled is set once an attempt at the job wrote a turn, or tried to. It belongs to the agent's goroutine until the
	// result is handed over.
	journalled bool
	// parked is set while a call must be resolved before the job can continue.
	parked atomic.Bool
	spans  *jobSpans
	// alone forbids other jobs on this worker.
	alone   bool
	payload []byte
	items   [][]byte // jobs that the result plans, if the batch plans another one
}

// attempt runs one agent to its end, and then commits its result or releases its lease.
func (w *Worker) attempt(ctx context.Context, a *attempt, c statestore.Claimed) {
	defer a.cancel(nil)
	l := a.lease
	log := w.logOf(l)
	if len(c.Journal) > 0 {
		log.Info("resuming from the journal", "turns", len(c.Journal))
	}
	if a.work.slots != nil {
		ctx = withBatchSlots(ctx, a.work.slots)
	}
	ctx = withModel(withAdvisor(ctx, &a.work.advisor), a.work.program.Model())
	ctx = withSeeding(withAccount(ctx, l.Job), a.work.seeding)
	ctx = a.spans.run(ctx, w, a, len(c.Journal))
	absence := newAbsence(func() { w.kv.leave(l.Job) })
	defer absence.end()
	ctx = withAbsence(ctx, absence)
	ctx = withPace(ctx, func() { w.cfg.Pace(l.Job) })
	state := batch.Preflight
	w.cfg.Pace(l.Job)
	w.metrics.moved(batch.Pending, state)
	job := agent.Job{
		ID:      l.Job,
		Attempt: l.Attempt,
		Logger:  log,
		Payload: c.Payload,
		Journal: c.Journal,
		Queued:  c.Queued,
		Append:  func(ctx context.Context, turn int, data []byte) error { return w.checkpoint(ctx, a, turn, data) },
		Effects: effects{w, a},
		Budget:  &jobBudget{worker: w, till: a.work.till, attempt: a},
		Stop:    w.stopping,
		OnState: func(from, to batch.State) { state = to; w.metrics.moved(from, to); absence.moved(to) },
		OnTurn:  a.spans.onTurn(),
	}
	if a.work.reduces != "" {
		job.Results = w.resultsOf(a.work.reduces)
	}
	result, err := w.runner.Run(ctx, a.work.program, job)
	a.spans.ran(result, err)
	w.metrics.moved(state, batch.Pending)
	w.cfg.Pace(l.Job)
	if a.work.seeding != nil {
		a.work.seeding.Begun(time.Now()) // the claim loop is woken when the job ends
	}
	if err == nil && result.Turns > 0 && result.ReusedFrom == "" {
		err = w.bind(ctx, a)
	}
	if err == nil && a.work.plans != "" && result.Status == batch.OK {
		a.items, err = a.work.items(result.Output) // the agent has checked the output
	}
	switch {
	case err == nil:
		w.commits.add(a, result)
	case errors.Is(err, statestore.ErrFenced):
		log.Warn("lease was lost; another worker runs the job")
		w.metrics.fenced()
		w.forget(a)
	case errors.Is(err, errCancelled):
		w.commits.add(a, w.cancelledResult(a))
	case errors.Is(err, statestore.ErrConflict):
		log.Warn("Redis forgot turns of this job that it had acknowledged: it was restarted, or replaced by its replica; the job resumes from the remaining turns")
		w.release(context.WithoutCancel(ctx), a)
	case errors.Is(err, agent.ErrStopped), errors.Is(err, errDrained), errors.Is(err, errBackendAway), errors.Is(err, errOtherModel),
		errors.Is(err, errUsedUp), errors.Is(err, errNoRoom):
		w.release(context.WithoutCancel(ctx), a)
	default:
		// A bug. The lease expires and another attempt may succeed. After the last attempt the job ends as WorkerLost.
		log.Error("agent ended without a result", "error", err)
		w.forget(a)
	}
}

// logOf returns the logger for one attempt.
func (w *Worker) logOf(l batch.Lease) *slog.Logger {
	return w.log.With("batch", l.Job.Batch, "job", l.Job, "token", l.Token, "attempt", l.Attempt)
}

// checkpoint appends to the journal, and keeps trying during an outage of Redis.
func (w *Worker) checkpoint(ctx context.Context, a *attempt, turn int, data []byte) error {
	if err := w.bind(ctx, a); err != nil {
		return err
	}
	a.journalled = true
	err := w.cfg.Store.UntilKnown(ctx, func() error { return w.cfg.Store.Checkpoint(ctx, a.lease, turn, data) })
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// release releases the job. If Redis cannot be reached, the lease expires.
func (w *Worker) release(ctx context.Context, a *attempt) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	w.forget(a)
	err := w.cfg.Store.UntilKnown(ctx, func() error {
		return w.cfg.Store.Release(ctx, a.lease.Job.Batch, []batch.Lease{a.lease})
	})
	if err != nil {
		w.logOf(a.lease).Warn("could not release a job; its lease will expire", "error", err)
	}
}

// forget removes the attempt from the live jobs, unless a later attempt at the same job replaced it.
func (w *Worker) forget(a *attempt) {
	w.mu.Lock()
	if w.live[a.lease.Job] == a {
		delete(w.live, a.lease.Job)
		w.kv.end(a.lease.Job, false)
	}
	w.mu.Unlock()
	w.poke()
}

// cancelWhere cancels the matching agents with a cause.
func (w *Worker) cancelWhere(cause error, match func(*attempt) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.live {
		if match(a) {
			a.cancel(cause)
		}
	}
}

// settle handles the outcome of a committed result.
func (w *Worker) settle(a *attempt, r batch.Result, o statestore.FinishOutcome) {
	w.metrics.settled(r, o)
	if o == statestore.Committed {
		a.spans.committed(r)
		w.kv.end(a.lease.Job, r.Status == batch.OK && r.ReusedFrom == "")
		w.mu.Lock()
		w.totals.jobs++
		w.totals.turns += int64(r.Turns)
		w.totals.usage.Add(r.Usage)
		w.mu.Unlock()
	}
	w.forget(a)
}

func (w *Worker) cancelledResult(a *attempt) batch.Result {
	return w.endedResult(a, batch.StatusCancelled, batch.NewError(batch.JobCancelled, "the batch was cancelled before the job ended"))
}

func (w *Worker) lostResult(a *attempt) batch.Result {
	return w.endedResult(a, batch.StatusFailed, batch.NewError(batch.WorkerLost,
		fmt.Sprintf("each of %d attempts ended with its worker gone; `coordinator retry` runs the job again", a.lease.Attempt)))
}

func (w *Worker) endedResult(a *attempt, s batch.Status, e *batch.Error) batch.Result {
	l := a.lease
	return batch.Result{
		Batch: l.Job.Batch, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index,
		Status: s, Item: spec.ItemOf(a.payload), Error: e, Attempts: l.Attempt, Worker: w.cfg.ID,
		Question: a.work.program.Question(a.payload),
	}
}
