package e2e

import (
	"encoding/json"
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
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestPoison runs 1,000 jobs. Five of them kill their worker with -9 at their second tool call; the test restarts it. Only those
// five fail, as WorkerLost after three attempts, and their journals can be read. After the cause is gone, retry continues them
// from there.
// The lease is long enough for a worker that waits for a processor: otherwise jobs that kill no worker lose attempts, too.
func TestPoison(t *testing.T) {
	t.Parallel()
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	specFile := writeBatch(t, dir, jobs)
	spec, err := os.ReadFile(specFile)
	require.NoError(t, err)
	text := strings.Replace(string(spec), "[read_file]", "[read_file, weigh]", 1)
	require.NoError(t, os.WriteFile(specFile, []byte(text), 0o600))
	tools := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(tools, []byte(`commands:
  weigh:
    description: Weigh a note.
    parameters: {type: object, properties: {path: {type: string}}, required: [path]}
    argv: [sh, -c, 'if grep -q poison "$1"; then kill -9 "$PPID"; fi; wc -c < "$1"', sh, "{path}"]
`), 0o600))
	poison := []int64{20, 21, 333, 600, 999}
	note := func(i int64) string { return filepath.Join(dir, fmt.Sprintf("note-%04d.txt", i)) }
	for _, i := range poison {
		require.NoError(t, os.WriteFile(note(i), []byte("poison\n"), 0o600))
	}

	rec := &recorder{}
	sim := bin.simulator(t, "--forward-ms", "20", "--tool-turns", "2")
	nodes := make([]*processkit.Process, 4)
	start := func(i int) {
		name := fmt.Sprintf("node-%d", i+1)
		nodes[i] = bin.start(t, "worker", "--redis", redis.URL(), "--backend", recorded(t, sim, name, rec), "--id", name,
			"--tools-root", dir, "--tools", tools, "--lease", "2s", "--max-inflight", "8", "--max-agents", "16")
	}
	for i := range nodes {
		start(i)
	}
	id := submitted(t, bin, redis.URL(), specFile)

	deaths := 0
	// ended restarts dead workers and reports whether the batch is done.
	ended := func() bool {
		for i, n := range nodes {
			select {
			case <-n.Ended():
				deaths++
				start(i)
			default:
			}
		}
		return info(t, bin, redis.URL(), id).Phase == batch.Done
	}
	require.Eventually(t, ended, 3*time.Minute, 100*time.Millisecond)

	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 1, code, errs)
	var lost []int64
	more := 0
	for i, r := range once(t, out, jobs) {
		if r.Status == batch.OK {
			if r.Attempts > 1 {
				more++
			}
			continue
		}
		lost = append(lost, i)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.WorkerLost, r.Error.Type, "job %d: %v", i, r.Error)
		assert.Equal(t, 3, r.Attempts, "job %d", i)
	}
	assert.ElementsMatch(t, poison, lost)
	assert.Positive(t, more, "no worker died with innocent jobs")
	assert.GreaterOrEqual(t, deaths, len(poison), "each last attempt runs alone")
	t.Logf("%d workers died, %d other jobs needed more than one attempt", deaths, more)

	client := redis.Client()
	for _, i := range poison {
		key := fmt.Sprintf("ba:{%s}:journal:%d", id, i)
		turns, err := client.LRange(t.Context(), key, 0, -1).Result()
		require.NoError(t, err)
		require.Len(t, turns, 1, "job %d", i)
		var turn agent.Turn
		require.NoError(t, json.Unmarshal([]byte(turns[0]), &turn))
		require.Len(t, turn.Assistant.ToolCalls, 1)
		assert.Equal(t, "read_file", turn.Assistant.ToolCalls[0].Name)
		assert.Contains(t, turn.Tools[0].Content, "poison")
		assert.Positive(t, client.TTL(t.Context(), key).Val(), "the journal is removed with its batch")
		require.NoError(t, os.WriteFile(note(i), []byte("cured\n"), 0o600))
	}
	_, errs, code = bin.run(t, "coordinator", "retry", id, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	_, errs, code = bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	results := once(t, out, jobs)
	for _, i := range poison {
		r := results[i]
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", i, r.Error)
		assert.Equal(t, 1, r.Attempts, "job %d", i)
		assert.Equal(t, 3, r.Turns, "job %d", i)
	}
	restarted, _ := rec.restarted("")
	assert.Empty(t, restarted, "jobs with a journal that restarted from their first turn")
}

// submitted submits a spec and returns the batch's ID.
func submitted(t *testing.T, bin programs, redis, spec string, flags ...string) string {
	t.Helper()
	out, errs, code := bin.run(t, "coordinator", append([]string{"submit", spec, "--redis", redis}, flags...)...)
	require.Equal(t, 0, code, errs)
	id := strings.TrimSpace(out)
	_, err := batch.ParseID(id)
	require.NoError(t, err)
	return id
}

// info returns the status of a batch.
func info(t *testing.T, bin programs, redis, id string) batch.Info {
	t.Helper()
	out, errs, code := bin.run(t, "coordinator", "status", id, "--json", "--redis", redis)
	require.Equal(t, 0, code, errs)
	var shown struct {
		batch.Info
		TTL string `json:"ttl"` // text in this form of the record
	}
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	return shown.Info
}

// once reads the results of n jobs and requires exactly one per job.
func once(t *testing.T, path string, n int) map[int64]batch.Result {
	t.Helper()
	out := map[int64]batch.Result{}
	for _, r := range readResults(t, path) {
		require.NotContains(t, out, r.Index, "job %d has two results", r.Index)
		out[r.Index] = r
	}
	require.Len(t, out, n)
	return out
}
