package worker

import (
	"context"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	readyEvery   = 500 * time.Millisecond
	readyTimeout = 5 * time.Second
	modelsEvery  = 5 * time.Second
	listenFor    = time.Second
)

// watch checks whether the backend is ready, until ctx is done, and logs each change.
func (w *Worker) watch(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	told := false
	for {
		err := w.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		switch was := w.health.setReady(err); {
		case err == nil && !was:
			w.log.Info("backend is ready; claiming jobs", "endpoint", w.cfg.Backend.Endpoint(), "models", modelIDs(w.served()))
			told = false
			w.poke()
			w.registerNow(ctx) // list the worker before its first heartbeat
		case err != nil && !told:
			w.log.Warn("backend is not ready; no jobs are claimed until it is", "endpoint", w.cfg.Backend.Endpoint(), "error", err)
			told = true
			w.registerNow(ctx)
		}
		report := false
		select {
		case <-ctx.Done():
			return
		case <-w.report:
			report = true
		case <-tick.C:
		}
		// Both channels may be ready. Drain both, so that a simulated run can be replayed.
		select {
		case <-w.report:
			report = true
		default:
		}
		select {
		case <-tick.C:
		default:
		}
		if report {
			w.registerNow(ctx)
		}
	}
}

// probe checks whether the backend is ready. It reads the list of models when the backend came back, and every
// modelsEvery while a model is missing.
func (w *Worker) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := w.cfg.Backend.Ready(ctx); err != nil {
		return err
	}
	ready := w.health.isReady()
	if ready && len(w.served()) > 0 && (time.Since(w.modelsRead) < modelsEvery || !w.wantsModels()) {
		return nil
	}
	models, err := w.cfg.Backend.Models(ctx)
	w.modelsRead = time.Now()
	if err != nil {
		if ready {
			return nil // calls will show which models work
		}
		return err
	}
	if same := slices.Equal(modelIDs(models), modelIDs(w.served())); ready && same {
		return nil
	} else if !same && ready {
		w.log.Warn("the backend's list of models changed", "endpoint", w.cfg.Backend.Endpoint(), "models", modelIDs(models))
	}
	w.models.Store(&models)
	w.kv.learn(ctx, w.cfg.Backend)
	w.batches.forgetPrograms()
	w.health.serves(modelIDs(models))
	w.cancelWhere(errBackendAway, func(a *attempt) bool { return !slices.Contains(modelIDs(models), a.work.program.Model()) })
	return nil
}

// wantsModels reports whether calls fail or batches wait because the backend does not serve a model.
func (w *Worker) wantsModels() bool {
	return slices.ContainsFunc(w.Pauses(), func(p batch.Pause) bool {
		return p.Kind == otherModel || p.Kind == string(backend.UnknownModel)
	})
}

// listen waits at the doorbell until ctx is done. A ring is a hint: the claim loop also polls.
func (w *Worker) listen(ctx context.Context) {
	position, broken := "", false
	for ctx.Err() == nil {
		var events []statestore.Event
		var err error
		if position == "" {
			position, err = w.cfg.Store.EventPosition(ctx)
		} else {
			events, position, err = w.cfg.Store.Listen(ctx, position, listenFor)
		}
		if err != nil {
			broken = true
			sleep(ctx, listenFor)
			continue
		}
		if broken {
			// A read is always under way here, so that every restart of Redis breaks it.
			broken = false
			w.batches.doubtAll()
			w.poke()
		}
		for _, e := range events {
			switch e.Kind {
			case statestore.JobsWaiting:
				w.batches.stale()
				w.poke()
			case statestore.BatchCancelled:
				w.cancelWhere(errCancelled, func(a *attempt) bool { return a.lease.Job.Batch == e.Batch })
				w.poke()
			}
		}
	}
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
