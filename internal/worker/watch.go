package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	readyEvery   = 500 * time.Millisecond
	readyTimeout = 5 * time.Second
	listenFor    = time.Second
)

// watch asks the backend whether it is ready, until ctx is done. It says so in the log when that changes.
func (w *Worker) watch(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	told := false
	for {
		err := w.probe(ctx)
		switch was := w.ready.set(err == nil); {
		case ctx.Err() != nil:
			return
		case err == nil && !was:
			w.log.Info("backend is ready; claiming jobs", "endpoint", w.cfg.Backend.Endpoint(), "models", modelIDs(w.served()))
			told = false
			w.poke()
			w.register(ctx, w.Status(), w.cfg.Lease/3) // so that it is listed before its first heartbeat
		case err != nil && !told:
			w.log.Warn("backend is not ready; no jobs are claimed until it is", "endpoint", w.cfg.Backend.Endpoint(), "error", err)
			told = true
			w.register(ctx, w.Status(), w.cfg.Lease/3)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// probe asks for the models only when the backend came back: they do not change while it runs.
func (w *Worker) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := w.cfg.Backend.Ready(ctx); err != nil {
		return err
	}
	if w.ready.open() && len(w.served()) > 0 {
		return nil
	}
	models, err := w.cfg.Backend.Models(ctx)
	if err != nil {
		return err
	}
	w.models.Store(&models)
	w.kv.learn(ctx, w.cfg.Backend)
	w.batches.forgetPrograms()
	return nil
}

// listen waits at the doorbell until ctx is done. A ring is a hint: the claim loop also looks by itself.
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
			// A read is always under way here, so no restart of Redis goes unnoticed.
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
