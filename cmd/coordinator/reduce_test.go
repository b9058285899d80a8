package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

const reduceField = `reduce:
  task: "Join these {n} notes: {results}"
  output_schema: {type: object, properties: {all: {type: string}}, required: [all]}
`

// With a results file, only the summary goes to standard output. Without one, it is the last line.
func TestReducedRun(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	spec, out := specOf(t, 20, reduceField), filepath.Join(t.TempDir(), "r.jsonl")
	r := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out)
	require.Equal(t, terminal.ExitOK, r.status, r.err)
	assert.Len(t, results(t, read(t, out)), 20)
	summary := results(t, r.out)
	require.Len(t, summary, 1)
	assert.Contains(t, string(summary[0].Output), "Join these 20 notes")
	assert.Equal(t, results(t, read(t, out))[0].Batch.ForStage(batch.StageReduce), summary[0].Batch)
	assert.Contains(t, r.err, "reduce   ok   1 model call")
	assert.Contains(t, r.err, "ok 20")

	all := results(t, coordinate(t, nil, "", "run", spec, "--backend", server).out)
	require.Len(t, all, 21)
	isSummary := all[20].Batch.Stage() == batch.StageReduce
	assert.True(t, isSummary)

	// Half of the results and the summary are lost. The missing jobs run, and the reducer reads all results.
	lines := strings.SplitAfter(read(t, out), "\n")
	require.NoError(t, os.WriteFile(out, []byte(strings.Join(lines[:10], "")), 0o600))
	again := coordinate(t, nil, "", "run", spec, "--backend", server, "--out", out, "--resume")
	require.Equal(t, terminal.ExitOK, again.status, again.err)
	assert.Equal(t, strings.Join(lines[:10], ""), strings.Join(strings.SplitAfter(read(t, out), "\n")[:10], ""))
	assert.Len(t, results(t, read(t, out)), 20)
	assert.Equal(t, string(summary[0].Output), string(results(t, again.out)[0].Output))
	reused := coordinate(t, nil, "", "run", spec, "--backend", server, "--reuse", out)
	require.Equal(t, terminal.ExitOK, reused.status, reused.err)
	assert.Equal(t, 20, strings.Count(reused.out, `"reused_from"`))
	assert.Contains(t, reused.out, "Join these 20 notes")
}

// Permanent failures are in the file, too. The reducer of a resumed run reads them, and the file has each once.
func TestResumedReductionReadsFailures(t *testing.T) {
	server, out := simulator(t, vllmsim.Config{}), filepath.Join(t.TempDir(), "r.jsonl")
	spec := written(t, "s.yaml", "task: \"Sum up {text}\"\ninputs: [{text: one}, {tex: two}, {text: three}]\non_bad_input: skip\n"+reduceField)
	run := func(flags ...string) outcome {
		return coordinate(t, nil, "", append([]string{"run", spec, "--backend", server, "--out", out}, flags...)...)
	}
	first := run()
	require.Equal(t, terminal.ExitJobsFailed, first.status, first.err)
	whole := read(t, out)
	for kept := range 4 {
		lines := strings.SplitAfter(whole, "\n")[:kept]
		require.NoError(t, os.WriteFile(out, []byte(strings.Join(lines, "")), 0o600))
		again := run("--resume")
		require.Equal(t, terminal.ExitJobsFailed, again.status, again.err)
		now := results(t, read(t, out))
		require.Len(t, now, 3)
		assert.True(t, strings.HasPrefix(read(t, out), strings.Join(lines, "")), "existing records stay")
		assert.Contains(t, again.err, "ok 2   failed 1")
		assert.Equal(t, string(results(t, first.out)[0].Output), string(results(t, again.out)[0].Output))
	}
}

func TestReductionFails(t *testing.T) {
	spec := specOf(t, 3, "reduce: {task: \"{n}\", model: other}\n")
	r := coordinate(t, nil, "", "run", spec, "--backend", simulator(t, vllmsim.Config{}))
	assert.Equal(t, terminal.ExitUsage, r.status, r.err)
	assert.Contains(t, r.err, `the model "other"`)

	cut := specOf(t, 3, reduceField+"  sampling: {max_tokens: 2}\n")
	r = coordinate(t, nil, "", "run", cut, "--backend", simulator(t, vllmsim.Config{}))
	assert.Equal(t, terminal.ExitJobsFailed, r.status, r.err)
	assert.Contains(t, r.err, "reduce   failed  OutputTruncated")
	assert.Contains(t, r.err, "ok 3")
}

func TestReductionOnACluster(t *testing.T) {
	redis, _ := testredis.Mini(t)
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--redis", redis)...) }
	spec := written(t, "s.yaml", "task: \"Sum up {text}\"\ninputs: [{text: one}, {tex: two}]\non_bad_input: skip\n"+reduceField)

	waiting := at("submit", spec)
	require.Equal(t, terminal.ExitOK, waiting.status, waiting.err)
	gone := strings.TrimSpace(waiting.out)
	cancelled := at("cancel", gone)
	require.Equal(t, terminal.ExitOK, cancelled.status, cancelled.err)
	followed := at("results", gone, "--follow")
	assert.Equal(t, terminal.ExitJobsFailed, followed.status)
	assert.Contains(t, followed.err, "reduce   not run: ")

	node(t, redis, simulator(t, vllmsim.Config{}))
	submitted := at("submit", spec, "--follow")
	require.Equal(t, terminal.ExitJobsFailed, submitted.status, submitted.err)
	id, lines, _ := strings.Cut(submitted.out, "\n")
	require.Len(t, results(t, lines), 3)
	reducer := string(batch.ID(id).ForStage(batch.StageReduce))
	assert.Len(t, results(t, at("results", id).out), 2, "only the results")
	summary := results(t, at("results", reducer).out)
	require.Len(t, summary, 1)
	assert.Contains(t, string(summary[0].Output), "Join these 2 notes")
	assert.Contains(t, at("status", reducer).out, "state      done")

	require.Equal(t, terminal.ExitOK, at("retry", id).status)
	again := results(t, at("results", id, "--follow").out)
	require.Len(t, again, 3)
	assert.Equal(t, batch.ID(reducer), again[2].Batch)
	now := results(t, at("results", reducer).out)
	require.Len(t, now, 1, "the old summary was replaced")

	assert.Regexp(t, `(?m)^reduced +by `+regexp.QuoteMeta(reducer)+`$`, at("status", id).out)
	cut := at("submit", specOf(t, 2, reduceField+"  sampling: {max_tokens: 2}\n"), "--follow")
	require.Equal(t, terminal.ExitJobsFailed, cut.status, cut.err)
	failed, _, _ := strings.Cut(cut.out, "\n")
	assert.Contains(t, at("status", failed).out, failed+".reduce, which FAILED")

	removed := at("rm", id)
	require.Equal(t, terminal.ExitOK, removed.status, removed.err)
	assert.NotContains(t, at("batches").out, id)
}

func TestReductionErrors(t *testing.T) {
	for text, says := range map[string]string{
		"reduce: {}":                                    "field reduce.task: is required",
		"reduce: {task: \"{result}\"}":                  "the task of a reduction has {results} and {n}, not {result}",
		"reduce: {task: a, tools: [read_file]}":         "tools",
		"reduce: {task: a, output_schema: {type: odd}}": "field reduce.output_schema",
	} {
		r := coordinate(t, nil, "", "validate", specOf(t, 1, text+"\n"))
		assert.Equal(t, terminal.ExitUsage, r.status, text)
		assert.Contains(t, r.err, says, fmt.Sprint(text, r.err))
	}
}
