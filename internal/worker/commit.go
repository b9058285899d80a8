package worker

import (
	"context"
	"log/slog"
	"slices"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// completion is a result to be committed.
type completion struct {
	attempt *attempt
	result  batch.Result
}

// committer sends results to Redis, up to statestore.MaxFinish of one batch per call. Results gather while a call is
// under way. Calls therefore grow with the load, and a lone result does not wait.
type committer struct {
	store  *statestore.Store
	settle func(*attempt, batch.Result, statestore.FinishOutcome)
	log    *slog.Logger
	queue  chan completion // bounded: at most one result per live job
	ended  chan struct{}
}

func newCommitter(s *statestore.Store, bound int, settle func(*attempt, batch.Result, statestore.FinishOutcome), log *slog.Logger) *committer {
	return &committer{store: s, settle: settle, log: log, queue: make(chan completion, bound), ended: make(chan struct{})}
}

// add queues a result. The job stays live until settle is called for it.
func (c *committer) add(a *attempt, r batch.Result) { c.queue <- completion{a, r} }

// close waits until all added results are settled, or the context of run is done. Nothing may be added afterwards.
func (c *committer) close() {
	close(c.queue)
	<-c.ended
}

// run commits results until the queue is closed and empty.
func (c *committer) run(ctx context.Context) {
	defer close(c.ended)
	for first := range c.queue {
		byBatch := make(map[batch.ID][]completion)
		var order []batch.ID
		for _, next := range c.gather(first) {
			id := next.attempt.lease.Job.Batch
			if byBatch[id] == nil {
				order = append(order, id)
			}
			byBatch[id] = append(byBatch[id], next)
		}
		for _, id := range order {
			for part := range slices.Chunk(byBatch[id], statestore.MaxFinish) {
				c.commit(ctx, id, part)
			}
		}
	}
}

// gather returns first and the results that are queued now. It does not block.
func (c *committer) gather(first completion) []completion {
	out := []completion{first}
	for len(out) < 8*statestore.MaxFinish {
		select {
		case next, ok := <-c.queue:
			if !ok {
				return out
			}
			out = append(out, next)
		default:
			return out
		}
	}
	return out
}

// commit sends the results of one call, and keeps trying during an outage of Redis.
func (c *committer) commit(ctx context.Context, id batch.ID, part []completion) {
	args := make([]statestore.Completion, len(part))
	for i, p := range part {
		args[i] = statestore.Completion{
			Lease: p.attempt.lease, Result: p.result, Items: p.attempt.items, NoJournal: !p.attempt.journalled,
			Effects: p.attempt.work.program.Effects(),
			// The result may have another error: the batch was cancelled, or its time ran out.
			Parked: p.attempt.parked.Load() && p.result.Error != nil && p.result.Error.Type == batch.EffectUnknown,
		}
	}
	var outcomes []statestore.FinishOutcome
	told := false
	err := c.store.UntilKnown(ctx, func() (err error) {
		_, outcomes, err = c.store.Finish(ctx, id, args)
		if err != nil && !told {
			told = true
			c.log.Warn("could not commit results; retrying until Redis answers", "batch", id, "results", len(args), "error", err)
		}
		return err
	})
	if err != nil {
		c.log.Error("results were not committed; their leases expire and the jobs run again", "batch", id, "results", len(args), "error", err)
	}
	for i, p := range part {
		outcome := statestore.Fenced
		if err == nil {
			outcome = outcomes[i]
		}
		if err == nil && outcome == statestore.Fenced {
			c.log.Warn("result was not committed: the lease was lost to another worker", "job", p.attempt.lease.Job, "token", p.attempt.lease.Token)
		}
		if outcome == statestore.Committed && p.attempt.work.plans != "" {
			// A ring is a hint; workers also poll.
			_ = c.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: p.attempt.work.plans})
		}
		c.settle(p.attempt, p.result, outcome)
	}
}
