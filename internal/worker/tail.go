package worker

import (
	"context"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

const (
	// tailJobs is the number of waiting jobs below which a batch is near its end. With more, a claim leaves enough for
	// others.
	tailJobs = 64 * 64
	// The number of waiting jobs is read again after tailEvery near the end of a batch, and after farEvery before.
	tailEvery, farEvery = time.Second, 5 * time.Second
)

// tails holds how many jobs wait in each batch, and the other workers. It belongs to the claimer.
type tails struct {
	peers     []batch.WorkerRecord // other workers that take jobs of the same models
	peersRead time.Time
	waiting   map[batch.ID]*waitingJobs
}

type waitingJobs struct {
	n    int
	read time.Time
}

// limitAtEnd limits a claim of n jobs near the end of a batch, so that no worker queues jobs that another worker could start
// at once. If the counts cannot be read, there is no limit.
func (c *claimer) limitAtEnd(ctx context.Context, id batch.ID, n int) int {
	left := c.tails.waiting[id]
	if left == nil || time.Since(left.read) >= tailEvery && (left.n <= tailJobs || time.Since(left.read) >= farEvery) {
		info, err := c.store.Info(ctx, id)
		if err != nil {
			return n
		}
		left = &waitingJobs{int(info.Counts.Waiting), time.Now()}
		c.tails.waiting[id] = left
	}
	if left.n > tailJobs {
		return n
	}
	if every := c.leaseFor / 3; c.tails.peersRead.IsZero() || time.Since(c.tails.peersRead) >= every {
		all, err := c.store.Workers(ctx)
		if err != nil {
			return n
		}
		c.tails.peersRead = time.Now()
		c.tails.peers = slices.DeleteFunc(all, func(r batch.WorkerRecord) bool { return !c.takesTheSame(r) })
	}
	t := scheduler.Tail{Waiting: left.n, Free: free(c.status())}
	for _, r := range c.tails.peers {
		t.OthersFree += free(r)
	}
	return t.Share(n)
}

// claimed subtracts n claimed jobs from the waiting ones.
func (t *tails) claimed(id batch.ID, n int) {
	if left := t.waiting[id]; left != nil {
		left.n = max(left.n-n, 0)
	}
}

// keep drops all batches except these.
func (t *tails) keep(open []*openBatch) {
	for id := range t.waiting {
		if !slices.ContainsFunc(open, func(b *openBatch) bool { return b.id == id }) {
			delete(t.waiting, id)
		}
	}
}

// takesTheSame reports whether another worker takes jobs that this one could take: they serve a common model.
func (c *claimer) takesTheSame(r batch.WorkerRecord) bool {
	if r.Consumer == c.consumer || !r.Ready || r.Draining || r.Lost {
		return false
	}
	return slices.ContainsFunc(c.server.served(), func(m backend.Model) bool { return slices.Contains(r.Models, m.ID) })
}

// free returns how many more slots than live agents a worker has. Agents that wait for a tool need their slot again, and
// agents that just started are about to take one.
func free(r batch.WorkerRecord) int { return max(0, min(r.MaxAgents, r.Slots)-r.LiveAgents) }
