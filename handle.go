package batchagent

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Handle refers to a batch on a cluster. The batch runs without the handle, and without the program. Several handles may refer to
// one batch. A Handle is safe for concurrent use, unless its stages have an Into.
type Handle[Out any] struct {
	cluster *Cluster
	id      batch.ID
	stages  stages
}

// Submit submits a batch to a cluster. It returns when the cluster has all jobs; the first ones already run then. It waits through
// outages. If the program ends before Submit has returned, the same Submit continues. With Batch.Key it also finds a batch that
// was completely submitted.
//
// It returns an [*UnknownToolError] if workers run and none offers a tool of the batch.
func Submit[Out any](ctx context.Context, c *Cluster, b Batch[Out]) (*Handle[Out], error) {
	p, s, err := b.program()
	if err != nil {
		return nil, fmt.Errorf("submit a batch: %w", err)
	}
	p.Logger = c.log
	id, err := c.submit(ctx, p, b.Reuse, b.Key)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, public(ctx, err)
	}
	return &Handle[Out]{c, id, s}, nil
}

// Attach returns a handle for a batch that this or another program has submitted. Out is the type of its answers. A stage with an Into
// receives the result of the batch's planner or reducer; its other fields have no effect. It returns [ErrNotFound] if
// there is no such batch.
func Attach[Out any](ctx context.Context, c *Cluster, id string, receivers ...Stage) (*Handle[Out], error) {
	parsed, err := batch.ParseID(id)
	if err != nil {
		return nil, &UsageError{err}
	}
	h := &Handle[Out]{cluster: c, id: parsed}
	for _, r := range receivers {
		switch r := r.(type) {
		case Planner:
			_, h.stages.plan, err = r.planner()
		case Reducer:
			_, h.stages.reduce, err = r.reducer()
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := c.batches.Info(ctx, parsed); err != nil {
		return nil, h.failed(ctx, "attach to", err)
	}
	return h, nil
}

// ID returns the ID of the batch, such as b_01k8…. Keep it to call [Attach] later.
func (h *Handle[Out]) ID() string { return string(h.id) }

// Results yields every result of the batch: first the existing ones, then each one when its job ends. The loop ends when the
// batch is done. A job that [Handle.Retry] ran again meanwhile is yielded again. Each loop begins with the first result.
//
// An error is yielded last, with a zero result: the *Error of a planner that failed, a [*PausedError], [ErrNotFound], or the cause
// of ctx. Outages are waited out. Leaving the loop does not stop the batch.
func (h *Handle[Out]) Results(ctx context.Context) iter.Seq2[Result[Out], error] {
	return yielding(func(f func(Result[Out]) error) error { return h.follow(ctx, f) })
}

// Wait returns all results in the order of the inputs when the batch is done. If it returns an error, as [Handle.Results] describes,
// it also returns the existing results.
func (h *Handle[Out]) Wait(ctx context.Context) ([]Result[Out], error) {
	return ordered(func(f func(Result[Out]) error) error { return h.follow(ctx, f) })
}

func (h *Handle[Out]) follow(ctx context.Context, f func(Result[Out]) error) error {
	return receive(ctx, h.stages, f, func(to collect.Callbacks) error {
		err := collect.Follow(ctx, h.cluster.batches, h.id, notice.Logged(h.cluster.log), to)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	})
}

// Cancel cancels the batch with its stages, and returns when every job has a result. Jobs that had not ended get an Err of the type
// Cancelled. Canceling a batch that is done has no effect.
func (h *Handle[Out]) Cancel(ctx context.Context) error {
	_, err := h.cluster.batches.Cancel(ctx, h.id)
	return h.failed(ctx, "cancel", err)
}

// Retry runs the failed jobs of the batch again, or its planner if that failed. It returns when they are queued; their results
// replace the earlier ones. Without failed jobs it has no effect. It returns a [*UsageError] while the batch is submitted or
// cancelled.
func (h *Handle[Out]) Retry(ctx context.Context) error {
	_, err := h.cluster.batches.Retry(ctx, h.id)
	return h.failed(ctx, "retry", err)
}

// failed returns the error of an operation on the batch, or nil.
func (h *Handle[Out]) failed(ctx context.Context, operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s batch %s: %w", operation, h.id, public(ctx, err))
}

// Status is the state of a batch at one time. All numbers are of jobs, unless the name says otherwise.
type Status struct {
	// State is one word, such as running or done. Its method Ended reports whether the batch needs no more workers.
	State batch.BatchState
	// Reason explains the state, for people. It is empty if the state needs no reason.
	Reason string
	// Total is the number of all jobs. It is -1 until the last one was submitted or planned.
	Total int64
	// Waiting have not started, or were released by a worker.
	Waiting int64
	// Running are held by a worker.
	Running int64
	// OK, Failed and Cancelled have a result.
	OK, Failed, Cancelled int64
	// Usage counts the tokens of all results.
	Usage Usage
	// Used counts against the BatchBudget, with the planner and the reducer. Its USD is 0 without prices.
	Used Budget
	// Workers are the IDs of the workers that can serve the batch. It is empty when the batch is done.
	Workers []string
	// CreatedAt is when the batch was submitted, by the clock of Redis.
	CreatedAt time.Time
	// DoneAt is when the last job ended, by the clock of Redis. It is zero before.
	DoneAt time.Time
}

// Status reads the state of the batch. It returns an [*UnreachableError] during an outage.
func (h *Handle[Out]) Status(ctx context.Context) (Status, error) {
	r, err := h.cluster.batches.Status(ctx, h.id)
	if err != nil {
		return Status{}, h.failed(ctx, "read the status of", err)
	}
	c := r.Counts
	return Status{
		State: r.State, Reason: r.Reason, Total: c.Total, Waiting: c.Waiting, Running: c.Running, OK: c.OK, Failed: c.Failed, Cancelled: c.Cancelled,
		Usage: c.Usage, Used: r.Used, Workers: r.Workers, CreatedAt: r.CreatedAt, DoneAt: r.DoneAt,
	}, nil
}
