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

// addPeer registers another worker that never claims. Its record is the one of first, with a change.
func (w *world) addPeer(first *running, id string, change func(*batch.WorkerRecord)) {
	w.t.Helper()
	r := first.Status()
	r.Consumer, r.ID = id, id
	if change != nil {
		change(&r)
	}
	require.NoError(w.t, w.store.Register(w.t.Context(), r, time.Hour))
}

// claimed returns how many jobs of a batch are claimed and did not end.
func (w *world) claimed(id batch.ID) int {
	w.t.Helper()
	info, err := w.store.Info(w.t.Context(), id)
	require.NoError(w.t, err)
	return int(info.Counts.Running)
}

// A worker that is full, or that only seems to be free, does not delay the last jobs for long.
func TestIdlePeerDelaysLastJobsBriefly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", nil)
		time.Sleep(5 * time.Second)
		w.addPeer(first, "ghost", func(r *batch.WorkerRecord) { r.Slots, r.MaxAgents = 64, 256 })
		began := time.Now()
		id := w.submit(8, nil)
		w.await(id, 5*time.Minute)
		assert.Less(t, time.Since(began), 45*time.Second, "two turns of 10 s, and the claims")
		first.end()
	})
}

// A worker that leaves jobs by an old record reads the next one before the other worker's patience ends. Otherwise the other one, which is
// full, takes them.
func TestWorkerTakesWhatItLeftToFullPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		first := w.start("node-1", nil)
		time.Sleep(5 * time.Second)
		w.addPeer(first, "peer", nil)
		id := w.submit(8, nil)
		time.Sleep(50 * time.Millisecond)
		assert.Equal(t, 4, w.claimed(id), "half of the jobs, because the record of the other worker counts no agents")
		w.addPeer(first, "peer", func(r *batch.WorkerRecord) { r.LiveAgents = r.Slots })
		time.Sleep(leastPatience - 100*time.Millisecond)
		assert.Equal(t, 8, w.claimed(id))
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
		w.addPeer(first, "slow", nil)
		id := w.submit(40, nil)
		time.Sleep(400 * time.Millisecond)
		assert.Equal(t, 20, w.claimed(id))
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
		w.addPeer(first, "slow", nil)
		id := w.submit(400, nil)
		time.Sleep(50 * time.Millisecond)
		all, err := w.store.Workers(t.Context())
		require.NoError(t, err)
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
		w.addPeer(first, "other-tools", func(r *batch.WorkerRecord) { r.Tools = []string{"hear"} })
		w.addPeer(first, "other-model", func(r *batch.WorkerRecord) { r.Models = []string{"other"} })
		w.addPeer(first, "paused", func(r *batch.WorkerRecord) { r.Pauses = []batch.Pause{{Kind: "down"}} })
		w.addPeer(first, "draining", func(r *batch.WorkerRecord) { r.Draining = true })
		w.addPeer(first, "not-ready", func(r *batch.WorkerRecord) { r.Ready = false })
		id := w.submit(40, func(c *spec.Compiled) { c.Model = "m" })
		time.Sleep(400 * time.Millisecond)
		assert.Equal(t, 40, w.claimed(id))
		w.await(id, time.Minute)
		first.end()
	})
}
