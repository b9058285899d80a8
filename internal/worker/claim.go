package worker

import (
	"context"
	"errors"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// idlePoll is how often the worker looks for work when nobody rings.
	idlePoll = 2 * time.Second
	// gather is how long the loop waits for more agents to end before it claims for a few: one call for many jobs.
	gather = 5 * time.Millisecond
)

// claim asks for jobs whenever some can be admitted, until ctx is done. life bounds the agents that it starts.
func (w *Worker) claim(ctx, life context.Context) {
	poll := min(idlePoll, w.cfg.Lease/5)
	for ctx.Err() == nil {
		got, err := w.round(ctx, life)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("could not claim jobs; trying again", "error", err)
			sleep(ctx, time.Second)
			continue
		}
		if got > 0 && w.room() >= scheduler.DefaultMaxBatch/4 {
			continue // there may be more where these came from
		}
		idle := time.NewTimer(poll)
		select {
		case <-ctx.Done():
		case <-idle.C:
		case <-w.wake:
			sleep(ctx, gather)
		}
		idle.Stop()
	}
}

// room is how many jobs can be admitted now.
func (w *Worker) room() int {
	return scheduler.ClaimSize(scheduler.Snapshot{
		Ready: w.ready.open(), MaxAgents: w.cfg.MaxAgents, LiveAgents: w.liveCount(),
		Slots: w.slots.Capacity(), SlotQueue: w.slots.Waiting(), MaxBatch: statestore.MaxClaim,
	})
}

// round claims once from each active batch while there is room, and returns how many jobs came.
func (w *Worker) round(ctx, life context.Context) (int, error) {
	if w.room() == 0 {
		return 0, nil
	}
	ids, err := w.batches.turn(ctx)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, id := range ids {
		n := w.room()
		if n == 0 {
			break
		}
		got, err := w.claimFrom(ctx, life, id, n)
		if errors.Is(err, statestore.ErrNotFound) {
			w.batches.retire(ctx, id)
			continue
		}
		if err != nil {
			return total, err
		}
		total += got
	}
	return total, nil
}

func (w *Worker) claimFrom(ctx, life context.Context, id batch.ID, n int) (int, error) {
	work, err := w.batches.get(ctx, id)
	if err != nil {
		return 0, err
	}
	if work == nil {
		return 0, nil
	}
	if work.maxAgents > 0 {
		if n = min(n, work.maxAgents-w.liveOf(id)); n <= 0 {
			return 0, nil
		}
	}
	if w.batches.doubted(id) {
		if err := w.reconcile(ctx, id); err != nil {
			return 0, err
		}
		w.batches.clear(id)
	}
	phase, jobs, err := w.cfg.Store.Claim(ctx, statestore.ClaimParams{
		Batch: id, Consumer: w.cfg.Consumer, Count: n, Lease: w.cfg.Lease,
	})
	if err != nil {
		if !errors.Is(err, statestore.ErrNotFound) {
			w.batches.doubt(id)
		}
		return 0, err
	}
	w.metrics.claimed(len(jobs))
	if phase == batch.Done {
		w.batches.retire(ctx, id)
	}
	for _, c := range jobs {
		w.admit(life, work, phase, c)
	}
	return len(jobs), nil
}

// reconcile releases what a lost reply leased to this worker: jobs that Redis counts as ours and that are not live.
func (w *Worker) reconcile(ctx context.Context, id batch.ID) error {
	held, err := w.cfg.Store.Held(ctx, id, w.cfg.Consumer, w.cfg.MaxAgents+statestore.MaxClaim)
	if err != nil {
		return err
	}
	var lost []batch.Lease
	w.mu.Lock()
	for _, l := range held {
		if a := w.live[l.Job]; a == nil || a.lease.Token != l.Token {
			lost = append(lost, l)
		}
	}
	w.mu.Unlock()
	if len(lost) == 0 {
		return nil
	}
	w.log.Info("releasing jobs whose claim's reply was lost", "batch", id, "jobs", len(lost))
	return w.cfg.Store.Release(ctx, id, lost)
}

// admit makes a claimed job live and starts it, or finishes it at once if it must not run.
func (w *Worker) admit(life context.Context, work *work, phase batch.Phase, c statestore.Claimed) {
	ctx, cancel := context.WithCancelCause(life)
	a := &attempt{lease: c.Lease, work: work, cancel: cancel, journalled: len(c.Journal) > 0}
	w.mu.Lock()
	old := w.live[c.Lease.Job]
	w.live[c.Lease.Job] = a
	w.mu.Unlock()
	if old != nil {
		// Our own lease lapsed, and we were the first to take it over.
		w.metrics.fenced()
		old.cancel(statestore.ErrFenced)
	}
	switch {
	case phase == batch.Cancelling:
		w.commits.add(a, w.cancelledResult(c.Lease))
	case c.Exhausted:
		w.log.Warn("job used up its attempts", "job", c.Lease.Job, "attempts", c.Lease.Attempt)
		w.commits.add(a, w.lostResult(c.Lease))
	default:
		w.agents.Go(func() { w.attempt(ctx, a, c) })
	}
}

func (w *Worker) liveOf(id batch.ID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for job := range w.live {
		if job.Batch == id {
			n++
		}
	}
	return n
}
