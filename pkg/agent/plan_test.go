package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// planner runs a job that plans. Its model returns the answers one by one.
func planner(t *testing.T, maxItems int, answers ...string) (batch.Result, *counter) {
	t.Helper()
	c := &counter{}
	c.answer = func(string) (*backend.Response, error) {
		return says(answers[min(len(c.prompts), len(answers))-1]).resp, nil
	}
	compiled := &spec.Compiled{Name: "t/plan", System: "sys", Task: "Plan.", MaxTurns: 2, Plans: "b_1", MaxItems: maxItems,
		Schema: json.RawMessage(`{"type":"object","properties":{"items":{"type":"array"}},"required":["items"]}`)}
	p, err := Compile(compiled, nil, backend.Model{ID: "m", MaxModelLen: 32_000})
	require.NoError(t, err)
	result, err := NewRunner(Config{Worker: "w"}).Run(t.Context(), p, Job{
		ID: batch.Job{Batch: "b_1.plan"}, Attempt: 1, Payload: []byte(`{}`),
	}, c.session())
	require.NoError(t, err)
	return result, c
}

func TestPlanWithTooManyItemsIsRepaired(t *testing.T) {
	t.Parallel()
	two, four := `{"items":["a","b"]}`, `{"items":["a","b","c","d"]}`
	ok, c := planner(t, 2, two)
	assert.Equal(t, batch.OK, ok.Status, "%+v", ok.Error)
	assert.Len(t, c.prompts, 1)

	told, c := planner(t, 3, four, two)
	assert.Equal(t, batch.OK, told.Status, "%+v", told.Error)
	assert.JSONEq(t, two, string(told.Output))
	require.Len(t, c.prompts, 2)
	assert.Contains(t, c.prompts[1], "cannot be used: the plan has 4 items and may have 3")

	failed, _ := planner(t, 3, four, four)
	require.NotNil(t, failed.Error)
	assert.Equal(t, batch.PlanTooLarge, failed.Error.Type)
	assert.False(t, failed.Error.Retryable)
	assert.Equal(t, four, failed.Error.Raw)

	invalid, _ := planner(t, 3, `{"items":[null]}`)
	require.NotNil(t, invalid.Error)
	assert.Equal(t, batch.OutputInvalid, invalid.Error.Type)
}

// A result carries its item, even if the job failed, and the reducer reads the item.
func TestResultsCarryTheirItem(t *testing.T) {
	t.Parallel()
	c := &counter{answer: func(prompt string) (*backend.Response, error) { return says("about " + prompt).resp, nil }}
	p, err := Compile(&spec.Compiled{Name: "t", Task: "{q}/{item}", MaxTurns: 1}, nil, backend.Model{ID: "m"})
	require.NoError(t, err)
	job := Job{ID: batch.Job{Batch: "b_1", Index: 4}, Attempt: 1, Payload: []byte(`{"item":{"q":"a<b"}}`)}
	r, err := NewRunner(Config{}).Run(t.Context(), p, job, c.session())
	require.NoError(t, err)
	assert.JSONEq(t, `{"text":"about a<b/{\"q\":\"a<b\"}"}`, string(r.Output))
	assert.JSONEq(t, `{"q":"a<b"}`, string(r.Item))
	line, err := json.Marshal(r)
	require.NoError(t, err)
	var stored batch.Result
	require.NoError(t, json.Unmarshal(line, &stored))
	stored.Status, stored.Error = batch.StatusFailed, batch.NewError(batch.Timeout, "late")
	text, err := resultLine(stored)
	require.NoError(t, err)
	assert.Equal(t, `{"index":4,"item":{"q":"a<b"},"status":"failed","error":{"type":"Timeout","message":"late"}}`, string(text))
}

// A job with a result from an earlier run ends with that result, of any status.
func TestEndedJobKeepsItsResult(t *testing.T) {
	t.Parallel()
	c := &counter{}
	p, err := Compile(&spec.Compiled{Name: "t", Task: "{q}", MaxTurns: 1}, nil, backend.Model{ID: "m"})
	require.NoError(t, err)
	for _, was := range []batch.Result{
		{Batch: "b_0", JobID: "job-7", Index: 7, Status: batch.OK, Output: json.RawMessage(`{"a":1}`), Turns: 3, Worker: "w", WallMS: 5, Attempts: 2},
		{Batch: "b_0", JobID: "job-7", Index: 7, Status: batch.StatusFailed, Error: batch.NewError(batch.BadInput, "no"), Attempts: 1},
	} {
		payload, err := spec.EndedPayload(was)
		require.NoError(t, err)
		got, err := NewRunner(Config{}).Run(t.Context(), p, Job{ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: payload}, c.session())
		require.NoError(t, err)
		was.Batch = "b_1"
		want, err := json.Marshal(was)
		require.NoError(t, err)
		line, err := json.Marshal(got)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(line))
	}
	assert.Empty(t, c.prompts)
}

func TestReduceWithoutResults(t *testing.T) {
	t.Parallel()
	c := &counter{}
	r := &reduction{n: 0, window: 32_000}
	result, err := r.run(t, c)
	require.NoError(t, err)
	require.Equal(t, batch.OK, result.Status, "%+v", result.Error)
	assert.Equal(t, []string{"Add up 0 lines.\n"}, c.prompts)
}

// A reduction has one budget for all its calls.
func TestReductionBudgetCoversAllCalls(t *testing.T) {
	t.Parallel()
	r := &reduction{n: 1_000, pad: 100, window: 2_000, budget: batch.Budget{Tokens: 300}}
	c := &counter{}
	result, err := r.run(t, c)
	require.NoError(t, err)
	require.NotNil(t, result.Error)
	assert.Equal(t, batch.BudgetExceeded, result.Error.Type)
	assert.Contains(t, result.Error.Message, "raise reduce.budget.tokens")
	assert.LessOrEqual(t, len(c.prompts), 300/10+sideBySide, fmt.Sprint(strings.Count(fmt.Sprint(c.prompts), "Add up")))
}
