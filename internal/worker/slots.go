package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

type paceKey struct{}

func withPace(ctx context.Context, pace func()) context.Context {
	return context.WithValue(ctx, paceKey{}, pace)
}

type modelKey struct{}

// withModel sets the model of an agent's calls.
func withModel(ctx context.Context, model string) context.Context {
	return context.WithValue(ctx, modelKey{}, model)
}

// batchSlots gives agents their slots. It waits for the backend and for room in its KV cache. Then it takes a slot of
// the batch, if the batch limits its own requests, and a slot of the worker. An outage therefore costs agents time and
// no retries. After patience without an answered call, agents end with errBackendAway and their jobs are released.
type batchSlots struct {
	worker   *scheduler.Slots
	health   *health
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
	job, _ := ctx.Value(accountKey{}).(string)
	model, _ := ctx.Value(modelKey{}).(string)
	if agent.Reserved(ctx) && b.health.isPaused(model, job) {
		return nil, agent.ErrPaused
	}
	err := b.health.await(ctx, model, job, b.patience)
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
