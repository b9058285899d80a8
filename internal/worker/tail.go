package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/batchagent/batchagent/internal/serving"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

const (
	// tailJobs is the number of waiting jobs below which a batch is near its end. With more, a claim leaves enough for
	// others.
	tailJobs = 64 * 64
	// The number of waiting jobs is read again after farEvery. Near the end of a batch, it and the records of the other workers are read
	// again after tailEvery, and after tailEach for each of these workers.
	farEvery, tailEvery, tailEach = 5 * time.Second, 200 * time.Millisecond, 10 * time.Millisecond
	// A worker leaves waiting jobs to others for an eighth of an agent's life, within these limits. If the jobs still wait then, the others do
	// not take them: their servers are full, or they are gone.
	leastPatience, mostPatience = 500 * time.Millisecond, 10 * time.Second
	// A record misleads others if jobs for a misled-th of the slots are missing.
	misled = 8
)

// tails holds the claimer's data about the ends of batches. It belongs to the claimer.
type tails struct {
	peers     []batch.WorkerRecord // other workers
	peersRead time.Time
	ends      map[batch.ID]*ending
	unknown   int // jobs that this worker claimed near an end, and that its record may not count
}

// ending is the end of one batch.
type ending struct {
	waiting int          // unclaimed jobs
	needs   batch.Header // requirements for its workers
	read    time.Time
	leaving time.Time // since when this worker leaves jobs to others; zero if it does not
}

// limitAtEnd limits a claim of n jobs near the end of a batch, so that all workers end at the same time. If the counts cannot be read, there
// is no limit.
func (c *claimer) limitAtEnd(ctx context.Context, id batch.ID, n int) int {
	end := c.tails.ends[id]
	every := c.tails.every()
	if end == nil || time.Since(end.read) >= every && (end.waiting <= tailJobs || time.Since(end.read) >= farEvery) {
		info, err := c.store.Info(ctx, id)
		if err != nil {
			return n
		}
		if end == nil {
			end = &ending{}
			c.tails.ends[id] = end
		}
		end.waiting, end.needs, end.read = int(info.Counts.Waiting), serving.Needs(info), time.Now()
	}
	if end.waiting > tailJobs {
		return n
	}
	if time.Since(c.tails.peersRead) >= every {
		all, err := c.store.Workers(ctx)
		if err != nil {
			return n
		}
		c.tails.peersRead = time.Now()
		c.tails.peers = slices.DeleteFunc(all, func(r batch.WorkerRecord) bool { return r.Consumer == c.consumer })
	}
	here := c.status()
	t := scheduler.Tail{Waiting: end.waiting, Here: postOf(here, here.AgentLife)}
	for _, r := range c.tails.peers {
		if serving.Obstacle(end.needs, r) != "" {
			continue
		}
		r.AgentAge += time.Since(c.tails.peersRead).Seconds()
		t.Others = append(t.Others, postOf(r, cmp.Or(r.AgentLife, here.AgentLife)))
	}
	share := t.Share(n)
	switch {
	case share >= min(n, end.waiting):
		end.leaving = time.Time{}
	case end.leaving.IsZero():
		end.leaving = time.Now()
	case time.Since(end.leaving) >= c.patience():
		end.leaving = time.Time{}
		return n
	}
	return share
}

// patience returns how long this worker leaves jobs to others.
func (c *claimer) patience() time.Duration {
	_, life := c.live.ages()
	return min(max(life/8, leastPatience), mostPatience)
}

// wait returns how long the claimer waits for a reason to claim. If it leaves jobs to others, it decides again as soon as it may read their next
// records: the last ones may have counted too few agents.
func (c *claimer) wait() time.Duration {
	for _, end := range c.tails.ends {
		if !end.leaving.IsZero() {
			return min(c.poll(), c.tails.every())
		}
	}
	return c.poll()
}

// every returns the interval at which the records of the other workers are read near the end of a batch.
func (t *tails) every() time.Duration {
	return tailEvery + time.Duration(len(t.peers))*tailEach
}

// claimed subtracts n claimed jobs, which are live now, from the waiting ones. Near the end of a batch it has the record written if others would be misled
// by the present one.
func (c *claimer) claimed(id batch.ID, n int) {
	end := c.tails.ends[id]
	if end == nil {
		return
	}
	end.waiting = max(end.waiting-n, 0)
	if end.waiting > tailJobs || len(c.tails.peers) == 0 {
		return
	}
	if c.tails.unknown += n; misled*c.tails.unknown >= c.server.slots.Capacity() {
		c.tails.unknown = 0
		c.report.send()
	}
}

// keep drops all batches except these.
func (t *tails) keep(open []*openBatch) {
	for id := range t.ends {
		if !slices.ContainsFunc(open, func(b *openBatch) bool { return b.id == id }) {
			delete(t.ends, id)
		}
	}
}

// postOf returns the load of a worker. life is the expected life of its agents in seconds; with 0, which is unknown, each agent counts in full.
// Agents that wait for a tool count, because they need their slot again; so do agents that just started.
func postOf(r batch.WorkerRecord, life float64) scheduler.Post {
	p := scheduler.Post{Slots: min(r.MaxAgents, r.Slots), Live: r.LiveAgents, Left: float64(r.LiveAgents)}
	if life > 0 {
		p.Left *= max(0, 1-r.AgentAge/life)
	}
	return p
}
