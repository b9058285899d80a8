package diagnose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func timedResult(index, wall int64, worker string, t batch.Times) batch.Result {
	return batch.Result{
		Batch: "b_1", JobID: batch.JobID(index), Index: index, Status: batch.OK, Output: json.RawMessage("1"), Turns: 2, Worker: worker, WallMS: wall, Times: t,
		Usage: batch.Usage{PromptTokens: 100, CachedTokens: 25, CompletionTokens: 10, ContextTokens: 102}, Tools: batch.ToolCounts{Asked: 2, Executed: 1},
	}
}

func TestExplainFileSumsResults(t *testing.T) {
	t.Parallel()
	var lines []byte
	for _, r := range []batch.Result{
		timedResult(0, 1_000, "node-2", batch.Times{Queued: 6_000, Decode: 600, Tools: 300}),
		timedResult(1, 9_000, "node-1", batch.Times{Decode: 8_000, Slot: 500}),
		{Batch: "b_1", JobID: "job-2", Index: 2, Status: batch.StatusCancelled, Error: batch.NewError(batch.JobCancelled, "x"), Worker: "node-1"},
	} {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		lines = append(append(lines, line...), '\n')
	}
	path := filepath.Join(t.TempDir(), "results.jsonl")
	require.NoError(t, os.WriteFile(path, lines, 0o600))
	e, err := ExplainFile(path)
	require.NoError(t, err)
	assert.EqualValues(t, 3, e.Jobs)
	assert.EqualValues(t, 2, e.Timed, "the cancelled job did not run")
	assert.EqualValues(t, 10_000, e.WallMS)
	assert.Equal(t, batch.Times{Queued: 6_000, Decode: 8_600, Tools: 300, Slot: 500}, e.Times)
	assert.Contains(t, PartsOf(e.Times, e.WallMS), batch.Part{Name: OwnPart, MS: 600})
	assert.Equal(t, "decode", e.Bound.Part)
	assert.Contains(t, e.Bound.By, "86%")
	require.Len(t, e.Nodes, 2)
	assert.Equal(t, Node{Worker: "node-1", Jobs: 2, Turns: 2, Usage: batch.Usage{PromptTokens: 100, CachedTokens: 25, CompletionTokens: 10, ContextTokens: 102},
		Tools: batch.ToolCounts{Asked: 2, Executed: 1}}, e.Nodes[0])
	assert.Equal(t, "job-1", e.Slowest[0].JobID)

	require.NoError(t, os.WriteFile(path, []byte("name: spec\n"), 0o600))
	_, err = ExplainFile(path)
	assert.ErrorContains(t, err, "--results: ")
	assert.True(t, fault.IsUsage(err))
	_, err = ExplainFile(filepath.Join(t.TempDir(), "none"))
	assert.True(t, fault.IsUsage(err))
}

func TestExplainListsSlowestJobsFirst(t *testing.T) {
	t.Parallel()
	a := newAnatomy()
	for i := range int64(50) {
		a.add(timedResult(i, (i*37)%50, "w", batch.Times{Decode: 1}))
	}
	e := a.explanation("b_1", time.Second)
	require.Len(t, e.Slowest, slowestShown)
	for i, s := range e.Slowest {
		assert.EqualValues(t, 49-i, s.WallMS)
	}
}

func TestBoundOf(t *testing.T) {
	t.Parallel()
	timed := func(p batch.Times) Explanation { return Explanation{Timed: 1, WallMS: 1_000, Times: p} }
	running := func(trouble string, phase batch.Phase, fed, waiting int64) *operation.StatusReport {
		return &operation.StatusReport{Trouble: trouble, Info: batch.Info{Phase: phase, Counts: batch.Counts{Fed: fed, Waiting: waiting}}}
	}
	for name, c := range map[string]struct {
		e      Explanation
		status *operation.StatusReport
		part   string
		by     string
	}{
		"nothing known":         {Explanation{}, nil, "", "no job has ended"},
		"batchagent itself":     {timed(batch.Times{Decode: 100}), nil, OwnPart, "batchagent itself (90%"},
		"no worker comes first": {timed(batch.Times{Decode: 900}), running("no worker is alive", batch.Sealed, 5, 5), "workers", "no worker is alive"},
		"the feed is slow":      {timed(batch.Times{Decode: 900}), running("", batch.Open, 5, 0), "feed", "its feed"},
		"jobs wait, so not fed": {timed(batch.Times{Decode: 900}), running("", batch.Open, 5, 2), "decode", "decode"},
		"a batch that is done":  {timed(batch.Times{Tools: 900}), running("", batch.Done, 5, 0), "tools", "tool calls (90%"},
	} {
		b := boundOf(c.e, c.status)
		assert.Equal(t, c.part, b.Part, name)
		assert.Contains(t, b.By, c.by, name)
		assert.NotEmpty(t, b.Knob, name)
	}
	worker, err := os.ReadFile("../../cmd/worker/app/worker.go")
	require.NoError(t, err)
	for part, a := range advice {
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(a.knob, -1) {
			if flag[1] != "gpu-memory-utilization" { // a flag of vLLM
				assert.Contains(t, string(worker), `Name: "`+flag[1]+`"`, "%s names a flag of worker", part)
			}
		}
	}
	for _, p := range (batch.Times{}).Parts() {
		assert.NotEmpty(t, advice[p.Name].by, p.Name)
		assert.NotEmpty(t, advice[p.Name].knob, p.Name)
		assert.NotEmpty(t, PartNames[p.Name], p.Name)
	}
}

func TestExplainABatchInRedis(t *testing.T) {
	t.Parallel()
	url, _ := testredis.Mini(t)
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	defer store.Close()
	_, err = Explain(t.Context(), operation.On(store, nil), "b_01k0000000000000000000000", nil)
	require.ErrorIs(t, err, statestore.ErrNotFound)

	s, err := operation.Prepare(t.Context(), operation.SubmitOptions{Spec: "../../examples/returns/batch.yaml", ToolsRoot: "../..", Stdin: strings.NewReader("")})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Submit(t.Context(), store))
	e, err := Explain(t.Context(), operation.On(store, nil), s.ID, nil)
	require.NoError(t, err)
	assert.Zero(t, e.Jobs)
	assert.Equal(t, "workers", e.Bound.Part)
}
