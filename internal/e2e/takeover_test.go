package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

const jobs = 1000

// TestTakeover runs 1,000 two-turn jobs with one tool call each on 4 workers. It kills one worker with -9 and stops another for
// longer than its lease. Every index must have exactly one result, and no job with a journal restarts from its first turn.
func TestTakeover(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	specFile := writeBatch(t, dir, jobs)

	rec := &recorder{}
	sims := []string{
		bin.simulator(t, "--forward-ms", "100"),
		bin.simulator(t, "--forward-ms", "100"),
	}
	const lease = 2 * time.Second
	workers := make([]*processkit.Process, 4)
	for i := range workers {
		name := fmt.Sprintf("node-%d", i+1)
		workers[i] = bin.start(t, "worker", "--redis", redis.URL(), "--backend", recorded(t, sims[i%2], name, rec), "--id", name,
			"--tools-root", dir, "--lease", lease.String(), "--max-inflight", "8", "--max-agents", "16")
	}

	id := submitted(t, bin, redis.URL(), specFile)
	until := func(n int64) {
		require.Eventually(t, func() bool { return info(t, bin, redis.URL(), id).Counts.Finished() >= n }, 60*time.Second, 50*time.Millisecond)
	}
	until(jobs / 5)
	require.NoError(t, workers[0].Signal(syscall.SIGKILL))
	until(jobs / 4)
	require.NoError(t, workers[1].Signal(syscall.SIGSTOP))
	stopped := time.Now()
	require.Eventually(t, func() bool { return time.Since(stopped) > 2*lease }, 60*time.Second, 100*time.Millisecond)
	require.NoError(t, workers[1].Signal(syscall.SIGCONT))

	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)

	again := 0
	seen := once(t, out, jobs)
	for _, r := range seen {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", r.Index, r.Error)
		assert.Equal(t, 2, r.Turns, "job %d", r.Index)
		assert.EqualValues(t, 1, r.Tools.Asked, "job %d", r.Index)
		if r.Attempts > 1 {
			again++
		}
	}
	assert.Positive(t, again, "no job was taken over: the faults came too late")
	restarted, calls := rec.restarted("node-2")
	assert.Empty(t, restarted, "jobs with a journal that restarted from their first turn")
	t.Logf("%d jobs, %d of them taken over, %d model calls for %d turns", len(seen), again, calls, 2*jobs)
}

// writeBatch creates n small files, an input list and a spec.
func writeBatch(t *testing.T, dir string, n int) string {
	t.Helper()
	var inputs strings.Builder
	for i := range n {
		name := fmt.Sprintf("note-%04d.txt", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "Note %d says that pump %d runs warm.\n", i, i%7), 0o600))
		fmt.Fprintf(&inputs, `{"path":%q}`+"\n", name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(inputs.String()), 0o600))
	specFile := filepath.Join(dir, "batch.yaml")
	require.NoError(t, os.WriteFile(specFile, []byte(`name: notes
system_prompt: You sort maintenance notes.
task: "Read the note {path} with read_file and sort it."
inputs: inputs.jsonl
tools: [read_file]
output_schema:
  type: object
  properties:
    about: {type: string}
    urgent: {type: boolean}
  required: [about, urgent]
  additionalProperties: false
max_turns: 4
`), 0o600))
	return specFile
}

func readResults(t *testing.T, path string) []batch.Result {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var out []batch.Result
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r batch.Result
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), "line %q", lines.Text())
		out = append(out, r)
	}
	require.NoError(t, lines.Err())
	return out
}
