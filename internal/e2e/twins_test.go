package e2e

import (
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

// TestTwinsSurviveTheDeathOfTheirWorker runs 10 prompts for 60 inputs each, with a preloaded file, on 3 workers. It kills one
// worker with -9 and stops another for longer than its lease. Every input must have exactly one result, and each result that was taken
// must be the one of a job that ran.
func TestTwinsSurviveTheDeathOfTheirWorker(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	const prompts, copies = 10, 60
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var inputs strings.Builder
	for i := range prompts * copies {
		fmt.Fprintf(&inputs, `{"path":"note-%d.txt","row":%d}`+"\n", i%prompts, i)
	}
	for i := range prompts {
		write(fmt.Sprintf("note-%d.txt", i), fmt.Sprintf("Note %d says that a pump runs warm.\n", i))
	}
	write("inputs.jsonl", inputs.String())
	write("batch.yaml", `name: notes
task: "Sort the note."
inputs: inputs.jsonl
preload: [{tool: read_file, args: {path: "{path}"}}]
identical: once
output_schema: {type: object, properties: {about: {type: string}}, required: [about], additionalProperties: false}
`)
	sim := bin.simulator(t, "--forward-ms", "200")
	const lease = 2 * time.Second
	workers := make([]*processkit.Process, 3)
	for i := range workers {
		workers[i] = bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+sim, "--id", fmt.Sprintf("node-%d", i+1),
			"--tools-root", dir, "--lease", lease.String(), "--max-inflight", "4", "--max-agents", "40")
	}
	id := submitted(t, bin, redis.URL(), filepath.Join(dir, "batch.yaml"))
	require.Eventually(t, func() bool { return info(t, bin, redis.URL(), id).Counts.Running > 0 }, 60*time.Second, 50*time.Millisecond)
	require.NoError(t, workers[0].Signal(syscall.SIGKILL))
	require.NoError(t, workers[1].Signal(syscall.SIGSTOP))
	stopped := time.Now()
	require.Eventually(t, func() bool { return time.Since(stopped) > 2*lease }, 60*time.Second, 100*time.Millisecond)
	require.NoError(t, workers[1].Signal(syscall.SIGCONT))

	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	results, made := once(t, out, prompts*copies), 0
	for _, r := range results {
		require.Equal(t, batch.OK, r.Status, "job %d: %v", r.Index, r.Error)
		if r.ReusedFrom == "" {
			made++
			continue
		}
		var index int64
		_, err := fmt.Sscanf(strings.TrimPrefix(r.ReusedFrom, id), "/job-%d", &index)
		require.NoError(t, err, r.ReusedFrom)
		source := results[index]
		assert.Empty(t, source.ReusedFrom)
		assert.Equal(t, index%prompts, r.Index%prompts, "the result of another note")
		assert.JSONEq(t, string(source.Output), string(r.Output))
		assert.Equal(t, source.Question, r.Question)
	}
	assert.GreaterOrEqual(t, made, prompts)
	assert.LessOrEqual(t, made, 3*prompts, "a death may repeat the run of a prompt, and no more")
	t.Logf("%d results, %d of them made", len(results), made)
}
