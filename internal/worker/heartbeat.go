package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// heartbeat keeps this worker's leases. It belongs to one goroutine.
type heartbeat struct {
	store    *statestore.Store
	consumer string
	lease    time.Duration
	batches  *batches
	live     *liveJobs
	record   *recordWriter
	claim    signal
	log      *slog.Logger
}

// renewLeases renews every lease three times per lease duration and writes the worker's record, until ctx is done. A
// failed renewal is retried sooner.
func (h *heartbeat) renewLeases(ctx context.Context) {
	every := h.lease / 3
	h.record.last = time.Now()
	ok := true
	for {
		wait := every
		if !ok {
			wait = every / 4
		}
		_ = sleep.For(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		renewed := h.renew(ctx, every)
		switch {
		case !renewed && ok:
			h.log.Warn("could not renew leases; agents continue, and results wait for Redis", "redis", h.store.Address())
		case renewed && !ok:
			h.log.Info("leases are renewed again")
			h.claim.send()
		}
		ok = renewed
		h.seeBudgets(ctx)
		if !ok {
			continue
		}
		h.record.withRate(ctx)
	}
}

// renew renews all leases, one call per batch, and cancels agents that are fenced or belong to a cancelled batch. It
// reports whether Redis answered every call.
func (h *heartbeat) renew(ctx context.Context, timeout time.Duration) bool {
	ok := true
	mine := h.live.leases()
	for _, id := range slices.Sorted(maps.Keys(mine)) { // in a fixed order, so that a simulated run can be replayed
		leases := mine[id]
		call, cancel := context.WithTimeout(ctx, timeout)
		phase, fenced, err := h.store.Renew(call, id, h.consumer, h.lease, leases)
		cancel()
		if err != nil {
			ok = false
			continue
		}
		for _, l := range fenced {
			h.live.cancel(statestore.ErrFenced, func(s *session) bool { return s.lease == l })
		}
		if phase == batch.Cancelling {
			h.live.cancelBatch(id)
		}
	}
	return ok && h.touch(ctx, timeout, mine)
}

// touch marks batches without local jobs as reachable. Otherwise their expired leases would be mistaken for an outage:
// their own workers may have died, and all others may be too busy to claim from them. Each rare claim would then seem to
// end an outage, and the leases would never expire.
func (h *heartbeat) touch(ctx context.Context, timeout time.Duration, mine map[batch.ID][]batch.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	active, err := h.batches.list(ctx)
	for _, id := range active {
		if _, held := mine[id]; !held && err == nil {
			_, _, err = h.store.Renew(ctx, id, h.consumer, h.lease, nil)
		}
	}
	return err == nil
}

// seeBudgets checks whether the batches of live jobs have got a budget.
func (h *heartbeat) seeBudgets(ctx context.Context) {
	accounts := h.live.unlimited()
	for _, id := range slices.Sorted(maps.Keys(accounts)) { // in a fixed order, so that a simulated run can be replayed
		if yes, err := h.store.Budgeted(ctx, id); err == nil && yes {
			accounts[id].budgeted.Store(true)
		}
	}
}
