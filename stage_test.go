package batchagent_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestReduce(t *testing.T) {
	t.Parallel()
	type all struct {
		Common string `json:"common"`
	}
	var summary batchagent.Result[all]
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {text}", Inputs: batchagent.Slice([]map[string]string{{"text": "a"}, {"txt": "b"}, {"text": "c"}}), OnBadInput: batchagent.SkipInput,
		Reduce: batchagent.Reduce[all]{
			Task:  "What do these {n} notes have in common? {results}",
			Agent: batchagent.Agent{Sampling: batchagent.Sampling{MaxTokens: 300}}, Into: &summary,
		},
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 3)
	require.Error(t, results[1].Err)
	require.NoError(t, summary.Err)
	assert.Contains(t, summary.Output.Common, "What do these 3 notes have in common")
}

func TestStreamFillsStages(t *testing.T) {
	t.Parallel()
	var plan batchagent.Result[[]string]
	var summary batchagent.Result[string]
	n := 0
	for r, err := range batchagent.Stream(t.Context(), batchagent.Batch[note]{
		Plan: batchagent.Plan[string]{Task: "Ask.", Into: &plan}, Task: "Answer {item}", // an item that is a text fills {item}
		Reduce: batchagent.Reduce[string]{Task: "Join {n} notes.", Into: &summary},
	}, batchagent.Simulated()) {
		require.NoError(t, err)
		require.NoError(t, r.Err)
		assert.NotEmpty(t, plan.Output, "the plan is there before the first result")
		assert.Error(t, summary.Err, "the summary is missing until the last result")
		n++
	}
	assert.Len(t, plan.Output, n)
	require.NoError(t, summary.Err)
	assert.Contains(t, summary.Output, fmt.Sprintf("Join %d notes", n))
}

func TestPlan(t *testing.T) {
	t.Parallel()
	type question struct {
		Topic string `json:"topic"`
		Text  string `json:"text"`
	}
	looked := atomic.Int64{}
	look := batchagent.Func("look", "Look something up.", func(context.Context, struct {
		At string `json:"at"`
	}) (string, error) {
		looked.Add(1)
		return "pumps", nil
	})
	var plan batchagent.Result[[]question]
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Plan: batchagent.Plan[question]{
			Task: "Use look. Ask up to {max_items} questions.", MaxItems: 20, Tools: []batchagent.Tool{look}, Into: &plan,
		},
		Task: "{topic}: answer {text}",
	}, batchagent.Simulated())
	require.NoError(t, err)
	require.NoError(t, plan.Err)
	require.NotEmpty(t, plan.Output)
	assert.NotEmpty(t, plan.Output[0].Topic)
	assert.Positive(t, looked.Load())
	require.Len(t, results, len(plan.Output))
	for i, r := range results {
		require.NoError(t, r.Err)
		assert.Equal(t, i, r.Index)
	}
}

func TestFailedPlanIsAnError(t *testing.T) {
	t.Parallel()
	var summary batchagent.Result[string]
	results, err := batchagent.Run(t.Context(), batchagent.Batch[note]{
		Plan: batchagent.Plan[string]{Task: "Ask.", Agent: batchagent.Agent{Sampling: batchagent.Sampling{MaxTokens: 2}}},
		Task: "Answer {item}", Reduce: batchagent.Reduce[string]{Task: "Join {n} notes.", Into: &summary},
	}, batchagent.Simulated())
	var failed *batchagent.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, batch.OutputTruncated, failed.Type)
	assert.Empty(t, results)
	require.Error(t, summary.Err)
}

// A job that reaches its budget fails alone. A batch that reaches its budget ends, and Run returns the finished results.
func TestBudgets(t *testing.T) {
	t.Parallel()
	look := batchagent.Func("look", "Looks a word up.", func(context.Context, at) (string, error) { return "a noun", nil })
	b := batchagent.Batch[note]{
		Task: "Look {input} up", Inputs: batchagent.Slice(words(3)), Tools: []batchagent.Tool{look}, JobBudget: batchagent.Budget{Tokens: 1},
	}
	results, err := batchagent.Run(t.Context(), b, batchagent.Simulated())
	require.NoError(t, err)
	require.Len(t, results, 3)
	for _, r := range results {
		var failed *batchagent.Error
		require.ErrorAs(t, r.Err, &failed)
		assert.Equal(t, batch.BudgetExceeded, failed.Type)
	}

	results, err = batchagent.Run(t.Context(), batchagent.Batch[note]{
		Task: "Sum up {input}", Inputs: batchagent.Slice(words(40)), MaxInflight: 1,
		BatchBudget: batchagent.Budget{USD: 0.001}, Agent: batchagent.Agent{Prices: batchagent.Prices{Prompt: 10, Completion: 20}},
	}, batchagent.Simulated())
	var paused *batchagent.PausedError
	require.ErrorAs(t, err, &paused)
	assert.GreaterOrEqual(t, paused.Used.USD, 0.001)
	assert.InDelta(t, 0.001, paused.Budget.USD, 0)
	assert.EqualValues(t, 40-len(results), paused.Unfinished)
	assert.NotEmpty(t, results)
	assert.Less(t, len(results), 40)
}
