package terminal

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// budgetSpec writes a spec with 12 jobs that run one at a time.
func budgetSpec(t *testing.T, budget string) string {
	path := filepath.Join(t.TempDir(), "spec.yaml")
	text := fmt.Sprintf("name: b\ntask: Name {n}.\ninputs: n.jsonl\nmax_inflight: 1\nprices: {prompt: 1, completion: 2}\n%s\n", budget)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var inputs strings.Builder
	for i := range 12 {
		fmt.Fprintf(&inputs, "{\"n\":%d}\n", i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "n.jsonl"), []byte(inputs.String()), 0o600))
	return path
}

func TestRunEndsWhenBudgetIsUsedAndCanBeResumed(t *testing.T) {
	t.Parallel()
	spec := budgetSpec(t, "budget: {batch: {tokens: 1}}")
	o := localrun.Options{
		Spec: spec, ToolsRoot: "../..", Out: filepath.Join(t.TempDir(), "r.jsonl"), Getenv: func(string) string { return "" },
		Logger: slog.New(slog.DiscardHandler), Stdin: strings.NewReader(""),
	}
	var out, said bytes.Buffer
	err := Run(t.Context(), o, nil, NewConsole(&out, &said))
	require.ErrorContains(t, err, "the budget of this run is used up: ")
	assert.ErrorContains(t, err, " of 1 tokens; raise budget.batch in "+spec)
	assert.Equal(t, ExitBrokenOff, ExitStatus(t.Context(), err))
	assert.Contains(t, said.String(), "cost     $0.0")
	text, err := os.ReadFile(o.Out)
	require.NoError(t, err)
	done := bytes.Count(text, []byte("\n"))
	assert.Positive(t, done)
	assert.Less(t, done, 12)

	text, err = os.ReadFile(spec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(spec, bytes.ReplaceAll(text, []byte("tokens: 1}"), []byte("usd: 5}")), 0o600))
	o.Resume = true
	require.NoError(t, Run(t.Context(), o, nil, NewConsole(&out, &said)), said.String())
	text, err = os.ReadFile(o.Out)
	require.NoError(t, err)
	assert.Equal(t, 12, bytes.Count(text, []byte("\n")))
}

func TestFollowReportsPauseAndBudgetCanBeRaised(t *testing.T) {
	t.Parallel()
	url, _ := testredis.Mini(t)
	store, err := statestore.Open(t.Context(), url, statestore.Options{})
	require.NoError(t, err)
	defer store.Close()
	var out, said bytes.Buffer
	con := NewConsole(&out, &said)
	s, err := operation.Prepare(t.Context(), operation.SubmitOptions{Spec: budgetSpec(t, "budget: {batch: {tokens: 100}}"), ToolsRoot: "../..", Stdin: strings.NewReader("")})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Submit(t.Context(), store))
	_, jobs, err := store.Claim(t.Context(), statestore.ClaimParams{Batch: s.ID, Consumer: "a", Count: 1, Lease: time.Minute})
	require.NoError(t, err)
	_, _, err = store.Finish(t.Context(), s.ID, []statestore.Completion{{Lease: jobs[0].Lease, Result: batch.Result{
		Batch: s.ID, JobID: "job-0", Status: batch.OK, Output: []byte(`1`), Usage: batch.Usage{PromptTokens: 300, CompletionTokens: 50},
	}}})
	require.NoError(t, err)

	err = Results(t.Context(), store, s.ID, ResultsOptions{Follow: true}, con)
	require.ErrorContains(t, err, "is paused: it has used 350 tokens, $0.0004 and may use 100 tokens; 11 of its 12 jobs have no result yet; `coordinator budget ")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"), "the existing result was collected")
	r, err := operation.On(store, nil).Status(t.Context(), s.ID)
	require.NoError(t, err)
	var shown bytes.Buffer
	require.NoError(t, WriteStatus(&shown, r, time.Now()))
	assert.Contains(t, shown.String(), "350 tokens, $0.0004 of 100 tokens used")
	assert.Contains(t, shown.String(), "state      paused: its budget is used up, so no model call starts")

	for _, c := range []struct {
		budget batch.Budget
		said   string
	}{
		{batch.Budget{Tokens: 200}, "may use 200 tokens: this is used up, so no model call starts"},
		{batch.Budget{USD: 1}, "may use 200 tokens or $1.00: this is used up"},
		{batch.Budget{Tokens: 5_000}, "may use 5,000 tokens or $1.00: it continues"},
	} {
		said.Reset()
		info, err := operation.On(store, nil).SetBudget(t.Context(), s.ID, c.budget)
		require.NoError(t, err)
		con.Budget(info)
		assert.Contains(t, said.String(), c.said)
	}
	_, err = operation.On(store, nil).SetBudget(t.Context(), s.ID, batch.Budget{})
	assert.Equal(t, ExitUsage, ExitStatus(t.Context(), err))
	_, jobs, err = store.Claim(t.Context(), statestore.ClaimParams{Batch: s.ID, Consumer: "a", Count: 1, Lease: time.Minute})
	require.NoError(t, err)
	assert.Len(t, jobs, 1)
}
