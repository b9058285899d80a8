package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ended is a command that ran to its end.
type ended struct {
	out, err string
	status   int
}

func coordinate(t *testing.T, args ...string) ended {
	t.Helper()
	return coordinateIn(t.Context(), args...)
}

func coordinateIn(ctx context.Context, args ...string) ended {
	var out, errs bytes.Buffer
	status := run(ctx, append([]string{"coordinator"}, args...), streams{strings.NewReader(""), &out, &errs, func(string) string { return "" }})
	return ended{out.String(), errs.String(), status}
}

func specFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "batch.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const threeJobs = "name: three\ntask: Say {x}.\ninputs: [{x: a}, {x: b}, {x: c}]\n"

func simulator(t *testing.T) string {
	t.Helper()
	sim, err := vllmsim.New(vllmsim.Config{})
	require.NoError(t, err)
	url, stop, err := sim.Start(context.WithoutCancel(t.Context()), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = stop() })
	return "vllm://" + strings.TrimPrefix(url, "http://")
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestMistakesEndWithStatus2AndAreExplained(t *testing.T) {
	spec := specFile(t, threeJobs)
	redis, _ := testredis.Mini(t)
	unwritable := filepath.Join(t.TempDir(), "missing", "out.jsonl")
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"command":       {[]string{"rnu"}, []string{`there is no command "rnu"`}},
		"flag":          {[]string{"run", spec, "--speed"}, []string{"speed", "--help"}},
		"no argument":   {[]string{"run"}, []string{"takes one spec file"}},
		"no spec":       {[]string{"run", "nowhere.yaml"}, []string{"nowhere.yaml"}},
		"all mistakes":  {[]string{"validate", specFile(t, "task: Say {x}.\ninputs: [{x: a}]\nmax_trns: 3\nmax_retries: many\n")}, []string{"max_turns", "batch.yaml:3", "batch.yaml:4"}},
		"no inputs":     {[]string{"run", specFile(t, "task: Say it.\ninputs: []\n")}, []string{"input"}},
		"format":        {[]string{"run", spec, "--format", "xml"}, []string{"neither jsonl nor csv"}},
		"resume alone":  {[]string{"run", spec, "--resume"}, []string{"--out"}},
		"out's folder":  {[]string{"run", spec, "--out", unwritable}, []string{unwritable}},
		"out's a dir":   {[]string{"run", spec, "--out", t.TempDir()}, []string{"--out"}},
		"batch ID form": {[]string{"status", "b_1", "--redis", redis}, []string{"is not a batch ID", "coordinator batches"}},
		"wrong Redis":   {[]string{"status", "b_01k5x8zq3v6t9w2y4a7c1d0efg", "--redis", redis}, []string{"holds no batch at all"}},
		"extra":         {[]string{"batches", "x", "--redis", redis}, []string{"unexpected argument"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := coordinate(t, c.args...)
			assert.Equal(t, 2, got.status, got.err)
			assert.Empty(t, got.out)
			for _, text := range c.says {
				assert.Contains(t, got.err, text)
			}
		})
	}
}

func TestRedisAwayIsStatus3WithoutThePassword(t *testing.T) {
	addr := closedAddress(t)
	got := coordinate(t, "batches", "--redis", "redis://me:hunter2@"+addr)
	require.Equal(t, 3, got.status, got.err)
	require.Contains(t, got.err, addr)
	require.NotContains(t, got.err, "hunter2")
}

func TestBackendAwayIsStatus3(t *testing.T) {
	addr := closedAddress(t)
	got := coordinate(t, "run", specFile(t, threeJobs), "--backend", "vllm://"+addr)
	require.Equal(t, 3, got.status, got.err)
	require.Contains(t, got.err, addr)
	require.Empty(t, got.out)
}

func TestRunPrintsOneResultPerInput(t *testing.T) {
	got := coordinate(t, "run", specFile(t, threeJobs), "--backend", simulator(t))
	require.Equal(t, 0, got.status, got.err)
	require.Len(t, strings.Split(strings.TrimSpace(got.out), "\n"), 3)
	require.Contains(t, got.err, "THE ANSWERS ARE SIMULATED")
}

func TestResumeRunsWhatIsMissingAndWhatMayPass(t *testing.T) {
	spec, sim := specFile(t, threeJobs), simulator(t)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	args := []string{"run", spec, "--backend", sim, "--out", out}
	require.Equal(t, 0, coordinate(t, args...).status)

	lines := readLines(t, out)
	require.Len(t, lines, 3)
	lost, bad := lines[0], lines[1]
	lost.Status, lost.Output, lost.Error = batch.StatusFailed, nil, batch.NewError(batch.WorkerLost, "gone")
	bad.Status, bad.Output, bad.Error = batch.StatusFailed, nil, batch.NewError(batch.OutputInvalid, "bad")
	var text []byte
	for _, r := range []batch.Result{lost, bad} {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		text = append(append(text, line...), '\n')
	}
	require.NoError(t, os.WriteFile(out, append(text, `{"batch":"torn`...), 0o600))

	got := coordinate(t, args...)
	require.Equal(t, 2, got.status, "a file with results is not overwritten: %s", got.err)
	require.Contains(t, got.err, "--resume")

	got = coordinate(t, append(args, "--resume")...)
	require.Equal(t, 1, got.status, "one job failed for good: %s", got.err)
	byIndex := map[int64]batch.Result{}
	for _, r := range readLines(t, out) {
		require.NotContains(t, byIndex, r.Index)
		byIndex[r.Index] = r
	}
	require.Len(t, byIndex, 3)
	require.Equal(t, batch.OK, byIndex[lost.Index].Status)
	require.Equal(t, batch.OutputInvalid, byIndex[bad.Index].Error.Type)
}

func readLines(t *testing.T, path string) (results []batch.Result) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var r batch.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		results = append(results, r)
	}
	return results
}

func TestInterruptedRunIsStatus130(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := coordinateIn(ctx, "run", specFile(t, threeJobs), "--backend", simulator(t))
	require.Equal(t, 130, got.status, got.err)
}

// TestABatchThroughEveryCommand needs no worker: cancel gives the waiting jobs their results.
func TestABatchThroughEveryCommand(t *testing.T) {
	redis, server := testredis.Mini(t)
	on := func(args ...string) ended { return coordinate(t, append(args, "--redis", redis)...) }
	got := on("submit", specFile(t, threeJobs))
	require.Equal(t, 0, got.status, got.err)
	id := strings.TrimSpace(got.out)
	_, err := batch.ParseID(id)
	require.NoError(t, err)

	got = on("status", id, "--json")
	var info batch.Info
	require.NoError(t, json.Unmarshal([]byte(got.out), &info), got.out)
	require.EqualValues(t, 3, info.Counts.Fed)
	require.Contains(t, on("batches").out, id)
	require.Equal(t, "[]\n", on("workers", "--json").out)

	typo := id[:len(id)-1] + "0"
	if typo == id {
		typo = id[:len(id)-1] + "1"
	}
	got = on("results", typo)
	require.Equal(t, 2, got.status)
	require.Contains(t, got.err, "the nearest known one is "+id)

	got = on("cancel", id)
	require.Equal(t, 0, got.status, got.err)
	require.Equal(t, 2, on("results", id, "--consume").status, "--consume needs --out")

	got = on("results", id, "--ordered", "--format", "csv")
	require.Equal(t, 0, got.status, got.err)
	rows := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, rows, 4)
	for i, row := range rows[1:] {
		require.Contains(t, row, batch.JobID(int64(i)))
	}

	out := filepath.Join(t.TempDir(), "out.jsonl")
	entries := func() int { n, _ := server.Stream("ba:{" + id + "}:results"); return len(n) }
	require.Equal(t, 1, on("results", id, "--follow", "--out", out).status, "cancelled jobs are not ok")
	require.Equal(t, 3, entries(), "nothing is trimmed unasked")
	require.Equal(t, 1, on("results", id, "--follow", "--out", out, "--consume").status)
	require.Zero(t, entries())
	require.Len(t, readLines(t, out), 3)

	require.Equal(t, 0, on("retry", id).status)
	require.Equal(t, 0, on("rm", id).status)
	require.Equal(t, 2, on("status", id).status)
}

func TestValidateShowsThePrompt(t *testing.T) {
	got := coordinate(t, "validate", specFile(t, threeJobs))
	require.Equal(t, 0, got.status, got.err)
	require.Contains(t, got.out, "Say a.")
}
