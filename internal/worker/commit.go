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
	session *session
	result  batch.Result
}

// committer sends results to Redis, up to statestore.MaxFinish of one batch per call. Results gather while a call is
// under way. Calls therefore grow with the load, and a lone result does not wait.
type committer struct {
	store *statestore.Store
	log   *slog.Logger
	queue chan completion // bounded: at most one result per live job
	ended chan struct{}
}

func newCommitter(s *statestore.Store, bound int, log *slog.Logger) *committer {
	return &committer{store: s, log: log, queue: make(chan completion, bound), ended: make(chan struct{})}
}

// add queues a result. The job stays live until the result is committed or refused.
func (c *committer) add(s *session, r batch.Result) { c.queue <- completion{s, r} }

// close waits until all added results are committed or refused, or the context of commitAll is done. Nothing may be added afterwards.
func (c *committer) close() {
	close(c.queue)
	<-c.ended
}

// commitAll commits results until the queue is closed and empty.
func (c *committer) commitAll(ctx context.Context) {
	defer close(c.ended)
	for first := range c.queue {
		byBatch := make(map[batch.ID][]completion)
		var order []batch.ID
		for _, next := range c.gather(first) {
			id := next.session.lease.Job.Batch
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
			Lease: p.session.lease, Result: p.result, Items: p.session.items, NoJournal: !p.session.journalled,
			Effects: p.session.batch.def.Effects(),
			// The result may have another error: the batch was cancelled, or its time ran out.
			Parked: p.session.parked.Load() && p.result.Error != nil && p.result.Error.Type == batch.EffectUnknown,
		}
	}
	logged := false
	store := c.store.Patient(func(err error) {
		if err != nil && !logged {
			logged = true
			c.log.Warn("could not commit results; retrying until Redis answers", "batch", id, "results", len(args), "error", err)
		}
	})
	outcomes, err := store.Finish(ctx, id, args)
	if err != nil {
		c.log.Error("results were not committed; their leases expire and the jobs run again", "batch", id, "results", len(args), "error", err)
	}
	for i, p := range part {
		outcome := statestore.Fenced
		if err == nil {
			outcome = outcomes[i]
		}
		if err == nil && outcome == statestore.Fenced {
			p.session.floods.late.warn(c.log, "result was not committed: the lease was lost to another worker", "job", p.session.lease.Job, "token", p.session.lease.Token)
		}
		if outcome == statestore.Committed && p.session.batch.plans != "" {
			// A ring is a hint; workers also poll.
			_ = c.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: p.session.batch.plans})
		}
		p.session.ended(p.result, outcome)
	}
}
