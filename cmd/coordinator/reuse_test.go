package main

import (
	"fmt"
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

// notes writes a spec with answers of very different lengths.
func notes(t *testing.T, maxTokens int, words ...string) string {
	t.Helper()
	var inputs []string
	for _, w := range words {
		inputs = append(inputs, fmt.Sprintf("{text: %q}", w))
	}
	return written(t, "notes.yaml", fmt.Sprintf("task: \"{text}\"\ninputs: [%s]\nsampling: {max_tokens: %d}\n", strings.Join(inputs, ", "), maxTokens))
}

// A higher max_tokens reruns only truncated results. A lower one reruns only results that it would truncate.
func TestReuseAfterMaxTokensChanged(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	run := func(spec, reuse string) ([]batch.Result, string) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "r.jsonl")
		args := []string{"run", spec, "--backend", server, "--out", out}
		if reuse != "" {
			args = append(args, "--reuse", reuse)
		}
		r := coordinate(t, nil, "", args...)
		require.LessOrEqual(t, r.status, terminal.ExitJobsFailed, r.err)
		byIndex := make([]batch.Result, 4)
		for _, line := range results(t, read(t, out)) {
			byIndex[line.Index] = line
		}
		if reuse != "" {
			assert.Contains(t, r.err, "reusing ")
		}
		return byIndex, out
	}
	texts := []string{"a b", "c", strings.Repeat("many words follow here and there ", 8), "d"}
	first, file := run(notes(t, 14, texts...), "")
	require.Equal(t, batch.OutputTruncated, first[2].Error.Type)
	assert.Empty(t, first[2].Fingerprint)
	assert.Equal(t, 14, first[0].MaxTokens)

	second, file2 := run(notes(t, 200, texts...), file)
	for i, r := range second {
		require.Equal(t, batch.OK, r.Status)
		if i == 2 {
			assert.Empty(t, r.ReusedFrom, "it was truncated, so it runs again")
			assert.Positive(t, r.Usage.CompletionTokens)
			continue
		}
		assert.Equal(t, fmt.Sprintf("%s/job-%d", first[i].Batch, i), r.ReusedFrom)
		assert.Equal(t, first[i].Output, r.Output)
		assert.Equal(t, first[i].Fingerprint, r.Fingerprint)
		assert.Equal(t, batch.Usage{}, r.Usage, "no model call was made")
		assert.Zero(t, r.Turns)
		assert.Equal(t, 14, r.MaxTokens)
	}
	third, _ := run(notes(t, 14, texts...), file2)
	for i, r := range third {
		if i == 2 {
			assert.Equal(t, batch.StatusFailed, r.Status, "truncated again under the old limit")
			continue
		}
		assert.Equal(t, second[i].ReusedFrom, r.ReusedFrom, "the job that made it, not the one that reused it")
	}
	others, _ := run(notes(t, 200, "d", "e", "c", "a b"), file2)
	assert.Contains(t, others[0].ReusedFrom, "job-3", "at any index of the input")
	assert.Empty(t, others[1].ReusedFrom)
}

func TestReuseOnlyForSameQuestion(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	text := func(more, task string) string {
		return written(t, "s.yaml", "task: "+task+"\ninputs: [{text: a}, {text: b}]\n"+more)
	}
	out := filepath.Join(t.TempDir(), "r.jsonl")
	first := coordinate(t, nil, "", "run", text("sampling: {temperature: 0}\n", "\"Sum up {text}\""), "--backend", server, "--out", out)
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	for more, reused := range map[string]int{
		"sampling: {temperature: 0}\n":                                         2,
		"sampling: {temperature: 0, max_tokens: 500}\nmax_turns: 3\nttl: 1h\n": 2,
		"sampling: {temperature: 1}\n":                                         0,
		"sampling: {temperature: 0}\ntools: [read_file]\n":                     0,
		"sampling: {temperature: 0}\nsystem_prompt: Be brief.\n":               0,
		"sampling: {temperature: 0}\noutput_schema: {type: object}\n":          0,
	} {
		r := coordinate(t, nil, "", "run", text(more, "\"Sum up {text}\""), "--backend", server, "--reuse", out)
		require.Equal(t, terminal.ExitOK, r.status, r.err)
		assert.Equal(t, reused, strings.Count(r.out, `"reused_from":`), more)
		if reused == 0 {
			assert.Contains(t, r.err, "reusing 0 results of 2 from "+out+"; 2 jobs run")
		}
	}
	other := coordinate(t, nil, "", "run", text("sampling: {temperature: 0}\n", "\"Sum up {text}.\""), "--backend", server, "--reuse", out)
	assert.NotContains(t, other.out, "reused_from")
	model := coordinate(t, nil, "", "run", text("sampling: {temperature: 0}\n", "\"Sum up {text}\""), "--backend", simulator(t, vllmsim.Config{Model: "other"}), "--reuse", out)
	assert.NotContains(t, model.out, "reused_from", "the model of the server counts")

	for says, reuse := range map[string]string{
		"no such file": "gone.jsonl", "does not hold results": text("", "x"), "write its results to a file, and name the file": "b_01k0000000000000000000000a",
	} {
		r := coordinate(t, nil, "", "run", text("", "\"{text}\""), "--backend", server, "--reuse", reuse)
		assert.Equal(t, terminal.ExitUsage, r.status, r.err)
		assert.Contains(t, r.err, says)
	}
}

func TestReuseOnCluster(t *testing.T) {
	redis, _ := testredis.Mini(t)
	spec := specOf(t, 20, "")
	at := func(args ...string) outcome { return coordinate(t, nil, "", append(args, "--redis", redis)...) }
	unknown := at("submit", spec, "--reuse", "b_01k0000000000000000000000a")
	assert.Equal(t, terminal.ExitUsage, unknown.status)
	assert.Contains(t, unknown.err, "name the model in the spec")

	node(t, redis, simulator(t, vllmsim.Config{}))
	first := at("submit", spec, "--follow")
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	id, _, _ := strings.Cut(first.out, "\n")
	assert.Contains(t, at("submit", spec, "--reuse", "b_01k0000000000000000000000a").err, "b_01k0000000000000000000000a: no such batch")
	again := at("submit", spec, "--reuse", id, "--follow")
	require.Equal(t, terminal.ExitOK, again.status, again.err)
	assert.Contains(t, again.err, "reusing 20 results of 20 from "+id)
	assert.Contains(t, again.err, "20 results were taken from an earlier batch")
	_, lines, _ := strings.Cut(again.out, "\n")
	reused := results(t, lines)
	require.Len(t, reused, 20)
	for _, r := range reused {
		assert.Equal(t, fmt.Sprintf("%s/job-%d", id, r.Index), r.ReusedFrom)
		assert.Equal(t, "sim", r.Model)
	}
}

// With the word owner, only the owner's own batches are read.
func TestReuseWithinOwner(t *testing.T) {
	redis, _ := testredis.Mini(t)
	node(t, redis, simulator(t, vllmsim.Config{}))
	submit := func(owner, text string, more ...string) outcome {
		t.Helper()
		r := coordinate(t, nil, "", append([]string{"submit", written(t, "s.yaml", text), "--follow", "--owner", owner, "--redis", redis}, more...)...)
		require.LessOrEqual(t, r.status, terminal.ExitJobsFailed, r.err)
		return r
	}
	const priced = "prices: {prompt: 1000, completion: 1000}\n"
	of := func(words string) string { return "task: \"Sum up {text}\"\ninputs: [" + words + "]\n" + priced }
	submit("bob", of("{text: d}, {text: e}"))
	none := submit("ana", of("{text: a}"), "--reuse", "owner")
	assert.Contains(t, none.err, "reusing 0 results of 0 from 0 batches of ana; 1 job runs")
	submit("ana", of("{text: b}, {text: c}")+reduceField)
	r := submit("ana", of("{text: a}, {text: b}, {text: c}, {text: d}"), "--reuse", "owner")
	assert.Contains(t, r.err, "reusing 3 results of 3 from 2 batches of ana, which took ")
	assert.Regexp(t, `tokens \(\$0\.\d+\); 1 job runs`, r.err)
	_, lines, _ := strings.Cut(r.out, "\n")
	for _, r := range results(t, lines) {
		assert.Equal(t, r.Index < 3, r.ReusedFrom != "", r.JobID)
	}
	again := submit("ana", of("{text: a}, {text: d}"), "--reuse", "owner")
	assert.Contains(t, again.err, "reusing 2 results of 7 from 3 batches of ana")

	alone := coordinate(t, nil, "", "run", written(t, "s.yaml", of("{text: a}")), "--backend", simulator(t, vllmsim.Config{}), "--reuse", "owner")
	assert.Equal(t, terminal.ExitUsage, alone.status)
	assert.Contains(t, alone.err, "which cannot be reached from here")
}

// A reused result would skip the side effects of its tools.
func TestReuseRefusesToolsWithEffects(t *testing.T) {
	server := simulator(t, vllmsim.Config{})
	tools := written(t, "tools.yaml", "commands:\n  mail:\n    description: Sends a mail.\n    parameters: {type: object, properties: {to: {type: string}}, required: [to]}\n"+
		"    argv: [echo, \"{to}\"]\n    share: effect\n")
	spec := written(t, "s.yaml", "task: \"Mail {who}\"\ninputs: [{who: ann}]\ntools: [mail]\n")
	out := filepath.Join(t.TempDir(), "r.jsonl")
	first := coordinate(t, nil, "", "run", spec, "--tools", tools, "--backend", server, "--out", out)
	require.Equal(t, terminal.ExitOK, first.status, first.err)
	assert.NotContains(t, read(t, out), "fingerprint")
	r := coordinate(t, nil, "", "run", spec, "--tools", tools, "--backend", server, "--reuse", out)
	assert.Equal(t, terminal.ExitUsage, r.status, r.err)
	assert.Contains(t, r.err, "mail has side effects")
}
