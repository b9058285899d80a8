package worker

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/pkg/statestore"
)

// bind binds the batch to the model that answered, before the answer is used. If the batch is already bound to
// another model, its jobs are released and other workers run them. Other agents of the batch wait until the first bind
// has returned.
func (s *session) bind(ctx context.Context) error {
	if s.batch.bound.Load() {
		return nil
	}
	s.pace(s.lease.Job)
	select {
	case s.batch.binding <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.batch.binding }()
	s.pace(s.lease.Job)
	if s.batch.bound.Load() {
		return nil
	}
	id, model := s.lease.Job.Batch, s.batch.model()
	bound, err := s.patient.Bind(ctx, id, model, s.batch.anyModel)
	switch {
	case errors.Is(err, statestore.ErrNotFound):
		return nil // the next write reports it
	case err != nil:
		return err
	case bound == model || s.batch.anyModel:
		s.batch.bound.Store(true)
		return nil
	}
	s.batches.forget(id)
	s.live.cancel(errOtherModel, func(o *session) bool { return o.batch == s.batch })
	s.claim.send()
	return errOtherModel
}
