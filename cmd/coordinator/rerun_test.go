package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

// trial is a spec with its rows and its results file.
type trial struct {
	spec, out, backend string
}

func newTrial(t *testing.T) *trial {
	dir := t.TempDir()
	return &trial{filepath.Join(dir, "spec.yaml"), filepath.Join(dir, "r.jsonl"), simulator(t, vllmsim.Config{})}
}

// write writes the spec with a prompt, more fields, and rows.
func (x *trial) write(t *testing.T, prompt, more string, rows ...string) {
	var inputs strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&inputs, "  - {key: %s, text: %q}\n", row, "ticket "+row)
	}
	text := "task: \"" + prompt + " {text}\"\n" + more + "output_schema: {type: object, properties: {s: {type: string}}, required: [s]}\ninputs:\n" + inputs.String()
	require.NoError(t, os.WriteFile(x.spec, []byte(text), 0o600))
}

func (x *trial) run(t *testing.T, args ...string) outcome {
	return coordinate(t, map[string]string{}, "", append([]string{"run", x.spec, "--backend", x.backend, "--out", x.out}, args...)...)
}

func (x *trial) results(t *testing.T) map[int64]batch.Result {
	text, err := os.ReadFile(x.out)
	require.NoError(t, err)
	out := map[int64]batch.Result{}
	for line := range strings.Lines(string(text)) {
		var r batch.Result
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		out[r.Index] = r
	}
	return out
}

// fail makes the file's results of these rows failures.
func (x *trial) fail(t *testing.T, indexes ...int64) {
	var text strings.Builder
	for _, r := range x.results(t) {
		if slices.Contains(indexes, r.Index) {
			r.Status, r.Output, r.Error = batch.StatusFailed, nil, batch.NewError(batch.OutputInvalid, "no JSON")
		}
		line, err := json.Marshal(r)
		require.NoError(t, err)
		text.Write(append(line, '\n'))
	}
	require.NoError(t, os.WriteFile(x.out, []byte(text.String()), 0o600))
}

// asked returns the beginning of the prompt that each row's result answers.
func (x *trial) asked(t *testing.T) map[int64]string {
	out := map[int64]string{}
	for index, r := range x.results(t) {
		var answer struct{ S string }
		require.NoError(t, json.Unmarshal(r.Output, &answer))
		text := strings.TrimPrefix(answer.S, "simulated: ")
		out[index] = strings.Replace(text, " ticket ", " ", 1)
	}
	return out
}

func TestRerunFailed(t *testing.T) {
	x := newTrial(t)
	x.write(t, "Old", "", "a", "b", "c", "d")
	require.Equal(t, terminal.ExitOK, x.run(t).status)
	x.fail(t, 1)
	x.write(t, "New", "", "a", "b", "c", "d")
	again := x.run(t, "--rerun", "failed")
	require.Equal(t, terminal.ExitOK, again.status, again.err)
	assert.Contains(t, again.err, "rerunning: 3 results are kept, 1 row runs again\n")
	assert.Regexp(t, `prompts +1 result of the present prompt \(\S+\), 3 results of an earlier one`, again.err)
	assert.Equal(t, map[int64]string{0: "Old a", 1: "New b", 2: "Old c", 3: "Old d"}, x.asked(t))
}

func TestRerunFollowsMovedRows(t *testing.T) {
	for name, more := range map[string]string{"by their fields": "", "by their id": "id: \"{key}\"\n"} {
		t.Run(name, func(t *testing.T) {
			x := newTrial(t)
			x.write(t, "Old", more, "a", "b", "c", "d")
			require.Equal(t, terminal.ExitOK, x.run(t).status)
			x.fail(t, 1)
			x.write(t, "New", more, "new", "d", "b", "c", "a")
			again := x.run(t, "--rerun", "failed")
			require.Equal(t, terminal.ExitOK, again.status, again.err)
			assert.Contains(t, again.err, "rerunning: 3 results are kept, 1 row runs again, 1 row without a result\n")
			assert.Equal(t, map[int64]string{0: "New new", 1: "Old d", 2: "New b", 3: "Old c", 4: "Old a"}, x.asked(t))
		})
	}
}

func TestRerunCondition(t *testing.T) {
	x := newTrial(t)
	x.write(t, "Old", "", "a", "b", "c")
	require.Equal(t, terminal.ExitOK, x.run(t).status)
	x.write(t, "New", "", "a", "b", "c")
	require.Equal(t, terminal.ExitOK, x.run(t, "--rerun", `output.s contains "ticket b"`).status)
	assert.Equal(t, map[int64]string{0: "Old a", 1: "New b", 2: "Old c"}, x.asked(t))

	changed := x.run(t, "--rerun", "changed", "--limit", "2")
	require.Equal(t, terminal.ExitOK, changed.status, changed.err)
	assert.Contains(t, changed.err, "2 results are kept, 1 row runs again")
	assert.Equal(t, map[int64]string{0: "New a", 1: "New b", 2: "Old c"}, x.asked(t))
}

func TestRerunRefuses(t *testing.T) {
	x := newTrial(t)
	x.write(t, "Old", "", "a", "b", "c")
	first := x.run(t, "--rerun", "failed")
	assert.Equal(t, terminal.ExitUsage, first.status)
	assert.Contains(t, first.err, "leave out --rerun for the first run")
	assert.NoFileExists(t, x.out)
	require.Equal(t, terminal.ExitOK, x.run(t).status)
	for condition, want := range map[string]string{
		"faild":         "there is no field faild; there are failed",
		"output.t == 1": "no output has a field t; there are s",
	} {
		r := x.run(t, "--rerun", condition)
		assert.Equal(t, terminal.ExitUsage, r.status)
		assert.Contains(t, r.err, want)
	}
	x.write(t, "Old", "", "x", "y", "z")
	other := x.run(t, "--rerun", "failed")
	assert.Equal(t, terminal.ExitUsage, other.status)
	assert.Contains(t, other.err, "3 of 3 results in "+x.out+" belong to no row of "+x.spec+"; rows are recognised by all their fields")
	assert.Equal(t, map[int64]string{0: "Old a", 1: "Old b", 2: "Old c"}, x.asked(t), "the file is unchanged")
}

func TestSampleIsContinued(t *testing.T) {
	x := newTrial(t)
	x.write(t, "Sort", "", "a", "b", "c", "d", "e", "f")
	sample := x.run(t, "--sample", "2", "--seed", "1")
	require.Equal(t, terminal.ExitOK, sample.status, sample.err)
	assert.Contains(t, sample.err, "2 of 6 rows; the whole input would take about")
	chosen := x.asked(t)
	require.Len(t, chosen, 2)
	for index, text := range chosen {
		assert.Equal(t, "Sort "+string(rune('a'+index)), text, "the index is that of the row")
	}
	rest := x.run(t, "--resume")
	require.Equal(t, terminal.ExitOK, rest.status, rest.err)
	assert.Contains(t, rest.err, "resuming: 2 kept (0 moved), 0 changed, 4 new")
	assert.Len(t, x.asked(t), 6)
}

func TestShowAndDiff(t *testing.T) {
	x := newTrial(t)
	x.write(t, "Old", "id: \"{key}\"\ncarry: all\ntranscripts: true\n", "a", "b", "c")
	require.Equal(t, terminal.ExitOK, x.run(t).status)
	before := filepath.Join(t.TempDir(), "before.jsonl")
	text, err := os.ReadFile(x.out)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(before, text, 0o600))
	x.fail(t, 1)

	table := coordinate(t, nil, "", "show", x.out)
	require.Equal(t, terminal.ExitOK, table.status, table.err)
	assert.Regexp(t, `^index +id +status +error +s\n0 +a +ok +simulated: Old ticket a\n1 +b +failed +OutputInvalid: no JSON\n2 +c +ok +simulated: Old ticket c\n$`, table.out)
	failed := coordinate(t, nil, "", "show", x.out, "--failed")
	assert.Equal(t, 2, linesIn(failed.out))
	assert.Contains(t, failed.err, "1 result\n")
	carried := coordinate(t, nil, "", "show", x.out, "--where", `input.text endsWith "c" or id == "a"`)
	assert.Equal(t, 3, linesIn(carried.out), carried.err)

	job := coordinate(t, nil, "", "show", x.out, "2", "--spec", x.spec)
	require.Equal(t, terminal.ExitOK, job.status, job.err)
	for _, part := range []string{"job-2 c of batch", "--- input\n{", "--- prompt\nOld ticket c\n", "--- turn 1\n", "--- output\n{\n  \"s\": "} {
		assert.Contains(t, job.out, part)
	}
	assert.Contains(t, coordinate(t, nil, "", "show", x.out, "7").err, "has no result of job-7")

	x.write(t, "New", "id: \"{key}\"\n", "c", "b", "a", "d")
	require.Equal(t, terminal.ExitOK, x.run(t, "--rerun", "failed").status)
	compared := coordinate(t, nil, "", "diff", before, x.out)
	require.Equal(t, terminal.ExitOK, compared.status, compared.err)
	assert.Regexp(t, `^b +s +simulated: Old ticket b → simulated: New ticket b\n$`, compared.out)
	assert.Contains(t, compared.err, "3 in both: 2 the same, 1 with another output, 0 with another status\n")
	assert.Contains(t, compared.err, "0 only in the first file, 1 only in the second\n")
}
