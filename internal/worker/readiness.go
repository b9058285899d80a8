package worker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	readyEvery   = 500 * time.Millisecond
	readyTimeout = 5 * time.Second
	modelsEvery  = 5 * time.Second
)

// readiness checks whether the backend is ready and which models it serves. It belongs to one goroutine.
type readiness struct {
	server  *modelServer
	batches *batches
	live    *liveJobs
	record  *recordWriter
	pauses  func() []batch.Pause
	claim   signal
	report  signal // received: the worker's state changed, so its record is written at once
	log     *slog.Logger
}

// watchBackend checks whether the backend is ready, until ctx is done, and logs each change.
func (r *readiness) watchBackend(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	logged := false
	for {
		err := r.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		switch was := r.server.health.setReady(err); {
		case err == nil && !was:
			r.log.Info("backend is ready; claiming jobs", "endpoint", r.server.backend.Endpoint(), "models", modelIDs(r.server.served()))
			logged = false
			r.claim.send()
			r.record.now(ctx) // list the worker before its first heartbeat
		case err != nil && !logged:
			r.log.Warn("backend is not ready; no jobs are claimed until it is", "endpoint", r.server.backend.Endpoint(), "error", err)
			logged = true
			r.record.now(ctx)
		}
		report := false
		select {
		case <-ctx.Done():
			return
		case <-r.report:
			report = true
		case <-tick.C:
		}
		// Both channels may be ready. Drain both, so that a simulated run can be replayed.
		select {
		case <-r.report:
			report = true
		default:
		}
		select {
		case <-tick.C:
		default:
		}
		if report {
			r.record.now(ctx)
		}
	}
}

// probe checks whether the backend is ready. It reads the list of models when the backend came back, and every
// modelsEvery while a model is missing.
func (r *readiness) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := r.server.backend.Ready(ctx); err != nil {
		return err
	}
	ready := r.server.health.isReady()
	if ready && len(r.server.served()) > 0 && (time.Since(r.server.modelsRead) < modelsEvery || !r.wantsModels()) {
		return nil
	}
	models, err := r.server.backend.Models(ctx)
	r.server.modelsRead = time.Now()
	if err != nil {
		if ready {
			return nil // calls will show which models work
		}
		return err
	}
	if same := slices.Equal(modelIDs(models), modelIDs(r.server.served())); ready && same {
		return nil
	} else if !same && ready {
		r.log.Warn("the backend's list of models changed", "endpoint", r.server.backend.Endpoint(), "models", modelIDs(models))
	}
	r.server.models.Store(&models)
	r.server.kv.learn(ctx, r.server.backend)
	r.batches.forgetAll()
	r.server.health.serves(modelIDs(models))
	r.live.cancel(errBackendAway, func(s *session) bool { return !slices.Contains(modelIDs(models), s.batch.model()) })
	return nil
}

// wantsModels reports whether calls fail or batches wait because the backend does not serve a model.
func (r *readiness) wantsModels() bool {
	return slices.ContainsFunc(r.pauses(), func(p batch.Pause) bool {
		return p.Kind == otherModel || p.Kind == string(backend.UnknownModel)
	})
}
