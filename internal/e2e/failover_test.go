package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestFailoverForgets kills the primary of a batch whose replica has been out of touch for a while, and the replica takes its
// place: what was committed meanwhile is forgotten. Those jobs run again, who still works on the old ones is fenced, and the
// follower, which had collected forgotten results, ends with each result once and with none missing.
func TestFailoverForgets(t *testing.T) {
	watched := testredis.Sentinel(t, 3)
	bin := built(t)
	dir := t.TempDir()
	const n = 500
	specFile := writeBatch(t, dir, n)
	sim := bin.simulator(t, "--forward-ms", "100")
	for _, name := range []string{"node-1", "node-2"} {
		bin.start(t, "worker", "--redis", watched.URL(), "--backend", "vllm://"+sim, "--id", name, "--tools-root", dir,
			"--lease", "2s", "--max-inflight", "8", "--max-agents", "16")
	}
	id := submitted(t, bin, watched.URL(), specFile, "--durable")
	out := filepath.Join(dir, "results.jsonl")
	follower := bin.start(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", watched.URL())

	results := func(at *goredis.Client) int64 { return at.XLen(t.Context(), "ba:{"+id+"}:results").Val() }
	collected := func() int64 {
		text, _ := os.ReadFile(out)
		return int64(bytes.Count(text, []byte("\n")))
	}
	primary, replica := watched.Primary.Client(), watched.Replica.Client()
	eventually := func(ok func() bool, what string) {
		require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
	}
	eventually(func() bool { return collected() >= 100 }, "the first results")
	// A replica that gives a password which nobody asked for is not let in again. To the sentinels it is well.
	require.NoError(t, replica.ConfigSet(t.Context(), "masterauth", "nobody asked").Err())
	require.NoError(t, primary.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err())
	apart := results(primary)
	eventually(func() bool { return collected() >= apart+120 }, "results that the replica does not know")
	before := results(primary)
	watched.Primary.Kill9()
	forgotten := before - results(replica)
	require.GreaterOrEqual(t, forgotten, int64(100))
	require.Less(t, before, int64(n), "the failover came too late")

	select {
	case <-follower.done:
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "the batch does not end", "%+v", info(t, bin, watched.URL(), id))
	}
	assert.Zero(t, follower.cmd.ProcessState.ExitCode())
	for i, r := range once(t, out, n) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
	}
	assert.EqualValues(t, n, results(replica), "in Redis too each has one")
	assert.EqualValues(t, n, info(t, bin, watched.URL(), id).Counts.OK)
	t.Logf("%d results of %d were forgotten, of which the file had %d or more", forgotten, before, collected()-n+forgotten-16)
}
