package worker

import (
	"context"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// gate is open while the backend is ready. The zero value is closed. Safe for concurrent use.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // guarded by mu; closed while the gate is open; nil is a gate that was never open
	isOpen bool          // guarded by mu
}

// set opens or closes the gate and returns what it was.
func (g *gate) set(open bool) (was bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was = g.isOpen
	if open == was {
		return was
	}
	g.isOpen = open
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	if open {
		close(g.opened)
	} else {
		g.opened = make(chan struct{})
	}
	return was
}

func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.isOpen
}

// wait is closed when the gate opens.
func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	return g.opened
}

type paceKey struct{}

func withPace(ctx context.Context, pace func()) context.Context {
	return context.WithValue(ctx, paceKey{}, pace)
}

// batchSlots gives agents their slots: it waits for the backend and for room in its KV cache, then takes a slot of the
// batch if the batch bounds its own requests, and then one of the worker. So a server that restarts costs agents time and
// no retries; if it stays away for longer than patience, they end with errBackendAway and their jobs are released.
type batchSlots struct {
	worker   *scheduler.Slots
	ready    *gate
	kv       *admission
	patience time.Duration
}

type batchSlotsKey struct{}

func withBatchSlots(ctx context.Context, s *scheduler.Slots) context.Context {
	return context.WithValue(ctx, batchSlotsKey{}, s)
}

// Acquire implements [agent.Slots].
func (b batchSlots) Acquire(ctx context.Context, turnsRemaining int) (func(), error) {
	began := time.Now()
	err := b.awaitBackend(ctx)
	if err == nil {
		err = b.kv.await(ctx)
	}
	agent.Held(ctx, time.Since(began))
	if err != nil {
		return nil, err
	}
	own, _ := ctx.Value(batchSlotsKey{}).(*scheduler.Slots)
	if own == nil {
		return b.worker.Acquire(ctx, turnsRemaining)
	}
	giveBack, err := own.Acquire(ctx, turnsRemaining)
	if err != nil {
		return nil, err
	}
	release, err := b.worker.Acquire(ctx, turnsRemaining)
	if err != nil {
		giveBack()
		return nil, err
	}
	return func() { release(); giveBack() }, nil
}

func (b batchSlots) awaitBackend(ctx context.Context) error {
	if b.ready.open() {
		return nil
	}
	t := time.NewTimer(b.patience)
	defer t.Stop()
	select {
	case <-b.ready.wait():
		if pace, ok := ctx.Value(paceKey{}).(func()); ok {
			pace()
		}
		return nil
	case <-t.C:
		return errBackendAway
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
