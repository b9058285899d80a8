package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestManyBatches runs fifty batches of five owners on one worker.
func TestManyBatches(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	sim := bin.simulator(t, "--forward-ms", "5")
	const n = 20
	var ids []string
	for i := range 50 {
		spec := filepath.Join(dir, fmt.Sprintf("spec-%d.yaml", i))
		var inputs []string
		for j := range n {
			inputs = append(inputs, fmt.Sprintf("%d", 1000*i+j))
		}
		require.NoError(t, os.WriteFile(spec, fmt.Appendf(nil, "name: many-%d\ntask: Say {input}.\ninputs: [%s]\n", i, strings.Join(inputs, ", ")), 0o600))
		ids = append(ids, submitted(t, bin, redis.URL(), spec, "--owner", fmt.Sprintf("owner-%d", i%5)))
	}
	bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+sim, "--id", "only", "--max-inflight", "8", "--max-agents", "16")
	for i, id := range ids {
		out := filepath.Join(dir, id+".jsonl")
		_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
		require.Equal(t, 0, code, errs)
		for j, r := range once(t, out, n) {
			assert.Equal(t, batch.OK, r.Status, "batch %d, job %d: %v", i, j, r.Error)
		}
	}
}

// TestLargeInputAndResult runs a job with an input of 1 MB and a tool result of 5 MB.
func TestLargeInputAndResult(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	tools := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(tools, []byte(`commands:
  everything:
    description: Everything there is.
    argv: [sh, -c, "yes word | head -c 5000000"]
    max_bytes: 6000000
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(`{"text":"`+strings.Repeat("large ", 170_000)+`"}`+"\n"), 0o600))
	spec := filepath.Join(dir, "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: large\ntask: Sum up {text}\ninputs: inputs.jsonl\ntools: [everything]\n"), 0o600))
	sim := bin.simulator(t, "--max-model-len", "20000000", "--kv-blocks", "2000000")
	bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+sim, "--id", "node-1", "--tools", tools)
	id := submitted(t, bin, redis.URL(), spec)
	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	r := once(t, out, 1)[0]
	assert.Equal(t, 2, r.Turns)
	assert.Greater(t, r.Usage.PromptTokens, int64(2*170_000+1_000_000), "the model saw the whole input twice, and the tool result")
}

// TestFullRedisPausesTheBatch lets Redis refuse writes at its memory limit. The submission and the worker log it, wait, and
// continue when memory is free. No job is lost and no attempt is spent.
func TestFullRedisPausesTheBatch(t *testing.T) {
	t.Parallel()
	redis := testredis.Server(t, testredis.Config("maxmemory", "4mb", "maxmemory-policy", "noeviction"))
	bin := built(t)
	dir := t.TempDir()
	client := redis.Client()
	limit := func(bytes string) { require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", bytes).Err()) }
	const n = 4000
	var inputs strings.Builder
	for i := range n {
		fmt.Fprintf(&inputs, "{\"text\":\"%d %s\"}\n", i, strings.Repeat("word ", 300))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(inputs.String()), 0o600))
	spec := filepath.Join(dir, "spec.yaml")
	require.NoError(t, os.WriteFile(spec, []byte("name: full\ntask: Sum up {text}\ninputs: inputs.jsonl\n"), 0o600))

	submit := bin.start(t, "coordinator", "submit", spec, "--redis", redis.URL())
	says := func(p *processkit.Process, what string) {
		require.Eventually(t, func() bool { return strings.Contains(p.Log(), what) }, 30*time.Second, 20*time.Millisecond, "%s", what)
	}
	says(submit, "out of memory (maxmemory); waiting until there is room")
	limit("0")
	<-submit.Ended()
	require.Zero(t, submit.ExitCode(), submit.Log())
	ids := client.ZRange(t.Context(), "ba:batches", 0, -1).Val()
	require.Len(t, ids, 1)

	sim := bin.simulator(t, "--forward-ms", "40")
	worker := bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+sim, "--id", "node-1", "--lease", "1s",
		"--max-inflight", "32")
	finished := func() int64 { return client.XLen(t.Context(), "ba:{"+ids[0]+"}:results").Val() }
	require.Eventually(t, func() bool { return finished() > n/10 }, time.Minute, 20*time.Millisecond)
	limit("1")
	says(worker, "no memory left in Redis (maxmemory)")
	// Wait for longer than a lease. No lease can be renewed in this time.
	full := time.Now()
	require.Eventually(t, func() bool { return time.Since(full) > 2*time.Second }, time.Minute, 100*time.Millisecond)
	require.Less(t, finished(), int64(n))
	limit("0")
	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", ids[0], "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	for i, r := range once(t, out, n) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
		assert.Equal(t, 1, r.Attempts, "job %d", i)
	}
}
