package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestRollingRestart restarts four workers under load, one after the other, with SIGTERM. No attempt is spent, no turn runs
// twice, and every restarted worker gets jobs.
func TestRollingRestart(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	specFile := writeBatch(t, dir, jobs)
	rec := &recorder{}
	sim := bin.simulator(t, "--forward-ms", "150")
	nodes := make([]*processkit.Process, 4)
	start := func(i, generation int) {
		name := fmt.Sprintf("node-%d.%d", i+1, generation)
		nodes[i] = bin.start(t, "worker", "--redis", redis.URL(), "--backend", recorded(t, sim, name, rec), "--id", name,
			"--tools-root", dir, "--lease", "2s", "--max-inflight", "8", "--max-agents", "16")
	}
	for i := range nodes {
		start(i, 1)
	}
	id := submitted(t, bin, redis.URL(), specFile)
	until := func(n int64) {
		require.Eventually(t, func() bool { return info(t, bin, redis.URL(), id).Counts.Finished() >= n }, time.Minute, 50*time.Millisecond)
	}
	for i := range nodes {
		until(int64(100 * (i + 1)))
		require.NoError(t, nodes[i].Signal(syscall.SIGTERM))
		select {
		case <-nodes[i].Ended():
		case <-time.After(time.Minute):
			require.FailNow(t, "the worker does not drain", nodes[i].Log())
		}
		require.Zero(t, nodes[i].ExitCode(), "a drain exits with 0")
		start(i, 2)
	}
	require.Less(t, info(t, bin, redis.URL(), id).Counts.Finished(), int64(jobs), "the restarts came too late")

	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	by := map[string]int{}
	for i, r := range once(t, out, jobs) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
		assert.Equal(t, 1, r.Attempts, "job %d", i)
		assert.Equal(t, 2, r.Turns, "job %d", i)
		by[r.Worker]++
	}
	for i := range nodes {
		assert.Positive(t, by[fmt.Sprintf("node-%d.2", i+1)], "a restarted worker gets jobs: %v", by)
	}
	restarted, calls := rec.restarted("")
	assert.Empty(t, restarted)
	assert.Equal(t, 2*jobs, calls, "model calls: two turns a job, none of them twice")
}
