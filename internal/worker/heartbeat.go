package worker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// heartbeat renews every lease three times per lease duration and writes the worker's record, until ctx is done. A
// failed renewal is retried sooner.
func (w *Worker) heartbeat(ctx context.Context) {
	every := w.cfg.Lease / 3
	last, tokens := time.Now(), int64(0)
	ok := true
	for {
		wait := every
		if !ok {
			wait = every / 4
		}
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		renewed := w.renew(ctx, every)
		switch {
		case !renewed && ok:
			w.log.Warn("could not renew leases; agents continue, and results wait for Redis", "redis", w.cfg.Store.Address())
		case renewed && !ok:
			w.log.Info("leases are renewed again")
			w.poke()
		}
		ok = renewed
		w.seeBudgets(ctx)
		if !ok {
			continue
		}
		w.cfg.Pace(batch.Job{Index: -1}) // lets agents that were just cancelled end before they are counted
		record := w.Status()
		record.TokensPerSec = float64(record.Usage.CompletionTokens-tokens) / max(time.Since(last).Seconds(), 0.001)
		last, tokens = time.Now(), record.Usage.CompletionTokens
		w.register(ctx, record, every)
	}
}

// registerNow writes the worker's record between two heartbeats.
func (w *Worker) registerNow(ctx context.Context) {
	w.cfg.Pace(batch.Job{Index: -1}) // agents may change at this instant what the record counts
	w.register(ctx, w.Status(), w.cfg.Lease/3)
}

// lostAfter is how many heartbeats a worker may miss before it is shown as lost.
const lostAfter = 2

func (w *Worker) register(ctx context.Context, record batch.WorkerRecord, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, every)
	defer cancel()
	if err := w.cfg.Store.Register(ctx, record, lostAfter*every); err != nil && !statestore.Unreachable(err) {
		w.log.Warn("could not write the worker's record", "error", err)
	}
}

// renew renews all leases, one call per batch, and cancels agents that are fenced or belong to a cancelled batch. It
// reports whether Redis answered every call.
func (w *Worker) renew(ctx context.Context, timeout time.Duration) bool {
	ok := true
	mine := w.leases()
	for _, id := range slices.Sorted(maps.Keys(mine)) { // in a fixed order, so that a simulated run can be replayed
		leases := mine[id]
		call, cancel := context.WithTimeout(ctx, timeout)
		phase, fenced, err := w.cfg.Store.Renew(call, id, w.cfg.Consumer, w.cfg.Lease, leases)
		cancel()
		if err != nil {
			ok = false
			continue
		}
		for _, l := range fenced {
			w.cancelWhere(statestore.ErrFenced, func(a *attempt) bool { return a.lease == l })
		}
		if phase == batch.Cancelling {
			w.cancelWhere(errCancelled, func(a *attempt) bool { return a.lease.Job.Batch == id })
		}
	}
	return ok && w.touch(ctx, timeout, mine)
}

// touch marks batches without local jobs as reachable. Otherwise their expired leases would be mistaken for an outage:
// their own workers may have died, and all others may be too busy to claim from them. Each rare claim would then seem to
// end an outage, and the leases would never expire.
func (w *Worker) touch(ctx context.Context, timeout time.Duration, mine map[batch.ID][]batch.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	active, err := w.batches.list(ctx)
	for _, id := range active {
		if _, held := mine[id]; !held && err == nil {
			_, _, err = w.cfg.Store.Renew(ctx, id, w.cfg.Consumer, w.cfg.Lease, nil)
		}
	}
	return err == nil
}

func (w *Worker) leases() map[batch.ID][]batch.Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[batch.ID][]batch.Lease)
	for job, a := range w.live {
		out[job.Batch] = append(out[job.Batch], a.lease)
	}
	for _, leases := range out {
		slices.SortFunc(leases, func(a, b batch.Lease) int {
			return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Job.Index, b.Job.Index))
		})
	}
	return out
}
