package worker

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// bind binds the attempt's batch to the model that answered, before the answer is used. If the batch is already bound to
// another model, its jobs are released and other workers run them. Other agents of the batch wait until the first bind
// has returned.
func (w *Worker) bind(ctx context.Context, a *attempt) error {
	if a.work.bound.Load() {
		return nil
	}
	w.cfg.Pace(a.lease.Job)
	select {
	case a.work.binding <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-a.work.binding }()
	w.cfg.Pace(a.lease.Job)
	if a.work.bound.Load() {
		return nil
	}
	id, model := a.lease.Job.Batch, a.work.program.Model()
	var bound string
	err := w.cfg.Store.UntilKnown(ctx, func() (err error) {
		bound, err = w.cfg.Store.Bind(ctx, id, model, a.work.anyModel)
		return err
	})
	switch {
	case errors.Is(err, statestore.ErrNotFound):
		return nil // the next write reports it
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case bound == model || a.work.anyModel:
		a.work.bound.Store(true)
		return nil
	}
	w.batches.forget(id)
	w.cancelWhere(errOtherModel, func(o *attempt) bool { return o.work == a.work })
	w.poke()
	return errOtherModel
}
