package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// idlePoll is the longest interval at which the worker looks for work without a ring.
	idlePoll = 2 * time.Second
	// gather is how long the loop waits for more agents to end before it claims, so that one call claims many jobs.
	gather = 5 * time.Millisecond
)

// claimer decides how many jobs of which batch the worker claims, and starts their sessions. It belongs to one goroutine.
type claimer struct {
	*shared
	store     *statestore.Store // answers at once; a claim must not be repeated
	consumer  string
	maxAgents int
	status    func() batch.WorkerRecord
	report    signal // has the worker's record written

	fair    *scheduler.FairShare
	standby batch.ID // the batch that this worker is the standby of, or ""
	tails   tails
}

func newClaimer(s *shared, cfg Config, status func() batch.WorkerRecord, report signal) *claimer {
	return &claimer{
		shared: s, store: cfg.Store, consumer: cfg.Consumer, maxAgents: cfg.MaxAgents, status: status, report: report,
		fair: scheduler.NewFairShare(), tails: tails{ends: map[batch.ID]*ending{}},
	}
}

// claimJobs claims jobs whenever some can be admitted, until ctx is done. life is the context of the agents that it starts.
func (c *claimer) claimJobs(ctx, life context.Context) {
	for ctx.Err() == nil {
		got, err := c.round(ctx, life)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("could not claim jobs; trying again", "error", err)
			_ = sleep.For(ctx, time.Second)
			continue
		}
		if got > 0 && c.room() >= 16 {
			continue // more jobs may be waiting, and there is room for a useful number
		}
		idle := time.NewTimer(c.wait())
		select {
		case <-ctx.Done():
		case <-idle.C:
		case <-c.claim:
			_ = sleep.For(ctx, gather)
		}
		idle.Stop()
	}
}

// room returns how many jobs can be admitted now.
func (c *claimer) room() int {
	if c.live.runsAlone() {
		return 0
	}
	return scheduler.ClaimSize(scheduler.Snapshot{
		Ready: c.server.health.isReady(), MaxAgents: c.maxAgents, LiveAgents: c.live.count(),
		Slots: c.server.slots.Capacity(), SlotQueue: c.server.slots.Waiting(), MaxBatch: statestore.MaxClaim,
		Server: c.server.pressure.queue(),
	})
}

// round claims in fair shares while there is room and a batch has jobs, and returns how many jobs it claimed. A batch
// that returned fewer jobs than requested is skipped for the rest of the round.
func (c *claimer) round(ctx, life context.Context) (int, error) {
	c.reconcileAll(ctx)
	if c.room() == 0 {
		return 0, nil
	}
	open, err := c.openBatches(ctx)
	if err != nil {
		return 0, err
	}
	defer c.server.kv.roundEnded()
	c.fair.Meet(candidatesOf(open))
	c.tails.keep(open)
	c.server.kv.keep(open)
	if open, err = c.claimable(ctx, open); err != nil {
		return 0, err
	}
	total := 0
	for len(open) > 0 {
		room := c.room()
		if room == 0 {
			break
		}
		candidates := candidatesOf(open)
		i := c.fair.Next(candidates)
		n := scheduler.Quantum(candidates, room)
		got, err := c.claimFrom(ctx, life, open[i], n)
		if errors.Is(err, statestore.ErrNotFound) {
			c.batches.retire(ctx, open[i].id)
			err = nil
		}
		if err != nil {
			return total, err
		}
		c.fair.Served(candidates[i], got)
		total += got
		if got < n {
			open = slices.Delete(open, i, i+1)
		}
	}
	return total, nil
}

func candidatesOf(open []*openBatch) []scheduler.Candidate {
	out := make([]scheduler.Candidate, len(open))
	for i, b := range open {
		out[i] = b.from
	}
	return out
}

// openBatches returns the active batches that this worker can serve.
func (c *claimer) openBatches(ctx context.Context) ([]*openBatch, error) {
	ids, err := c.batches.list(ctx)
	if err != nil {
		return nil, err
	}
	var out []*openBatch
	for _, id := range ids {
		b, err := c.batches.get(ctx, id)
		switch {
		case errors.Is(err, statestore.ErrNotFound):
			c.batches.retire(ctx, id)
		case err != nil:
			return nil, err
		case b != nil:
			out = append(out, b)
		}
	}
	return out, nil
}

// claimFrom claims up to n jobs of one batch and starts them.
func (c *claimer) claimFrom(ctx, life context.Context, b *openBatch, n int) (int, error) {
	id := b.id
	if b.maxAgents > 0 {
		if n = min(n, b.maxAgents-c.live.countOf(id)); n <= 0 {
			return 0, nil
		}
	}
	if b.seeding != nil {
		if n = b.seeding.Room(time.Now(), n); n == 0 {
			return 0, nil
		}
	}
	if n = c.server.health.room(b.model(), id, n, func() int { return c.live.countOf(id) }); n == 0 {
		return 0, nil
	}
	if n = c.server.kv.room(b, n); n == 0 {
		return 0, nil
	}
	if n = c.limitAtEnd(ctx, id, n); n == 0 {
		return 0, nil
	}
	if err := c.reconcile(ctx, id); err != nil {
		return 0, err
	}
	phase, jobs, err := c.store.Claim(ctx, statestore.ClaimParams{
		Batch: id, Consumer: c.consumer, Count: n, Lease: c.leaseFor, Idle: c.live.count() == 0,
	})
	if err != nil {
		if !errors.Is(err, statestore.ErrNotFound) {
			c.batches.doubt(id)
		}
		return 0, err
	}
	c.metrics.claimed(len(jobs))
	if phase == batch.Done {
		c.batches.retire(ctx, id)
	}
	for _, j := range jobs {
		c.admit(life, b, phase, j)
	}
	c.claimed(id, len(jobs))
	if len(jobs) == 0 {
		return 0, c.volunteer(ctx, b)
	}
	return len(jobs), nil
}

// reconcileAll reconciles the batches that are in doubt, even without room for more jobs. Otherwise leases that Redis
// holds for this worker and that no agent renews would expire, and each would cost its job an attempt.
func (c *claimer) reconcileAll(ctx context.Context) {
	if !c.batches.anyDoubted() {
		return
	}
	ids, err := c.batches.list(ctx)
	if err != nil {
		return // the list that the round reads next reports the error
	}
	for _, id := range ids {
		if err := c.reconcile(ctx, id); err != nil && ctx.Err() == nil {
			c.log.Warn("could not read from Redis which jobs this worker holds; retrying before the next claim", "batch", id, "error", err)
		}
	}
}

// reconcile releases the leases that Redis holds for this worker without a live job, if the batch is in doubt. Only the
// claim loop may call it: after a claim's reply, jobs are not live until the loop admits them.
func (c *claimer) reconcile(ctx context.Context, id batch.ID) error {
	since, yes := c.batches.doubted(id)
	if !yes {
		return nil
	}
	held, err := c.store.Held(ctx, id, c.consumer, c.maxAgents+statestore.MaxClaim)
	if err != nil {
		return err
	}
	if lost := c.live.missing(held); len(lost) > 0 {
		c.log.Info("releasing jobs that are leased to this worker but do not run here: a claim's reply was lost, or Redis forgot their results",
			"batch", id, "jobs", len(lost))
		if err := c.store.Release(ctx, id, lost); err != nil {
			return err
		}
	}
	c.batches.trust(id, since)
	return nil
}

// admit makes a claimed job live. It starts the job's agent, or finishes the job at once if it must not run.
func (c *claimer) admit(life context.Context, b *openBatch, phase batch.Phase, j statestore.Claimed) {
	ctx, cancel := context.WithCancelCause(life)
	s := c.newSession(b, j, cancel)
	ctx, s.span = c.spans.beginJob(ctx, b, j.Lease)
	earlier := c.live.add(s)
	if earlier != nil {
		// This worker's own lease expired, and this worker was the first to claim the job again.
		c.metrics.fenced()
		earlier.cancel(statestore.ErrFenced)
	}
	switch {
	case earlier != nil && earlier.lease == j.Lease:
		// Redis would count the older agent's requests under the same token as those of a new agent.
		c.floods.twice.warn(c.log, "Redis forgot that it had leased this job to this worker: it was restarted, or replaced by its replica; the job is released",
			"job", j.Lease.Job, "token", j.Lease.Token)
		c.live.agents.Go(func() { s.release(context.WithoutCancel(ctx)) })
	case phase == batch.Cancelling:
		c.live.agents.Go(func() { s.endWith(s.cancelledResult()) })
	case j.Exhausted:
		s.log.Warn("job used up its attempts")
		c.live.agents.Go(func() { s.endWith(s.lostResult()) })
	default:
		if j.Alone {
			s.log.Warn("job runs alone: the workers of all its attempts were lost, and this is its last")
		}
		c.server.kv.start(b, j.Lease.Job, j.Payload, j.Journal)
		if b.seeding != nil {
			b.seeding.Started(time.Now())
		}
		c.live.agents.Go(func() { s.attempt(ctx, j) })
	}
}
