package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

const questions = `{type: object, properties: {items: {type: array, items: {type: object, properties: {q: {type: string}, n: {type: integer}}, required: [q]}}}, required: [items]}`

func planned(t *testing.T, text string) *Compiled {
	t.Helper()
	s, err := load(t, text, nil, LoadOptions{})
	require.NoError(t, err)
	c, err := s.Compile(t.Context())
	require.NoError(t, err)
	return c
}

// A stage's budget in money counts by the stage's own prices, if it has any.
func TestStageHasOwnPrices(t *testing.T) {
	t.Parallel()
	c := planned(t, `
task: "{item}"
plan: {task: a, budget: {usd: 1}, prices: {prompt: 3, completion: 0}}
reduce: {task: b, prices: {prompt: 4, completion: 0}, budget: {usd: 2}}
`)
	assert.Equal(t, batch.Budget{USD: 1}, c.Planner.JobBudget)
	assert.Equal(t, batch.Budget{USD: 2}, c.Reduce.JobBudget)
	assert.Zero(t, c.Plan.Prices)
}

func TestPlanHasOwnLimits(t *testing.T) {
	t.Parallel()
	c := planned(t, `
name: survey
plan:
  task: "At most {max_items} questions, as {{json}}."
  system_prompt: Be brief.
  output_schema: `+questions+`
  model: large
  max_items: 7
  max_turns: 3
  max_retries: 0
  max_attempts: 2
  tools: [grep_files]
  timeouts: {job: 5m}
  budget: {tokens: 9000, usd: 0.5}
  prices: {prompt: 3, completion: 9}
  sampling: {max_tokens: 900}
task: "Answer {q} in {n} lines: {item}"
max_turns: 9
prices: {prompt: 1, completion: 2}
priority: 4
owner: me
reduce: {task: "{results}", max_attempts: 1, max_retries: 0, timeouts: {job: 1m}, budget: {tokens: 5}}
`)
	p := c.Planner
	assert.Equal(t, "At most 7 questions, as {{json}}.", p.Task)
	assert.True(t, strings.HasPrefix(p.System, "Be brief.\n\nAnswer with one JSON value"), p.System)
	assert.Equal(t, []any{"survey/plan", "large", 7, 3, 0, 2, []string{"grep_files"}, 5 * time.Minute, 10 * time.Minute, 900, 4, "me"},
		[]any{p.Name, p.Model, p.MaxItems, p.MaxTurns, p.MaxRetries, p.MaxAttempts, p.Tools, p.Timeouts.Job, p.Timeouts.Turn, p.Sampling.MaxTokens, p.Priority, p.Owner})
	assert.Equal(t, batch.Budget{Tokens: 9000, USD: 0.5}, p.JobBudget)
	assert.Equal(t, batch.Prices{Prompt: 3, Cached: 3, Completion: 9}, p.Prices)
	assert.Equal(t, batch.Prices{Prompt: 1, Cached: 1, Completion: 2}, c.Reduce.Prices)
	assert.Equal(t, []any{1, 0, time.Minute, 10 * time.Minute}, []any{c.Reduce.MaxAttempts, c.Reduce.MaxRetries, c.Reduce.Timeouts.Job, c.Reduce.Timeouts.Turn})
	assert.Equal(t, []any{9, 0}, []any{c.Plan.MaxTurns, c.Plan.MaxItems})
	assert.Equal(t, "Answer {q} in {n} lines: {item}", c.Plan.Task)
	assert.Zero(t, c.Total)

	var jobs []string
	for job, err := range c.Payloads(t.Context()) {
		require.NoError(t, err)
		jobs = append(jobs, string(job))
	}
	assert.Equal(t, []string{"{}"}, jobs, "the planner's")
	same, err := planned(t, "task: \"{item}\"\nplan: {task: a}\n").Fingerprint()
	require.NoError(t, err)
	other, err := planned(t, "task: \"{item}\"\nplan: {task: b}\n").Fingerprint()
	require.NoError(t, err)
	assert.NotEqual(t, same, other)
}

func TestPlanDefaults(t *testing.T) {
	t.Parallel()
	c := planned(t, "task: \"Read {item}.\"\nmodel: m\nmax_turns: 2\nplan: {task: List them.}\n")
	assert.Equal(t, "List them.\n\nGive at most 100 items.", c.Planner.Task)
	assert.JSONEq(t, planSchema, string(c.Planner.Schema))
	assert.Equal(t, []any{"m", 8, 100, 3}, []any{c.Planner.Model, c.Planner.MaxTurns, c.Planner.MaxItems, c.Planner.MaxRetries})
}

func TestPlanMistakesAreReported(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plan: {task: a}\ninputs: [a]":                  "inputs: the inputs are the items of the plan",
		"plan: {max_items: 3}":                          "plan.task: is required",
		"plan: {task: '{topic}'}":                       "it has {max_items} and not {topic}",
		"plan: {task: a, max_items: 10001}":             "plan.max_items",
		"plan: {task: a, inputs: [a]}":                  "plan.inputs",
		"plan: {task: a, output_schema: {type: array}}": "an object that has an array `items`",
		"plan: {task: a, output_schema: {type: object, properties: {items: {type: array}}}}": "an object that has an array `items`",
		"plan: {task: a, budget: {usd: 1}}":                                                  "plan.budget.usd: needs prices",
		"plan: {task: a}\nsystem_prompt: \"{x}\"":                                            "no field \"x\"",
		"plan: {task: a, output_schema: " + questions + "}\nsystem_prompt: \"{q}\"":          "{q} is not the same in every input",
	} {
		s, err := load(t, "task: \"{item}\"\n"+text+"\n", nil, LoadOptions{})
		if err == nil {
			_, err = s.Compile(t.Context())
		}
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), want, text)
	}
	files := map[string]string{"list.json": `{"type": "object"}`}
	_, err := load(t, "task: \"{item}\"\nplan: {task: a, output_schema: {file: list.json}}\n", files, LoadOptions{})
	assert.ErrorContains(t, err, "list.json:1: field plan.output_schema: a plan answers with an object")
	_, err = load(t, "task: \"{r} and {item}\"\nplan: {task: a, output_schema: "+questions+"}\n", nil, LoadOptions{})
	assert.ErrorContains(t, err, `items of the plan have no field "r": its output_schema names n, q`)
	c := planned(t, "task: \"{anything}\"\nplan: {task: a, output_schema: {type: object, properties: {items: {type: array}}, required: [items]}}\n")
	assert.Equal(t, "{anything}", c.Plan.Task, "the schema does not name the fields, so any name may be one")
}

// A spec received over the API needs no inputs if a plan makes them.
func TestParsePlanSpecWithoutInputs(t *testing.T) {
	t.Parallel()
	s, err := Parse("s.yaml", []byte("task: \"{item}\"\nplan: {task: a}\n"), LoadOptions{})
	require.NoError(t, err)
	assert.False(t, s.Takes())
	require.NoError(t, s.Close())
}

func TestItems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		output string
		max    int
		want   []string // prompts
		failed batch.ErrorType
	}{
		{`{"items":[]}`, 3, []string{}, ""},
		{`{"why":1,"items":["a <b>","{x}"]}`, 3, []string{"a <b>|a <b>", "{x}|{x}"}, ""},
		{`{"items":[{"x": "1", "y": 2}]}`, 3, []string{`{"x":"1","y":2}|1`}, ""},
		{`{"items":[{"x":"1","item":"own"}]}`, 3, []string{"own|1"}, ""},
		{`{"items":[3,true,[1, 2]]}`, 3, []string{"3|3", "true|true", "[1,2]|[1,2]"}, ""},
		{`{"items":["a","b"]}`, 2, []string{"a|a", "b|b"}, ""},
		{`{"items":["a","b","c"]}`, 2, nil, batch.PlanTooLarge},
		{`{"items":["a",null]}`, 3, nil, batch.OutputInvalid},
		{`{"items":null}`, 3, nil, batch.OutputInvalid},
		{`{"list":[]}`, 3, nil, batch.OutputInvalid},
	} {
		payloads, err := (&Plan{MaxItems: c.max}).Items(json.RawMessage(c.output))
		if c.failed != "" {
			var e *batch.Error
			require.ErrorAs(t, err, &e, c.output)
			assert.Equal(t, c.failed, e.Type, c.output)
			continue
		}
		require.NoError(t, err, c.output)
		prompts := []string{}
		for i, p := range payloads {
			var payload Payload
			require.NoError(t, json.Unmarshal(p, &payload))
			if _, ok := payload.Input["x"]; !ok {
				payload.Input["x"] = payload.Input["item"]
			}
			prompt, err := (&Plan{Task: "{item}|{x}"}).Prompt(payload.Input)
			require.NoError(t, err)
			prompts = append(prompts, prompt)
			assert.JSONEq(t, string(payload.Item), string(ItemOf(p)), fmt.Sprint(i))
		}
		assert.Equal(t, c.want, prompts, c.output)
	}
}
