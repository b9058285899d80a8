package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestFailoverLosesNoJob kills the primary of a batch while its replica lags. Sentinels promote the replica.
func TestFailoverLosesNoJob(t *testing.T) {
	t.Parallel()
	watched := testredis.Sentinel(t, 3)
	forgets(t, watched.URL(), func(string) (primary, replica *testredis.Process) { return watched.Primary, watched.Replica }, "--durable")
}

// TestClusterFailoverLosesNoJob does the same with the node of a Redis Cluster that holds the batch.
func TestClusterFailoverLosesNoJob(t *testing.T) {
	t.Parallel()
	nodes := testredis.Cluster(t)
	url := "redis-cluster://" + nodes[0].Addr() + "," + nodes[1].Addr() + "," + nodes[2].Addr()
	forgets(t, url, func(id string) (primary, replica *testredis.Process) {
		for i, n := range nodes {
			if n.Client().Exists(t.Context(), "ba:{"+id+"}:meta").Val() == 1 {
				return n, testredis.Replica(t, nodes, i)
			}
		}
		require.FailNow(t, "no node has the batch")
		return nil, nil
	})
}

// forgets kills a primary while its replica lags, so that the promoted replica misses committed results. Their jobs run again,
// and workers with the old leases are fenced. The follower had collected some of the lost results. Its file must end with each
// result exactly once. where gets the ID of the sealed batch and returns its servers.
func forgets(t *testing.T, url string, where func(id string) (primary, replica *testredis.Process), submitFlags ...string) {
	t.Helper()
	bin := built(t)
	dir := t.TempDir()
	const n = 500
	specFile := writeBatch(t, dir, n)
	id := submitted(t, bin, url, specFile, submitFlags...)
	primaryServer, replicaServer := where(id)
	sim := bin.simulator(t, "--forward-ms", "100")
	for _, name := range []string{"node-1", "node-2"} {
		bin.start(t, "worker", "--redis", url, "--backend", "vllm://"+sim, "--id", name, "--tools-root", dir,
			"--lease", "2s", "--max-inflight", "8", "--max-agents", "16")
	}
	out := filepath.Join(dir, "results.jsonl")
	follower := bin.start(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", url)

	// Use a new connection each time: sentinels close the connections of a server that they promote.
	results := func(at *testredis.Process) int64 {
		conn := at.Client().Conn()
		defer conn.Close()
		_ = conn.ReadOnly(t.Context()) // a replica of a cluster would redirect to the primary; other servers refuse this command
		n, err := conn.XLen(t.Context(), "ba:{"+id+"}:results").Result()
		require.NoError(t, err)
		return n
	}
	collected := func() int64 {
		text, _ := os.ReadFile(out)
		return int64(bytes.Count(text, []byte("\n")))
	}
	primary, replica := primaryServer.Client(), replicaServer.Client()
	eventually := func(ok func() bool, what string) {
		require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
	}
	eventually(func() bool { return collected() >= 100 }, "the first results")
	// The primary refuses a replica that sends an unexpected password. Sentinels still consider the replica healthy.
	require.NoError(t, replica.ConfigSet(t.Context(), "masterauth", "unexpected password").Err())
	require.NoError(t, primary.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err())
	apart := results(primaryServer)
	eventually(func() bool { return collected() >= apart+120 }, "results that the replica misses")
	before := results(primaryServer)
	primaryServer.Kill9()
	forgotten := before - results(replicaServer)
	require.GreaterOrEqual(t, forgotten, int64(100))
	require.Less(t, before, int64(n), "the failover came too late")
	promoted := func() bool {
		info, err := replica.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "role:master")
	}
	eventually(promoted, "the replica takes over")

	select {
	case <-follower.Ended():
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "the batch does not end", "%+v", info(t, bin, url, id))
	}
	assert.Zero(t, follower.ExitCode())
	for i, r := range once(t, out, n) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
	}
	assert.EqualValues(t, n, results(replicaServer), "Redis has one result per job")
	assert.EqualValues(t, n, info(t, bin, url, id).Counts.OK)
	t.Logf("the failover lost %d results of %d; the file had at least %d of them", forgotten, before, collected()-n+forgotten-16)
}
