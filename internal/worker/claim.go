package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// idlePoll is the longest interval at which the worker looks for work without a ring.
	idlePoll = 2 * time.Second
	// gather is how long the loop waits for more agents to end before it claims, so that one call claims many jobs.
	gather = 5 * time.Millisecond
)

// claim claims jobs whenever some can be admitted, until ctx is done. life is the context of the agents that it starts.
func (w *Worker) claim(ctx, life context.Context) {
	for ctx.Err() == nil {
		got, err := w.round(ctx, life)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("could not claim jobs; trying again", "error", err)
			sleep(ctx, time.Second)
			continue
		}
		if got > 0 && w.room() >= 16 {
			continue // more jobs may be waiting, and there is room for a useful number
		}
		idle := time.NewTimer(w.poll())
		select {
		case <-ctx.Done():
		case <-idle.C:
		case <-w.wake:
			sleep(ctx, gather)
		}
		idle.Stop()
	}
}

// room returns how many jobs can be admitted now.
func (w *Worker) room() int {
	if w.occupied() {
		return 0
	}
	return scheduler.ClaimSize(scheduler.Snapshot{
		Ready: w.health.isReady(), MaxAgents: w.cfg.MaxAgents, LiveAgents: w.liveCount(),
		Slots: w.slots.Capacity(), SlotQueue: w.slots.Waiting(), MaxBatch: statestore.MaxClaim,
		Server: w.pressure.queue(),
	})
}

// round claims in fair shares while there is room and a batch has jobs, and returns how many jobs it claimed. A batch
// that returned fewer jobs than requested is skipped for the rest of the round.
func (w *Worker) round(ctx, life context.Context) (int, error) {
	w.reconcileAll(ctx)
	if w.room() == 0 {
		return 0, nil
	}
	open, err := w.openBatches(ctx)
	if err != nil {
		return 0, err
	}
	defer w.kv.roundEnded()
	w.fair.Meet(candidatesOf(open))
	w.tails.keep(open)
	w.kv.keep(open)
	if open, err = w.claimable(ctx, open); err != nil {
		return 0, err
	}
	total := 0
	for len(open) > 0 {
		room := w.room()
		if room == 0 {
			break
		}
		candidates := candidatesOf(open)
		i := w.fair.Next(candidates)
		n := scheduler.Quantum(candidates, room)
		got, err := w.claimFrom(ctx, life, open[i], n)
		if errors.Is(err, statestore.ErrNotFound) {
			w.batches.retire(ctx, open[i].id)
			err = nil
		}
		if err != nil {
			return total, err
		}
		w.fair.Served(candidates[i], got)
		total += got
		if got < n {
			open = slices.Delete(open, i, i+1)
		}
	}
	return total, nil
}

func candidatesOf(open []*work) []scheduler.Candidate {
	out := make([]scheduler.Candidate, len(open))
	for i, b := range open {
		out[i] = b.from
	}
	return out
}

// openBatches returns the active batches that this worker can serve.
func (w *Worker) openBatches(ctx context.Context) ([]*work, error) {
	ids, err := w.batches.list(ctx)
	if err != nil {
		return nil, err
	}
	var out []*work
	for _, id := range ids {
		b, err := w.batches.get(ctx, id)
		switch {
		case errors.Is(err, statestore.ErrNotFound):
			w.batches.retire(ctx, id)
		case err != nil:
			return nil, err
		case b != nil:
			out = append(out, b)
		}
	}
	return out, nil
}

// claimFrom claims up to n jobs of one batch and starts them.
func (w *Worker) claimFrom(ctx, life context.Context, work *work, n int) (int, error) {
	id := work.id
	if work.maxAgents > 0 {
		if n = min(n, work.maxAgents-w.liveOf(id)); n <= 0 {
			return 0, nil
		}
	}
	if work.seeding != nil {
		if n = work.seeding.Room(time.Now(), n); n == 0 {
			return 0, nil
		}
	}
	if n = w.health.room(work.program.Model(), id, n, func() int { return w.liveOf(id) }); n == 0 {
		return 0, nil
	}
	if n = w.kv.room(work, n); n == 0 {
		return 0, nil
	}
	if n = w.share(ctx, id, n); n == 0 {
		return 0, nil
	}
	if err := w.reconcile(ctx, id); err != nil {
		return 0, err
	}
	phase, jobs, err := w.cfg.Store.Claim(ctx, statestore.ClaimParams{
		Batch: id, Consumer: w.cfg.Consumer, Count: n, Lease: w.cfg.Lease, Idle: w.liveCount() == 0,
	})
	if err != nil {
		if !errors.Is(err, statestore.ErrNotFound) {
			w.batches.doubt(id)
		}
		return 0, err
	}
	w.metrics.claimed(len(jobs))
	w.tails.claimed(id, len(jobs))
	if phase == batch.Done {
		w.batches.retire(ctx, id)
	}
	for _, c := range jobs {
		w.admit(life, work, phase, c)
	}
	if len(jobs) == 0 {
		return 0, w.volunteer(ctx, work)
	}
	return len(jobs), nil
}

// reconcileAll reconciles the batches that are in doubt, even without room for more jobs. Otherwise leases that Redis
// holds for this worker and that no agent renews would expire, and each would cost its job an attempt.
func (w *Worker) reconcileAll(ctx context.Context) {
	if !w.batches.anyDoubted() {
		return
	}
	ids, err := w.batches.list(ctx)
	if err != nil {
		return // the list that the round reads next reports the error
	}
	for _, id := range ids {
		if err := w.reconcile(ctx, id); err != nil && ctx.Err() == nil {
			w.log.Warn("could not read from Redis which jobs this worker holds; retrying before the next claim", "batch", id, "error", err)
		}
	}
}

// reconcile releases the leases that Redis holds for this worker without a live job, if the batch is in doubt. Only the
// claim loop may call it: after a claim's reply, jobs are not live until the loop admits them.
func (w *Worker) reconcile(ctx context.Context, id batch.ID) error {
	since, yes := w.batches.doubted(id)
	if !yes {
		return nil
	}
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
	if len(lost) > 0 {
		w.log.Info("releasing jobs that are leased to this worker but do not run here: a claim's reply was lost, or Redis forgot their results",
			"batch", id, "jobs", len(lost))
		if err := w.cfg.Store.Release(ctx, id, lost); err != nil {
			return err
		}
	}
	w.batches.trust(id, since)
	return nil
}

// admit adds a claimed job to the live jobs. It starts the job, or finishes it at once if it must not run.
func (w *Worker) admit(life context.Context, work *work, phase batch.Phase, c statestore.Claimed) {
	ctx, cancel := context.WithCancelCause(life)
	ctx, spans := w.spans.begin(ctx, work, c.Lease)
	a := &attempt{
		lease: c.Lease, work: work, cancel: cancel, spans: spans, journalled: len(c.Journal) > 0, alone: c.Alone, payload: c.Payload,
	}
	w.mu.Lock()
	old := w.live[c.Lease.Job]
	w.live[c.Lease.Job] = a
	w.mu.Unlock()
	if old != nil {
		// This worker's own lease expired, and this worker was the first to claim the job again.
		w.metrics.fenced()
		old.cancel(statestore.ErrFenced)
	}
	switch {
	case old != nil && old.lease == c.Lease:
		// Redis would count the older agent's requests under the same token as those of a new agent.
		w.log.Warn("Redis forgot that it had leased this job to this worker: it was restarted, or replaced by its replica; the job is released",
			"job", c.Lease.Job, "token", c.Lease.Token)
		w.agents.Go(func() { w.release(context.WithoutCancel(ctx), a) })
	case phase == batch.Cancelling:
		w.agents.Go(func() { w.end(a, w.cancelledResult(a)) })
	case c.Exhausted:
		w.logOf(c.Lease).Warn("job used up its attempts")
		w.agents.Go(func() { w.end(a, w.lostResult(a)) })
	default:
		if c.Alone {
			w.logOf(c.Lease).Warn("job runs alone: the workers of all its attempts were lost, and this is its last")
		}
		w.kv.start(work, c.Lease.Job, c.Payload, c.Journal)
		if work.seeding != nil {
			work.seeding.Started(time.Now())
		}
		w.agents.Go(func() { w.attempt(ctx, a, c) })
	}
}

// end commits the result of a job that must not run.
func (w *Worker) end(a *attempt, r batch.Result) {
	w.cfg.Pace(a.lease.Job)
	w.commits.add(a, r)
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
