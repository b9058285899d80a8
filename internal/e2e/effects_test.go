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

// TestEffects kills a worker with -9 while a tool with side effects runs: after the effect, before its outcome is recorded. The
// tool appends a line to a file for each effect.
func TestEffects(t *testing.T) {
	redis := testredis.Server(t)
	bin := built(t)
	sim := bin.simulator(t, "--forward-ms", "5")

	for _, c := range []struct {
		policy string
		status batch.Status
		lines  int
	}{
		{"fail", batch.StatusFailed, 1},
		{"retry", batch.OK, 2},
		{"ask", batch.StatusFailed, 1},
	} {
		t.Run(c.policy, func(t *testing.T) {
			require.NoError(t, redis.Client().FlushAll(t.Context()).Err())
			e := newEffectRun(t, bin, redis.URL(), sim, c.policy)
			first := e.worker("first")
			id := e.submit()
			require.Eventually(t, func() bool { return len(e.lines()) == 1 }, 30*time.Second, 10*time.Millisecond, "the tool never ran")
			require.NoError(t, first.Signal(syscall.SIGKILL))
			e.worker("second")

			r := e.result(id)
			assert.Equal(t, c.status, r.Status, "%v", r.Error)
			assert.Len(t, e.lines(), c.lines, "side effects")
			for _, key := range e.lines() {
				assert.NotEmpty(t, key)
				assert.Equal(t, e.lines()[0], key, "every attempt has the same idempotency key")
			}
			if c.status == batch.OK {
				assert.Equal(t, 2, r.Attempts)
				return
			}
			require.Equal(t, batch.EffectUnknown, r.Error.Type)
			if c.policy == "fail" {
				_, errs, code := bin.run(t, "coordinator", "resolve", id, "job-0", "--outcome", "done", "--redis", redis.URL())
				assert.Equal(t, 2, code)
				assert.Contains(t, errs, "no call of it is parked")
				return
			}
			assert.Contains(t, r.Error.Message, "coordinator resolve "+id+" job-0 --outcome")
			// A retry without an answer leaves the job parked and runs nothing.
			_, errs, code := bin.run(t, "coordinator", "retry", id, "--redis", redis.URL())
			require.Equal(t, 0, code, errs)
			assert.Equal(t, batch.EffectUnknown, e.result(id).Error.Type)
			assert.Len(t, e.lines(), 1)

			_, errs, code = bin.run(t, "coordinator", "resolve", id, "0", "--outcome", "done", "--result", "sent as number 4711", "--redis", redis.URL())
			require.Equal(t, 0, code, errs)
			r = e.result(id)
			assert.Equal(t, batch.OK, r.Status, "%v", r.Error)
			assert.Len(t, e.lines(), 1, "the effect happened once")
			keys, err := redis.Client().Keys(t.Context(), "ba:*journal*").Result()
			require.NoError(t, err)
			assert.Empty(t, keys, "the ledger is dropped with the job")
		})
	}
}

// effectRun is a batch with one job and one tool with side effects.
type effectRun struct {
	t                     *testing.T
	bin                   programs
	dir, url, sim, effect string
}

func newEffectRun(t *testing.T, bin programs, url, sim, policy string) *effectRun {
	e := &effectRun{t: t, bin: bin, dir: t.TempDir(), url: url, sim: sim}
	e.effect = filepath.Join(e.dir, "effects")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600))
	}
	// The first run has its effect and then sleeps. The worker is killed before it wakes.
	write("tools.yaml", fmt.Sprintf(`commands:
  send:
    description: Send the report.
    argv: [sh, -c, 'test -e %[1]s; first=$?; echo "$BATCHAGENT_IDEMPOTENCY_KEY" >> %[1]s; test $first = 0 || sleep 5; echo sent']
    share: effect
    on_unknown: %[2]s
`, e.effect, policy))
	write("inputs.jsonl", `{"who":"Ada"}`+"\n")
	write("batch.yaml", `name: reports
task: "Send the report to {who} with the tool send."
inputs: inputs.jsonl
tools: [send]
max_turns: 3
`)
	return e
}

func (e *effectRun) worker(name string) *processkit.Process {
	return e.bin.start(e.t, "worker", "--redis", e.url, "--backend", "vllm://"+e.sim, "--id", name,
		"--tools", filepath.Join(e.dir, "tools.yaml"), "--tools-root", e.dir, "--lease", "1s")
}

func (e *effectRun) submit() string {
	id, errs, code := e.bin.run(e.t, "coordinator", "submit", filepath.Join(e.dir, "batch.yaml"), "--redis", e.url)
	require.Equal(e.t, 0, code, errs)
	return strings.TrimSpace(id)
}

// lines returns the side effects: one idempotency key per effect.
func (e *effectRun) lines() []string {
	text, _ := os.ReadFile(e.effect) // missing before the first effect
	var out []string
	for line := range strings.Lines(string(text)) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// result returns the job's result after the end of the batch.
func (e *effectRun) result(id string) batch.Result {
	out, errs, _ := e.bin.run(e.t, "coordinator", "results", id, "--follow", "--redis", e.url)
	var r batch.Result
	lines := bufio.NewScanner(strings.NewReader(out))
	require.True(e.t, lines.Scan(), errs)
	require.NoError(e.t, json.Unmarshal(lines.Bytes(), &r), "%s %s", out, errs)
	return r
}
