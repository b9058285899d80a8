package operation

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Reuse makes the batch's jobs use earlier results for the same questions, from a batch in Redis or a results file.
// Call it before Submit.
func (s *Submission) Reuse(ctx context.Context, from string, store *statestore.Store) error {
	switch {
	case s.load.Planner != nil:
		return earlier.ErrReusePlan
	case s.Rerun != (Rerun{}):
		return errRerunReuse
	}
	workers, err := store.Workers(ctx)
	if err != nil {
		return err
	}
	model, err := s.runningModel(batch.Live(workers))
	if err != nil {
		return err
	}
	connect := func(context.Context) (*statestore.Store, error) { return store, nil }
	if s.reuse, err = earlier.OpenReuse(ctx, from, s.load.Compiled, connect, s.notify); err != nil {
		return err
	}
	return s.reuse.Attach(s.load.prepared, model)
}

// runningModel returns the model on which workers will run the batch.
func (s *Submission) runningModel(workers []batch.WorkerRecord) (string, error) {
	if s.load.Compiled.Model != "" {
		return s.load.Compiled.Model, nil
	}
	model := ""
	for _, w := range workers {
		if len(w.Models) == 0 {
			continue
		}
		if model != "" && model != w.Models[0] {
			return "", fault.Usagef("reuse: the workers serve %s and %s; name the model in the spec, so that its results can be matched", model, w.Models[0])
		}
		model = w.Models[0]
	}
	if model == "" {
		return "", &fault.UsageError{Err: errors.New("reuse: name the model in the spec: no live worker serves one")}
	}
	return model, nil
}
