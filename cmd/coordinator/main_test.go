package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

// outcome is the exit status and output of one command.
type outcome struct {
	status   int
	out, err string
}

// coordinate runs one command with the arguments that a user would type.
func coordinate(t *testing.T, env map[string]string, stdin string, args ...string) outcome {
	t.Helper()
	return coordinateIn(t, t.Context(), env, stdin, args...)
}

func coordinateIn(t *testing.T, ctx context.Context, env map[string]string, stdin string, args ...string) outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	status := run(ctx, append([]string{"coordinator"}, args...), streams{
		in: strings.NewReader(stdin), out: &out, err: &errOut, getenv: func(name string) string { return env[name] },
	})
	return outcome{status, out.String(), errOut.String()}
}

// simulator starts a simulated server on a loopback port.
func simulator(t *testing.T, c vllmsim.Config) (url string) {
	t.Helper()
	sim, err := vllmsim.New(c)
	require.NoError(t, err)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return "vllm://" + server.Listener.Addr().String()
}

// node runs a worker in this process until the test ends.
func node(t *testing.T, redis, backend string) {
	t.Helper()
	store, err := statestore.Open(t.Context(), redis, statestore.Options{})
	require.NoError(t, err)
	back, err := dial.Open(t.Context(), backend, dial.Options{Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	pool, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	w, err := worker.New(worker.Config{ID: "node-1", Store: store, Backend: back, Tools: pool})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, w.Run(ctx)) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		require.NoError(t, back.Close())
		require.NoError(t, store.Close())
	})
}

// specOf writes a spec of n short jobs and returns its path.
func specOf(t *testing.T, n int, more string) string {
	t.Helper()
	dir := t.TempDir()
	var inputs strings.Builder
	for i := range n {
		fmt.Fprintf(&inputs, "{\"text\":\"note %d\"}\n", i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(inputs.String()), 0o600))
	text := "name: notes\ntask: \"Sum up {text}\"\ninputs: inputs.jsonl\noutput_schema: {type: object, properties: {s: {type: string}}, required: [s]}\n" + more
	path := filepath.Join(dir, "spec.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func linesIn(s string) int { return strings.Count(s, "\n") }

func TestBatchOnCluster(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	env := map[string]string{}
	at := func(args ...string) []string { return append(args, "--redis", redis) }
	out := filepath.Join(t.TempDir(), "results.jsonl")

	submitted := coordinate(t, env, "", at("submit", specOf(t, 30, ""), "--follow", "--out", out)...)
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id := strings.TrimSpace(submitted.out)
	_, err := batch.ParseID(id)
	require.NoError(t, err, "standard output holds the ID and nothing else")
	assert.Contains(t, submitted.err, "ok 30")
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, 30, linesIn(string(text)))

	ordered := coordinate(t, env, "", at("results", id, "--ordered")...)
	require.Equal(t, terminal.ExitOK, ordered.status, ordered.err)
	for i, line := range strings.Split(strings.TrimSpace(ordered.out), "\n") {
		var r batch.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		require.EqualValues(t, i, r.Index)
	}
	table := coordinate(t, env, "", at("results", id, "--format", "csv")...)
	assert.Equal(t, 31, linesIn(table.out), "a header and a row each")
	again := coordinate(t, env, "", at("results", id, "--follow", "--out", out)...)
	assert.Equal(t, terminal.ExitOK, again.status)
	same, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(same), "results in the file are not written again")

	status := coordinate(t, env, "", at("status", id, "--json")...)
	var report struct {
		Phase  batch.Phase
		Counts batch.Counts
	}
	require.NoError(t, json.Unmarshal([]byte(status.out), &report), status.out)
	assert.Equal(t, batch.Done, report.Phase)
	assert.EqualValues(t, 30, report.Counts.OK)
	assert.Contains(t, coordinate(t, env, "", at("status", id)...).out, id)
	assert.Contains(t, coordinate(t, env, "", at("batches")...).out, id)
	var workers []batch.WorkerRecord
	require.NoError(t, json.Unmarshal([]byte(coordinate(t, env, "", at("workers", "--json")...).out), &workers))
	require.Len(t, workers, 1)
	assert.Equal(t, "node-1", workers[0].ID)

	none := coordinate(t, env, "", at("retry", id)...)
	assert.Equal(t, terminal.ExitOK, none.status, none.err)
	for _, c := range []struct {
		args []string
		says string
	}{
		{at("resolve", id), "takes a batch ID and a job"},
		{at("resolve", id, "job-1"), "--outcome must be done, failed or again"},
		{at("resolve", id, "job-1", "--outcome", "perhaps"), "--outcome must be done, failed or again"},
		{at("resolve", id, "job-1", "--outcome", "again", "--result", "x"), "its own result"},
		{at("resolve", id, "first", "--outcome", "done"), `"first" is not a job`},
		{at("resolve", id, "job-1", "--outcome", "done"), "no call of it is parked"},
	} {
		r := coordinate(t, env, "", c.args...)
		assert.Equal(t, terminal.ExitUsage, r.status, c.args)
		assert.Contains(t, r.err, c.says)
	}
	removed := coordinate(t, env, "", at("rm", id)...)
	assert.Equal(t, terminal.ExitOK, removed.status, removed.err)
	gone := coordinate(t, env, "", at("status", id)...)
	assert.Equal(t, terminal.ExitUsage, gone.status)
	assert.Contains(t, gone.err, id)
}

func TestCancelAndRetry(t *testing.T) {
	redis, _ := testredis.Mini(t)
	env := map[string]string{"BATCHAGENT_REDIS": ""}
	submitted := coordinate(t, env, "", "submit", specOf(t, 5, ""), "--redis", redis)
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id := strings.TrimSpace(submitted.out)
	open := coordinate(t, env, "", "rm", id, "--redis", redis)
	assert.NotEqual(t, terminal.ExitOK, open.status, "a running batch is not removed")
	assert.Contains(t, open.err, "cancel")

	cancelled := coordinate(t, env, "", "cancel", id, "--redis", redis)
	require.Equal(t, terminal.ExitOK, cancelled.status, cancelled.err)
	collected := coordinate(t, env, "", "results", id, "--follow", "--redis", redis)
	assert.Equal(t, terminal.ExitJobsFailed, collected.status)
	assert.Equal(t, 5, strings.Count(collected.out, `"status":"cancelled"`))
}

func TestRunOnThisMachine(t *testing.T) {
	spec := specOf(t, 20, "")
	r := coordinate(t, nil, "", "run", spec, "--backend", simulator(t, vllmsim.Config{}))
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Equal(t, 20, linesIn(r.out))
	assert.Contains(t, r.err, "SIMULATED")
	assert.Contains(t, r.err, "ok 20")
}

// An interrupted run prints how to resume. The same command with --resume completes the file and reruns jobs with
// retryable errors.
func TestRunResumes(t *testing.T) {
	spec, out := specOf(t, 40, "max_retries: 0\n"), filepath.Join(t.TempDir(), "r.jsonl")
	good := simulator(t, vllmsim.Config{})
	first := coordinate(t, nil, "", "run", spec, "--backend", good, "--out", out)
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	const failed = 7 // in the form of earlier versions
	unavailable := `"status":"failed","error":{"type":"BackendUnavailable","message":"503","retryable":true}`
	require.NoError(t, os.WriteFile(out, []byte(strings.NewReplacer(`,"error":null`, "").Replace(
		strings.Replace(string(text), `"status":"ok"`, unavailable, failed))), 0o600))

	refused := coordinate(t, nil, "", "run", spec, "--backend", good, "--out", out)
	assert.Equal(t, terminal.ExitUsage, refused.status)
	assert.Contains(t, refused.err, "--resume")
	resumed := coordinate(t, nil, "", "run", spec, "--backend", good, "--out", out, "--resume")
	require.Equal(t, terminal.ExitOK, resumed.status, resumed.err)
	assert.Contains(t, resumed.err, fmt.Sprintf("%d failed before and run again", failed))
	text, err = os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, 40, linesIn(string(text)))
	assert.Zero(t, strings.Count(string(text), `"status":"failed"`))
	for i := range 40 {
		assert.Equal(t, 1, strings.Count(string(text), fmt.Sprintf(`"job_id":"job-%d"`, i)))
	}
}

func TestInterruptedRunPrintsHowToResume(t *testing.T) {
	spec, out := specOf(t, 200, "max_inflight: 1\n"), filepath.Join(t.TempDir(), "r.jsonl")
	slow := simulator(t, vllmsim.Config{ForwardMS: 20})
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if text, err := os.ReadFile(out); err == nil && linesIn(string(text)) > 2 {
				interrupt()
			}
			<-time.After(5 * time.Millisecond)
		}
	}()
	r := coordinateIn(t, ctx, nil, "", "run", spec, "--backend", slow, "--out", out)
	assert.Equal(t, terminal.ExitInterrupted, r.status)
	assert.Contains(t, r.err, "--resume")
	assert.Contains(t, r.err, "without a result yet")
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(string(text), "}\n"), "no torn line")
}

func TestUsageErrorsNameTheMistake(t *testing.T) {
	redis, _ := testredis.Mini(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("name: x\ntsk: \"Sum up {text}\"\nmax_turns: many\ninputs: [{text: a}]\n"), 0o600))
	spec := specOf(t, 2, "")
	dead := "redis://:hunter2@127.0.0.1:1"
	for name, c := range map[string]struct {
		args   []string
		status int
		says   []string
	}{
		"no such command":       {[]string{"sumbit"}, terminal.ExitUsage, []string{"sumbit", "--help"}},
		"no such flag":          {[]string{"run", spec, "--bakend", "x"}, terminal.ExitUsage, []string{"bakend", "coordinator run --help"}},
		"no spec":               {[]string{"run"}, terminal.ExitUsage, []string{"one spec file"}},
		"spec not there":        {[]string{"validate", "nowhere.yaml"}, terminal.ExitUsage, []string{"nowhere.yaml"}},
		"every mistake at once": {[]string{"validate", bad}, terminal.ExitUsage, []string{"tsk", "task", "max_turns", "bad.yaml:2", "bad.yaml:3"}},
		"not a batch ID":        {[]string{"status", "job-3", "--redis", redis}, terminal.ExitUsage, []string{"job-3"}},
		"unknown batch":         {[]string{"results", "b_01k0000000000000000000000a", "--redis", redis}, terminal.ExitUsage, []string{"b_01k0000000000000000000000a"}},
		"Redis away":            {[]string{"batches", "--redis", dead}, terminal.ExitUnreachable, []string{"127.0.0.1:1", "is it running"}},
		"a malformed URL":       {[]string{"batches", "--redis", "localhost:6379"}, terminal.ExitUsage, []string{"redis://"}},
		"backend away":          {[]string{"run", spec, "--backend", "vllm://127.0.0.1:1"}, terminal.ExitUnreachable, []string{"127.0.0.1:1"}},
		"unknown backend":       {[]string{"run", spec, "--backend", "gopher://x"}, terminal.ExitUsage, []string{"gopher", "vllm://"}},
		"folder not there":      {[]string{"run", spec, "--out", "no/such/folder/r.jsonl", "--backend", "vllm://127.0.0.1:1"}, terminal.ExitUsage, []string{"no/such/folder"}},
		"unknown format":        {[]string{"run", spec, "--format", "xml"}, terminal.ExitUsage, []string{"xml", "csv"}},
		"resume from nothing":   {[]string{"run", spec, "--resume"}, terminal.ExitUsage, []string{"--out"}},
		"out without follow":    {[]string{"submit", spec, "--out", "r.jsonl", "--redis", redis}, terminal.ExitUsage, []string{"--follow"}},
		"an argument too many":  {[]string{"workers", "now", "--redis", redis}, terminal.ExitUsage, []string{"now"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := coordinate(t, nil, "", c.args...)
			assert.Equal(t, c.status, r.status, r.err)
			for _, says := range c.says {
				assert.Contains(t, r.err, says)
			}
			assert.Empty(t, r.out)
			assert.NotContains(t, r.err, "hunter2")
			assert.NotContains(t, r.err, "goroutine ")
		})
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	all := coordinate(t, nil, "", "--help")
	assert.Equal(t, terminal.ExitOK, all.status)
	for _, name := range []string{"run", "submit", "status", "results", "batches", "workers", "cancel", "retry", "resolve", "rm", "validate"} {
		assert.Contains(t, all.err+all.out, name)
		help := coordinate(t, nil, "", name, "--help")
		assert.Equal(t, terminal.ExitOK, help.status, name)
		assert.Contains(t, help.err+help.out, "USAGE", name)
	}
}

func TestValidateShowsWhatWouldBeSubmitted(t *testing.T) {
	r := coordinate(t, nil, "", "validate", specOf(t, 7, ""))
	assert.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Regexp(t, `jobs +7\n`, r.out)
}

func TestSubmitDurable(t *testing.T) {
	forgets := testredis.Server(t)
	refused := coordinate(t, nil, "", "submit", specOf(t, 3, ""), "--durable", "--redis", forgets.URL())
	assert.Equal(t, terminal.ExitUsage, refused.status)
	assert.Contains(t, refused.err, "durable: ")
	assert.Contains(t, refused.err, "appendonly yes")
	assert.Empty(t, refused.out)
	assert.Zero(t, forgets.Client().DBSize(t.Context()).Val(), "nothing was submitted")

	keeps := testredis.Server(t, testredis.Config("appendonly", "yes", "appendfsync", "always"))
	spec := specOf(t, 3, "")
	submitted := coordinate(t, nil, "", "submit", spec, "--durable", "--redis", keeps.URL())
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id := strings.TrimSpace(submitted.out)
	assert.Contains(t, submitted.err, "batch "+id+" is safe: on the disk of 127.0.0.1:")
	keeps.Kill9()
	keeps.Restart()
	status := coordinate(t, nil, "", "status", id, "--json", "--redis", keeps.URL())
	require.Equal(t, terminal.ExitOK, status.status, status.err)
	assert.Contains(t, status.out, `"SEALED"`)
}
