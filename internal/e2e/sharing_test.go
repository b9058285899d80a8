package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestWorkersShareATool runs 200 jobs that make the same call on 4 workers. The tool appends a line to a file per execution. The
// file has one line, unless the spec narrows the sharing.
func TestWorkersShareATool(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	sim := bin.simulator(t, "--forward-ms", "5")
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	const jobs, workers = 200, 4
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("tools.yaml", fmt.Sprintf(`commands:
  facts:
    description: The facts.
    argv: [sh, -c, 'echo run >> %s; sleep 0.1; echo forty-two']
    share: pure
`, runs))
	var inputs strings.Builder
	for i := range jobs {
		fmt.Fprintf(&inputs, `{"n":%d}`+"\n", i)
	}
	write("inputs.jsonl", inputs.String())
	spec := func(tool string) string {
		return "name: facts\ntask: \"Question {n}: use facts.\"\ninputs: inputs.jsonl\ntools: [" + tool + "]\nmax_turns: 3\n"
	}
	write("batch.yaml", spec("facts"))
	write("narrow.yaml", spec("{name: facts, share: inflight}"))
	for i := range workers {
		bin.start(t, "worker", "--redis", redis.URL(), "--backend", "vllm://"+sim, "--id", fmt.Sprintf("node-%d", i+1),
			"--tools", filepath.Join(dir, "tools.yaml"), "--max-inflight", "16")
	}
	run := func(file string) (executed int64) {
		out := filepath.Join(dir, file+".jsonl")
		id, errs, code := bin.run(t, "coordinator", "submit", filepath.Join(dir, file), "--follow", "--out", out, "--redis", redis.URL())
		require.Equal(t, 0, code, errs)
		require.NotEmpty(t, id)
		for _, r := range readResults(t, out) {
			require.Equal(t, batch.OK, r.Status, "%v", r.Error)
			executed += r.Tools.Executed
		}
		return executed
	}
	lines := func() int {
		text, err := os.ReadFile(runs)
		require.NoError(t, err)
		return strings.Count(string(text), "\n")
	}
	assert.EqualValues(t, 1, run("batch.yaml"))
	assert.Equal(t, 1, lines())
	narrow := run("narrow.yaml")
	assert.EqualValues(t, narrow, lines()-1, "each execution is credited to one job")
	assert.Positive(t, narrow, "a narrowed call does not use the cached result")
	assert.Less(t, narrow, int64(jobs))
}
