package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// modelServer is the model server next to this worker, with all that decides when it gets a call.
type modelServer struct {
	backend  backend.Backend
	slots    *scheduler.Slots
	health   *health
	kv       *admission
	pressure *pressure
	adaptive *adaptive // nil if the backend's limit is known
	claim    signal

	models     atomic.Pointer[[]backend.Model]
	modelsRead time.Time // belongs to the goroutine that watches the backend
}

// newModelServer makes the parts. claim wakes the claim loop, and report sends the worker's record before the next heartbeat.
func newModelServer(cfg Config, log *slog.Logger, claim, report signal) *modelServer {
	m := &modelServer{
		backend: cfg.Backend, slots: scheduler.NewSlots(cfg.Slots), kv: &admission{claim: claim, peers: cfg.Peers}, pressure: newPressure(cfg.Backend), claim: claim,
	}
	m.models.Store(&[]backend.Model{})
	m.health = newHealth(cfg.Backend, m.slots, cfg.Lease, cfg.Jitter, log, func(pauses bool) {
		claim.send()
		if pauses {
			report.send()
		}
	})
	if start := cfg.Backend.Capabilities().StartConcurrent; start > 0 {
		m.adaptive = newAdaptive(m.slots, start, cfg.Slots, claim.send)
	}
	return m
}

// send sends a request, and adapts the number of slots to the reply.
func (m *modelServer) send(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	sent := time.Now()
	resp, err := m.backend.Generate(ctx, r, o)
	if m.adaptive != nil {
		m.adaptive.replied(sent, resp, err)
	}
	return resp, err
}

// closeSession frees what the server keeps for an agent that has ended.
func (m *modelServer) closeSession(session string) {
	if c, ok := m.backend.(backend.SessionCloser); ok {
		c.CloseSession(session)
	}
}

// served returns the models that the backend last listed.
func (m *modelServer) served() []backend.Model { return *m.models.Load() }

// stop stops the timers.
func (m *modelServer) stop() {
	if m.adaptive != nil {
		m.adaptive.stop()
	}
	m.health.stop()
}
