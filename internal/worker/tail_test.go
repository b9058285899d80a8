package worker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Two workers with eight slots each are idle when a small batch comes. The first one to see it could claim all jobs and
// let half of them queue.
func TestLastJobsAreSharedByFreeSlots(t *testing.T) {
	for _, jobs := range []int{1, 2, 8, 16} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 10*time.Second)
			first, second := w.start("node-1", nil), w.start("node-2", nil)
			time.Sleep(20 * time.Second) // each has read the other's record
			began := time.Now()
			id := w.submit(jobs, nil)
			w.await(id, 5*time.Minute)
			assert.Less(t, time.Since(began), 30*time.Second, "%d jobs of two turns of 10 s on 16 slots", jobs)
			by := map[string]int{}
			for _, r := range w.results(id, jobs) {
				by[r.Worker]++
			}
			if jobs > 1 {
				assert.InDelta(t, jobs/2, by["node-1"], 1, "%v", by)
			}
			first.end()
			second.end()
		})
	}
}

// A worker that is full, or that only seems to be free, does not delay the last jobs for long.
func TestIdlePeerDelaysLastJobsBriefly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", nil)
		time.Sleep(5 * time.Second)
		ghost := first.Status()
		ghost.Consumer, ghost.ID, ghost.Slots, ghost.MaxAgents = "ghost", "ghost", 64, 256
		assert.NoError(t, w.store.Register(t.Context(), ghost, time.Hour))
		began := time.Now()
		id := w.submit(8, nil)
		w.await(id, 5*time.Minute)
		assert.Less(t, time.Since(began), 45*time.Second, "two turns of 10 s, and the claims")
		first.end()
	})
}

// A worker that leaves jobs by an old record reads the next one before the other worker's patience ends. Otherwise the other one, which is full, takes them.
func TestWorkerTakesWhatItLeftToFullPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", nil)
		time.Sleep(5 * time.Second)
		peer := first.Status()
		peer.Consumer, peer.ID = "peer", "peer"
		assert.NoError(t, w.store.Register(t.Context(), peer, time.Hour))
		id := w.submit(8, nil)
		time.Sleep(50 * time.Millisecond)
		info, err := w.store.Info(t.Context(), id)
		assert.NoError(t, err)
		assert.EqualValues(t, 4, info.Counts.Running, "half of the jobs, because the record of the other worker counts no agents")
		peer.LiveAgents = peer.Slots
		assert.NoError(t, w.store.Register(t.Context(), peer, time.Hour))
		time.Sleep(leastPatience - 100*time.Millisecond)
		info, err = w.store.Info(t.Context(), id)
		assert.NoError(t, err)
		assert.EqualValues(t, 8, info.Counts.Running)
		w.await(id, time.Minute)
		first.end()
	})
}

// A worker with much room claims several times before another worker has claimed once. The other one still finds its share.
func TestWorkerLeavesShareToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", func(c *Config) { c.Slots, c.MaxAgents = 64, 64 })
		time.Sleep(5 * time.Second)
		slow := first.Status()
		slow.Consumer, slow.ID = "slow", "slow"
		assert.NoError(t, w.store.Register(t.Context(), slow, time.Hour))
		id := w.submit(40, nil)
		time.Sleep(400 * time.Millisecond)
		info, err := w.store.Info(t.Context(), id)
		assert.NoError(t, err)
		assert.EqualValues(t, 20, info.Counts.Running)
		w.await(id, time.Minute)
		first.end()
	})
}

// The others read this worker's record to share the jobs that remain. So the record counts all jobs of the claim for which it is written.
func TestRecordCountsClaimedJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", func(c *Config) { c.Slots, c.MaxAgents = 256, 256 })
		time.Sleep(5 * time.Second)
		slow := first.Status()
		slow.Consumer, slow.ID = "slow", "slow"
		assert.NoError(t, w.store.Register(t.Context(), slow, time.Hour))
		id := w.submit(400, nil)
		time.Sleep(50 * time.Millisecond)
		all, err := w.store.Workers(t.Context())
		assert.NoError(t, err)
		i := slices.IndexFunc(all, func(r batch.WorkerRecord) bool { return r.ID == "node-1" })
		require.GreaterOrEqual(t, i, 0)
		assert.Equal(t, 200, all[i].LiveAgents)
		w.await(id, time.Minute)
		first.end()
	})
}

// A worker that lacks a tool of the batch, or pauses its model, takes none of its jobs. So no job is left to it.
func TestWorkerLeavesNothingToOthersThatCannotServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", func(c *Config) { c.Slots, c.MaxAgents = 64, 64 })
		time.Sleep(5 * time.Second)
		for id, change := range map[string]func(*batch.WorkerRecord){
			"other-tools": func(r *batch.WorkerRecord) { r.Tools = []string{"hear"} },
			"other-model": func(r *batch.WorkerRecord) { r.Models = []string{"other"} },
			"paused":      func(r *batch.WorkerRecord) { r.Pauses = []batch.Pause{{Kind: "down"}} },
			"draining":    func(r *batch.WorkerRecord) { r.Draining = true },
			"not-ready":   func(r *batch.WorkerRecord) { r.Ready = false },
		} {
			other := first.Status()
			other.Consumer, other.ID = id, id
			change(&other)
			assert.NoError(t, w.store.Register(t.Context(), other, time.Hour))
		}
		id := w.submit(40, func(c *spec.Compiled) { c.Model = "m" })
		time.Sleep(400 * time.Millisecond)
		info, err := w.store.Info(t.Context(), id)
		assert.NoError(t, err)
		assert.EqualValues(t, 40, info.Counts.Running)
		w.await(id, time.Minute)
		first.end()
	})
}
