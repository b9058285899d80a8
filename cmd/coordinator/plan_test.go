package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

const plannedSpec = `name: questions
plan:
  task: Which questions does a survey of pumps have to answer?
  output_schema:
    type: object
    properties:
      items:
        type: array
        minItems: 3
        maxItems: 3
        items: {type: object, properties: {question: {type: string}, part: {type: string}}, required: [question, part], additionalProperties: false}
    required: [items]
    additionalProperties: false
  max_items: 5
task: "Answer {question} about {part}."
output_schema: {type: object, properties: {answer: {type: string}}, required: [answer]}
` + reduceField

// planOf splits lines into the plan, the results and the summary.
func planOf(t *testing.T, out string) (plan batch.Result, jobs []batch.Result, summary batch.Result) {
	t.Helper()
	all := results(t, out)
	require.GreaterOrEqual(t, len(all), 2, out)
	plan, jobs, summary = all[0], all[1:len(all)-1], all[len(all)-1]
	plans := plan.Batch.Stage() == batch.StagePlan
	require.True(t, plans, "the plan is first")
	reduces := summary.Batch.Stage() == batch.StageReduce
	require.True(t, reduces, "the summary is last")
	return plan, jobs, summary
}

func itemsOf(t *testing.T, plan batch.Result) []json.RawMessage {
	t.Helper()
	var out struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal(plan.Output, &out))
	return out.Items
}

func TestPlannedRun(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	spec, out := written(t, "s.yaml", plannedSpec), filepath.Join(t.TempDir(), "r.jsonl")
	r := coordinate(t, nil, "", "run", spec, "--backend", server)
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	plan, jobs, summary := planOf(t, r.out)
	items := itemsOf(t, plan)
	require.Len(t, jobs, len(items))
	for _, j := range jobs {
		assert.JSONEq(t, string(items[j.Index]), string(j.Item), "a result holds its item")
		assert.Equal(t, plan.Batch, j.Batch.ForStage(batch.StagePlan))
	}
	assert.Contains(t, string(summary.Output), "Join these 3 notes")
	assert.Contains(t, r.err, "plan     ok   3 items   1 model call")

	r = coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out)
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	require.Len(t, results(t, r.out), 2, "plan and summary")
	require.Len(t, results(t, read(t, out)), 3)
	again := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out)
	assert.Equal(t, terminal.ExitUsage, again.status)
	csv := coordinate(t, nil, "", "run", spec, "--backend", server, "--format", "csv")
	assert.Equal(t, terminal.ExitUsage, csv.status, csv.err)
	assert.Contains(t, csv.err, "write the table to a file with --out")
	table := filepath.Join(t.TempDir(), "r.csv")
	csv = coordinate(t, nil, "", "run", spec, "--backend", server, "--out", table)
	require.Equal(t, terminal.ExitOK, csv.status, csv.err)
	require.Len(t, results(t, csv.out), 2, "plan and summary")
	assert.Equal(t, 3, strings.Count(read(t, table), "b_01"))
}

// A run that was killed at any point resumes with its plan.
func TestPlannedRunResumes(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	spec, out := written(t, "s.yaml", plannedSpec), filepath.Join(t.TempDir(), "r.jsonl")
	run := func(args ...string) outcome {
		return coordinate(t, nil, "", append([]string{"run", spec, "--backend", server, "--out", out}, args...)...)
	}
	first := run("--resume")
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	whole := read(t, out)
	plan := results(t, first.out)[0]
	for kept := range 4 {
		lines := strings.SplitAfter(whole, "\n")
		require.NoError(t, os.WriteFile(out, []byte(strings.Join(lines[:kept], "")), 0o600))
		r := run("--resume")
		require.Equal(t, terminal.ExitOK, r.status, r.err)
		assert.Contains(t, r.err, "holds a plan of 3 items; it is not made again")
		stages := results(t, r.out)
		require.Len(t, stages, 2)
		assert.Equal(t, plan, stages[0])
		now := results(t, read(t, out))
		require.Len(t, now, 3)
		for _, j := range now {
			assert.JSONEq(t, string(itemsOf(t, plan)[j.Index]), string(j.Item))
			assert.Equal(t, plan.Batch, j.Batch.ForStage(batch.StagePlan))
		}
		assert.Equal(t, string(results(t, first.out)[1].Output), string(stages[1].Output), "the reducer reads all results")
	}
	require.NoError(t, os.Truncate(out, 0))
	r := run()
	assert.Equal(t, terminal.ExitUsage, r.status)
	assert.Contains(t, r.err, out+".plan exists already")
	require.NoError(t, os.WriteFile(out, []byte(whole), 0o600))
	require.NoError(t, os.Remove(out+".plan"))
	r = run("--resume")
	assert.Equal(t, terminal.ExitUsage, r.status)
	assert.Contains(t, r.err, "cannot be matched to a plan")
	r = run("--reuse", out)
	assert.Equal(t, terminal.ExitUsage, r.status)
}

func TestPlanFails(t *testing.T) {
	large := strings.Replace(plannedSpec, "max_items: 5", "max_items: 2", 1)
	out := filepath.Join(t.TempDir(), "r.jsonl")
	r := coordinate(t, nil, "", "run", written(t, "s.yaml", large), "--backend", simulator(t, vllmsim.Config{}), "--out", out)
	assert.Equal(t, terminal.ExitJobsFailed, r.status, r.err)
	plan := results(t, r.out)
	require.Len(t, plan, 1)
	require.NotNil(t, plan[0].Error)
	assert.Equal(t, batch.PlanTooLarge, plan[0].Error.Type)
	assert.Equal(t, 2, plan[0].Turns, "one repair attempt")
	assert.Contains(t, r.err, "plan     failed  PlanTooLarge: the plan has 3 items and may have 2")
	assert.NoFileExists(t, out+".plan")

	empty := strings.NewReplacer("minItems: 3", "minItems: 0", "maxItems: 3", "maxItems: 0").Replace(plannedSpec)
	r = coordinate(t, nil, "", "run", written(t, "s.yaml", empty), "--backend", simulator(t, vllmsim.Config{}))
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	_, jobs, summary := planOf(t, r.out)
	assert.Empty(t, jobs)
	assert.Contains(t, string(summary.Output), "Join these 0 notes")
}

func TestPlanOnCluster(t *testing.T) {
	redis, _ := testredis.Mini(t)
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--redis", redis)...) }
	spec := written(t, "s.yaml", plannedSpec+"budget: {batch: {tokens: 1000000}}\n")

	waiting := at("submit", spec)
	require.Equal(t, terminal.ExitOK, waiting.status, waiting.err)
	gone := strings.TrimSpace(waiting.out)
	assert.Contains(t, at("status", gone).out, "the jobs follow when it has ended")
	cancelled := at("cancel", gone)
	require.Equal(t, terminal.ExitOK, cancelled.status, cancelled.err)
	for stage, state := range map[batch.ID]batch.BatchState{
		batch.ID(gone): batch.BatchCancelled, batch.ID(gone).ForStage(batch.StagePlan): batch.BatchCancelled, batch.ID(gone).ForStage(batch.StageReduce): batch.BatchDone,
	} {
		assert.Contains(t, at("status", string(stage)).out, "state      "+string(state))
	}
	followed := at("results", gone, "--follow")
	assert.Equal(t, terminal.ExitJobsFailed, followed.status)
	assert.Contains(t, followed.err, "plan     cancelled")

	node(t, redis, simulator(t, vllmsim.Config{}))
	submitted := at("submit", spec, "--follow")
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id, lines, _ := strings.Cut(submitted.out, "\n")
	plan, jobs, _ := planOf(t, lines)
	require.Len(t, jobs, 3)
	assert.Len(t, results(t, at("results", id).out), 3, "only the results")
	assert.Equal(t, plan, results(t, at("results", string(plan.Batch)).out)[0])
	var used struct {
		Used   batch.Budget
		Counts batch.Counts
	}
	require.NoError(t, json.Unmarshal([]byte(at("status", id, "--json").out), &used))
	assert.Greater(t, used.Used.Tokens, used.Counts.Usage.PromptTokens+used.Counts.Usage.CompletionTokens, "the stages count")
	raised := at("budget", string(plan.Batch), "--tokens", "2000000")
	require.Equal(t, terminal.ExitOK, raised.status, raised.err)
	assert.Contains(t, at("status", id).out, "2,000,000 tokens used")

	removed := at("rm", id)
	require.Equal(t, terminal.ExitOK, removed.status, removed.err)
	assert.NotContains(t, at("batches").out, id)

	failing := at("submit", written(t, "s.yaml", strings.Replace(plannedSpec, "max_items: 5", "max_items: 2", 1)), "--follow")
	require.Equal(t, terminal.ExitJobsFailed, failing.status, failing.err)
	id, _, _ = strings.Cut(failing.out, "\n")
	assert.Contains(t, at("status", id).out, "failed: PlanTooLarge")
	assert.Contains(t, at("results", id).err, "failed: PlanTooLarge")
	retried := at("retry", id)
	require.Equal(t, terminal.ExitOK, retried.status, retried.err)
	assert.Contains(t, retried.err, "the planner runs again")
	assert.Equal(t, terminal.ExitJobsFailed, at("results", id, "--follow").status)
}

func TestPlanIsValidated(t *testing.T) {
	r := coordinate(t, nil, "", "validate", written(t, "s.yaml", plannedSpec))
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Contains(t, r.out, "from a plan of at most 5 items")
	assert.Contains(t, r.out, "Give at most 5 items.")
	assert.Contains(t, r.out, "Answer {question} about {part}.")
	for text, says := range map[string]string{
		"plan: {}":                                      "field plan.task: is required",
		"plan: {task: \"about {x}\"}":                   "it has {max_items} and not {x}",
		"plan: {task: a, max_items: 0}":                 "max_items",
		"plan: {task: a, output_schema: {type: array}}": "an object that has an array `items`",
		"plan: {task: a}\ninputs: [a]":                  "leave out inputs or plan",
	} {
		r := coordinate(t, nil, "", "validate", written(t, "s.yaml", "task: \"{item}\"\n"+text+"\n"))
		assert.Equal(t, terminal.ExitUsage, r.status, text)
		assert.Contains(t, r.err, says, fmt.Sprint(text, r.err))
	}
}

// The survey is planned, answered and summarized, with real tool calls and a simulated model.
func TestSurveyExample(t *testing.T) {
	const root = "../.."
	out := filepath.Join(t.TempDir(), "findings.jsonl")
	r := coordinate(t, nil, "", "run", root+"/examples/survey/batch.yaml", "--tools-root", root, "--backend", simulator(t, vllmsim.Config{ToolTurns: 2}),
		"--out", out)
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	stages := results(t, r.out)
	require.Len(t, stages, 2)
	assert.Positive(t, stages[0].Tools.Executed, "the planner looks into the library")
	items := itemsOf(t, stages[0])
	require.GreaterOrEqual(t, len(items), 4)
	answers := results(t, read(t, out))
	require.Len(t, answers, len(items))
	for _, a := range answers {
		var item struct{ Topic, Question string }
		require.NoError(t, json.Unmarshal(a.Item, &item))
		assert.NotEmpty(t, item.Question)
		assert.Positive(t, a.Tools.Asked)
	}
	assert.Contains(t, string(stages[1].Output), "summary")
}
