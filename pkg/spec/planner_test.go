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

func planned(t *testing.T, text string) *Prepared {
	t.Helper()
	s, err := load(t, text, nil, LoadOptions{})
	require.NoError(t, err)
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	return p
}

// A stage's budget in money counts by the stage's own prices, if it has any.
func TestStageHasOwnPrices(t *testing.T) {
	t.Parallel()
	p := planned(t, `
task: "{item}"
plan: {task: a, budget: {usd: 1}, prices: {prompt: 3, completion: 0}}
reduce: {task: b, prices: {prompt: 4, completion: 0}, budget: {usd: 2}}
`)
	assert.Equal(t, batch.Budget{USD: 1}, p.Planner.JobBudget)
	assert.Equal(t, batch.Budget{USD: 2}, p.Reducer.JobBudget)
	assert.Zero(t, p.Jobs.Prices)
}

func TestPlanHasOwnLimits(t *testing.T) {
	t.Parallel()
	p := planned(t, `
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
	c := p.Planner
	assert.Equal(t, "At most 7 questions, as {{json}}.", c.Task)
	assert.True(t, strings.HasPrefix(c.System, "Be brief.\n\nAnswer with one JSON value"), c.System)
	assert.Equal(t, []any{"survey/plan", "large", 7, 3, 0, 2, []string{"grep_files"}, 5 * time.Minute, 10 * time.Minute, 900, 4, "me"},
		[]any{c.Name, c.Model, c.MaxItems, c.MaxTurns, c.MaxRetries, c.MaxAttempts, c.Tools, c.Timeouts.Job, c.Timeouts.Turn, c.Sampling.MaxTokens, c.Priority, c.Owner})
	assert.Equal(t, batch.Budget{Tokens: 9000, USD: 0.5}, c.JobBudget)
	assert.Equal(t, batch.Prices{Prompt: 3, Cached: 3, Completion: 9}, c.Prices)
	assert.Equal(t, batch.Prices{Prompt: 1, Cached: 1, Completion: 2}, p.Reducer.Prices)
	assert.Equal(t, []any{1, 0, time.Minute, 10 * time.Minute}, []any{p.Reducer.MaxAttempts, p.Reducer.MaxRetries, p.Reducer.Timeouts.Job, p.Reducer.Timeouts.Turn})
	assert.Equal(t, []any{9, 0}, []any{p.Jobs.MaxTurns, p.Jobs.MaxItems})
	assert.Equal(t, "Answer {q} in {n} lines: {item}", p.Jobs.Task)
	assert.Zero(t, p.Total)

	var jobs []string
	for job, err := range p.Payloads(t.Context()) {
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
	p := planned(t, "task: \"Read {item}.\"\nmodel: m\nmax_turns: 2\nplan: {task: List them.}\n")
	assert.Equal(t, "List them.\n\nGive at most 100 items.", p.Planner.Task)
	assert.JSONEq(t, planSchema, string(p.Planner.Schema))
	assert.Equal(t, []any{"m", 8, 100, 3}, []any{p.Planner.Model, p.Planner.MaxTurns, p.Planner.MaxItems, p.Planner.MaxRetries})
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
			_, err = s.Prepare(t.Context())
		}
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), want, text)
	}
	files := map[string]string{"list.json": `{"type": "object"}`}
	_, err := load(t, "task: \"{item}\"\nplan: {task: a, output_schema: {file: list.json}}\n", files, LoadOptions{})
	assert.ErrorContains(t, err, "list.json:1: field plan.output_schema: a plan answers with an object")
	_, err = load(t, "task: \"{r} and {item}\"\nplan: {task: a, output_schema: "+questions+"}\n", nil, LoadOptions{})
	assert.ErrorContains(t, err, `items of the plan have no field "r": its output_schema names n, q`)
	p := planned(t, "task: \"{anything}\"\nplan: {task: a, output_schema: {type: object, properties: {items: {type: array}}, required: [items]}}\n")
	assert.Equal(t, "{anything}", p.Jobs.Task, "the schema does not name the fields, so any name may be one")
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
		payloads, err := (&Compiled{MaxItems: c.max}).Items(json.RawMessage(c.output))
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
			prompt, err := (&Compiled{Task: "{item}|{x}"}).Prompt(payload.Input)
			require.NoError(t, err)
			prompts = append(prompts, prompt)
			assert.JSONEq(t, string(payload.Item), string(ItemOf(p)), fmt.Sprint(i))
		}
		assert.Equal(t, c.want, prompts, c.output)
	}
}
