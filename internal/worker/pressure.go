package worker

import (
	"context"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/sleep"
)

const (
	// queueEvery is how often the server's queue is read while agents live here. queueEveryFull applies while the queue
	// holds new agents back, so that they start before it is empty.
	queueEvery, queueEveryFull = time.Second, 250 * time.Millisecond
	queueTimeout               = 2 * time.Second
)

// pressure keeps the last reading of the server's own queue. Safe for concurrent use.
type pressure struct {
	reporter backend.LoadReporter // nil if the server does not report its load

	mu   sync.Mutex
	load backend.Load // guarded by mu
	read time.Time    // guarded by mu; zero without a reading
}

func newPressure(b backend.Backend) *pressure {
	reporter, _ := b.(backend.LoadReporter)
	return &pressure{reporter: reporter}
}

// queue returns the last reading of the server's queue; -1 for both lengths without one.
func (p *pressure) queue() scheduler.ServerQueue {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.read.IsZero() {
		return scheduler.ServerQueue{Running: -1, Waiting: -1}
	}
	return scheduler.ServerQueue{Running: p.load.Running, Waiting: p.load.Waiting, Age: time.Since(p.read)}
}

// look reads the server once. If that fails, ok is false, and the last reading stays and goes stale by its age.
func (p *pressure) look(ctx context.Context) (load backend.Load, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	load, err := p.reporter.Load(ctx)
	if err != nil {
		return load, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load, p.read = load, time.Now()
	return load, true
}

// forget drops the reading.
func (p *pressure) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = time.Time{}
}

// watchQueue reads the server's queue and its cache until ctx is done. It sends no requests while there are no live agents.
func (m *modelServer) watchQueue(ctx context.Context, liveAgents func() int) {
	if m.pressure.reporter == nil {
		return
	}
	full := false
	for {
		every := queueEvery
		if full {
			every = queueEveryFull
		}
		_ = sleep.For(ctx, every)
		if ctx.Err() != nil {
			return
		}
		if liveAgents() == 0 {
			m.pressure.forget()
		} else if load, ok := m.pressure.look(ctx); ok {
			m.kv.observed(load)
		}
		was := full
		if full = m.pressure.queue().Full(); was && !full {
			m.claim.send()
		}
	}
}
