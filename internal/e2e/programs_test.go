package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// programAgent is an agent that nobody here wrote for: it makes four model calls and one call of a tool, and knows nothing of journals.
const programAgent = `
import json, os, sys, urllib.request
def post(url, body):
    h = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), h)))
task = sys.stdin.read()
messages = [{"role": "system", "content": "You count."}, {"role": "user", "content": task}]
def turn():
    a = post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"model": "m", "messages": messages})
    messages.extend([a["choices"][0]["message"], {"role": "user", "content": "go on"}])
turn(); turn()
r = post(os.environ["BATCHAGENT_MCP_URL"], {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "note", "arguments": {"n": task}}})
turn(); turn()
print(json.dumps({"n": task, "note": r["result"]["content"][0]["text"]}))
`

// TestProgramsSurviveTheDeathOfTheirWorker runs a program as the agent of 30 jobs on 3 workers. One worker is killed with -9, another
// one sleeps for longer than its lease, and some programs are killed. Every job ends once; each fault costs a job at most one model
// call; the tool with side effects runs once for each job; and nothing of a killed worker's programs is left.
func TestProgramsSurviveTheDeathOfTheirWorker(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 on this machine")
	}
	redis := testredis.Server(t)
	bin := built(t)
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	const jobs = 30
	write("agent.py", programAgent)
	write("tools.yaml", fmt.Sprintf(`programs:
  counter:
    argv: [%s, %s]
    env: {MARK: %s}
commands:
  note:
    description: Notes a number.
    parameters: {type: object, properties: {n: {type: string}}, required: [n]}
    argv: [sh, -c, 'echo "$1" >> %s; echo noted', sh, "{n}"]
    share: effect
    on_unknown: retry
`, python, filepath.Join(dir, "agent.py"), dir, notes))
	var inputs strings.Builder
	for i := range jobs {
		fmt.Fprintf(&inputs, `{"n":%d}`+"\n", i)
	}
	write("inputs.jsonl", inputs.String())
	write("batch.yaml", `name: programs
task: "count {n}"
inputs: inputs.jsonl
agent: {program: counter}
tools: [note]
output_schema: {type: object, properties: {n: {type: string}, note: {type: string}}, required: [n, note], additionalProperties: false}
`)
	sim := bin.simulator(t, "--forward-ms", "200") // longer than the start of a program, so that deaths hit programs between two calls
	// node-1 dies while programs of it wait for the answer to their third call: two of their calls are in the journal.
	var rec *recorder
	waiting := 0
	rec = &recorder{stuck: func(worker, prompt string) bool {
		stuck := worker == "node-1" && len(rec.calls[prompt]) > 2
		if stuck {
			waiting++
		}
		return stuck
	}}
	const lease, agents = 3 * time.Second, 5
	workers := make([]*processkit.Process, 3)
	for i := range workers {
		name := fmt.Sprintf("node-%d", i+1)
		workers[i] = bin.start(t, "worker", "--redis", redis.URL(), "--backend", recorded(t, sim, name, rec), "--id", name,
			"--tools", filepath.Join(dir, "tools.yaml"), "--lease", lease.String(), "--max-inflight", "4", "--max-agents", strconv.Itoa(agents))
	}
	id := submitted(t, bin, redis.URL(), filepath.Join(dir, "batch.yaml"))
	require.Eventually(t, func() bool {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return waiting > 0
	}, 120*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return info(t, bin, redis.URL(), id).Counts.OK > 3 }, 120*time.Second, 50*time.Millisecond)
	require.NoError(t, workers[0].Signal(syscall.SIGKILL))
	require.NoError(t, workers[1].Signal(syscall.SIGSTOP))
	faults := 2
	running := marked(t, dir) // programs and keepers of any worker
	for _, pid := range running[:min(2, len(running))] {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		faults++
	}
	stopped := time.Now()
	require.Eventually(t, func() bool { return time.Since(stopped) > 2*lease }, 60*time.Second, 100*time.Millisecond)
	require.NoError(t, workers[1].Signal(syscall.SIGCONT))

	out := filepath.Join(dir, "results.jsonl")
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", out, "--redis", redis.URL())
	require.Equal(t, 0, code, errs)
	results, replayed := once(t, out, jobs), 0
	for _, r := range results {
		require.Equal(t, batch.OK, r.Status, "job %d: %v", r.Index, r.Error)
		assert.JSONEq(t, fmt.Sprintf(`{"n":"count %d","note":"noted\n"}`, r.Index), string(r.Output))
		assert.Equal(t, 4, r.Turns)
		assert.Zero(t, r.DivergedAt)
		replayed += r.Replayed
	}
	calls := 0
	for i := range jobs {
		made := len(rec.calls[fmt.Sprintf("count %d", i)])
		calls += made
		assert.LessOrEqual(t, made, 4+faults, "a fault costs job %d at most one call", i)
	}
	assert.GreaterOrEqual(t, replayed, 2*waiting, "both calls of a program that waited for its third are answered from the journal")
	text, err := os.ReadFile(notes)
	require.NoError(t, err)
	lines := map[string]int{}
	for _, line := range strings.Fields(strings.ReplaceAll(string(text), " ", "-")) {
		lines[line]++
	}
	assert.Len(t, lines, jobs)
	repeated := 0
	for line, times := range lines {
		assert.LessOrEqual(t, times, 2, "%s: an effect repeats once for the fault that struck in it", line)
		repeated += times - 1
	}
	assert.LessOrEqual(t, repeated, 2*agents, "effects repeat only on the two workers that were struck")
	assert.Eventually(t, func() bool { return len(marked(t, dir)) == 0 }, 20*time.Second, 50*time.Millisecond, "nothing of a program is left")
	t.Logf("%d calls for %d jobs, %d replayed", calls, jobs, replayed)
}

// marked returns the programs of a test, by a mark in their environment.
func marked(t *testing.T, mark string) (pids []int) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, path := range environs {
		text, _ := os.ReadFile(path)
		if pid, _ := strconv.Atoi(strings.Split(path, "/")[2]); strings.Contains(string(text), "MARK="+mark+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestRunWithAProgramIsResumed kills `run` with -9 while programs wait for the model. No program outlives it. With --resume the results in
// the file stay, the other jobs run from their beginning, and the folders of the first run are removed.
func TestRunWithAProgramIsResumed(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 on this machine")
	}
	bin := built(t)
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("MARK", dir) // programs of a run inherit the environment
	const jobs = 12
	var inputs strings.Builder
	for i := range jobs {
		fmt.Fprintf(&inputs, `{"n":%d}`+"\n", i)
	}
	for name, text := range map[string]string{
		"agent.py":     programAgent,
		"inputs.jsonl": inputs.String(),
		"tools.yaml": `commands:
  note: {description: Notes a number., parameters: {type: object, properties: {n: {type: string}}, required: [n]}, argv: [echo, noted], share: pure}
`,
		"batch.yaml": "task: \"count {n}\"\ninputs: inputs.jsonl\nagent: {command: [python3, agent.py]}\ntools: [note]\noutput_schema: {type: object, required: [n, note]}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	out, stuck := filepath.Join(dir, "results.jsonl"), 0
	rec := &recorder{stuck: func(worker, prompt string) bool { // the last jobs of the first run wait for ever
		n, _ := strconv.Atoi(strings.TrimPrefix(prompt, "count "))
		if worker != "first" || n < jobs/2 {
			return false
		}
		stuck++
		return true
	}}
	sim := bin.simulator(t, "--forward-ms", "1")
	run := func(name string) []string {
		return []string{"run", filepath.Join(dir, "batch.yaml"), "--backend", recorded(t, sim, name, rec), "--out", out, "--resume",
			"--tools", filepath.Join(dir, "tools.yaml"), "--max-inflight", strconv.Itoa(jobs)}
	}
	first := bin.start(t, "coordinator", run("first")...)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(out)
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return err == nil && strings.Count(string(text), "\n") == jobs/2 && stuck == jobs/2
	}, 120*time.Second, 20*time.Millisecond, "half of the jobs end, and the others wait")
	require.NotEmpty(t, alive(t, dir))
	require.NoError(t, first.Signal(syscall.SIGKILL))
	<-first.Ended()
	require.Eventually(t, func() bool { return len(alive(t, dir)) == 0 }, 30*time.Second, 20*time.Millisecond, "programs end with the run")
	before, err := os.ReadFile(out)
	require.NoError(t, err)

	_, errs, code := bin.run(t, "coordinator", run("second")...)
	require.Equal(t, 0, code, errs)
	after, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(after), string(before)), "earlier results stay")
	for _, r := range once(t, out, jobs) {
		assert.Equal(t, batch.OK, r.Status, "job %d: %v", r.Index, r.Error)
		asked := rec.calls[fmt.Sprintf("count %d", r.Index)]
		if r.Index < jobs/2 {
			assert.Len(t, asked, 4, "job %d is not run again", r.Index)
		} else {
			assert.Len(t, asked, 5, "job %d has made one call, and makes all calls again", r.Index)
		}
	}
	assert.Empty(t, alive(t, dir))
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left, "the second run removes the folders of the first")
}

// alive returns the programs with a mark, without this process and its own children.
func alive(t *testing.T, mark string) (pids []int) {
	t.Helper()
	for _, pid := range marked(t, mark) {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(command), "agent.py") {
			pids = append(pids, pid)
		}
	}
	return pids
}
