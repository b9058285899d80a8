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

// written writes a test file and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func results(t *testing.T, text string) []batch.Result {
	t.Helper()
	var out []batch.Result
	for line := range strings.Lines(text) {
		var r batch.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		out = append(out, r)
	}
	return out
}

// A batch over another batch's results has jobs in that batch's input order, with the fields of its outputs.
func TestBatchOverResultsOfAnother(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--redis", redis)...) }

	first := at("submit", specOf(t, 30, ""), "--follow", "--out", filepath.Join(t.TempDir(), "r.jsonl"))
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	id := strings.TrimSpace(first.out)
	ordered := results(t, at("results", id, "--ordered").out)
	require.Len(t, ordered, 30)

	second := written(t, "second.yaml", fmt.Sprintf("task: \"{job_id} says {s} in {output}, {error}\"\ninputs: {batch: %s, where: ok}\n", id))
	shown := at("validate", second)
	require.Equal(t, terminal.ExitOK, shown.status, shown.err)
	assert.Regexp(t, `jobs +30\n`, shown.out)
	var answer struct{ S string }
	require.NoError(t, json.Unmarshal(ordered[0].Output, &answer))
	assert.Contains(t, shown.out, fmt.Sprintf("job-0 says %s in %s, null", answer.S, ordered[0].Output))

	chained := at("submit", second, "--follow")
	require.Equal(t, terminal.ExitOK, chained.status, chained.err)
	_, lines, _ := strings.Cut(chained.out, "\n")
	for _, r := range results(t, lines) {
		// The simulated server repeats the first words of its prompt.
		assert.Contains(t, string(r.Output), fmt.Sprintf("job-%d says", r.Index))
	}
}

func TestInvalidInputsAreRefused(t *testing.T) {
	redis, _ := testredis.Mini(t)
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--redis", redis)...) }
	submitted := at("submit", specOf(t, 5, ""))
	require.Equal(t, terminal.ExitOK, submitted.status, submitted.err)
	id := strings.TrimSpace(submitted.out)
	over := func(inputs string) string {
		return written(t, "s.yaml", "task: \"{s}\"\ninputs: "+inputs+"\n")
	}
	near := id[:len(id)-1] + "0"
	if near == id {
		near = id[:len(id)-1] + "1"
	}
	for name, c := range map[string]struct {
		inputs string
		says   []string
	}{
		"still running":      {"{batch: " + id + "}", []string{"field inputs", "is not done: 0 of 5 jobs so far", "coordinator results " + id + " --follow"}},
		"missing batch":      {"{batch: " + near + "}", []string{"field inputs", "the nearest known one is " + id}},
		"not an ID":          {"{batch: job-3}", []string{"field inputs.batch", "is not a batch ID"}},
		"no such status":     {"{batch: " + id + ", where: good}", []string{"field inputs.where", "there is no field good"}},
		"two sources":        {"{batch: " + id + ", glob: \"*\"}", []string{"exactly one of"}},
		"where without":      {"{glob: \"*\", where: ok}", []string{"where goes with batch and results only"}},
		"no such file":       {"{results: gone.jsonl}", []string{"field inputs.results", "gone.jsonl"}},
		"not a results file": {"{results: s.yaml}", []string{"does not hold results"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := at("submit", over(c.inputs))
			assert.Equal(t, terminal.ExitUsage, r.status, r.err)
			for _, says := range c.says {
				assert.Contains(t, r.err, says)
			}
			assert.Empty(t, r.out)
		})
	}
	alone := coordinate(t, nil, "", "run", over("{batch: "+id+"}"))
	assert.Equal(t, terminal.ExitUsage, alone.status)
	assert.Contains(t, alone.err, "inputs: {results: FILE}")
	away := coordinate(t, nil, "", "submit", over("{batch: "+id+"}"), "--redis", "redis://127.0.0.1:1")
	assert.Equal(t, terminal.ExitUnreachable, away.status, away.err)

	require.Equal(t, terminal.ExitOK, at("cancel", id).status)
	none := at("submit", over("{batch: "+id+"}"))
	assert.Equal(t, terminal.ExitUsage, none.status)
	assert.Contains(t, none.err, "none of the 5 results of "+id+" meets the condition")
	out := filepath.Join(t.TempDir(), "r.jsonl")
	at("results", id, "--out", out, "--consume")
	consumed := at("submit", over("{batch: "+id+", where: all}"))
	assert.Equal(t, terminal.ExitUsage, consumed.status)
	assert.Contains(t, consumed.err, "5 results of batch "+id+" were removed from Redis")
}

// Without a cluster, a run can take another run's results file as input. A retried job counts once, and "<" is not
// escaped.
func TestRunOverResultsFile(t *testing.T) {
	const head = `{"batch":"b_01k0000000000000000000000a","job_id":"job-%d","index":%d,"status":%q,"output":%s,"error":%s}` + "\n"
	failed := `{"type":"Timeout","message":"late","retryable":true}`
	file := written(t, "map.jsonl", fmt.Sprintf(head, 1, 1, "failed", "null", failed)+
		fmt.Sprintf(head, 0, 0, "ok", `{"s":"zero","more":{"b":"1 \u003c 2 \\u003c","a":2}}`, "null")+
		fmt.Sprintf(head, 1, 1, "ok", `{"s":"one"}`, "null")+fmt.Sprintf(head, 2, 2, "failed", "null", failed))
	over := func(task, where string) outcome {
		s := written(t, "s.yaml", fmt.Sprintf("task: %q\ninputs: {results: %s%s}\n", task, file, where))
		return coordinate(t, nil, "", "validate", s)
	}
	ok := over("{s} of {index}: {output}", "")
	assert.Regexp(t, `jobs +2\n`, ok.out, ok.err)
	assert.Contains(t, ok.out, `zero of 0: {"s":"zero","more":{"b":"1 < 2 \\u003c","a":2}}`)
	bad := over("{status}: {error}", ", where: failed")
	assert.Regexp(t, `jobs +1\n`, bad.out, bad.err)
	assert.Contains(t, bad.out, `failed: `+failed)
	all := over("{status} {output}", ", where: all")
	assert.Regexp(t, `jobs +3\n`, all.out, all.err)

	s := written(t, "s.yaml", "task: \"Sum up {s}\"\ninputs: {results: "+file+"}\n")
	run := coordinate(t, nil, "", "run", s, "--backend", simulator(t, vllmsim.Config{}))
	require.Equal(t, terminal.ExitOK, run.status, run.err)
	assert.Len(t, results(t, run.out), 2)
}
