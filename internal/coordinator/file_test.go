package coordinator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testBatch batch.ID = "b_01k0000000000000000000000a"

// okResult is a result whose output is awkward in every format.
func okResult(index int64) batch.Result {
	return batch.Result{
		Batch: testBatch, JobID: batch.JobID(index), Index: index, Status: batch.OK,
		Output:   json.RawMessage(fmt.Sprintf(`{"n":%d,"text":"a \"quoted\", comma\nand line – ünïcode"}`, index)),
		Attempts: 1, Turns: 2, Usage: batch.Usage{PromptTokens: 10, CompletionTokens: 2}, Model: "m", Worker: "w", WallMS: index,
	}
}

func failedResult(index int64, kind batch.ErrorType) batch.Result {
	r := okResult(index)
	r.Status, r.Output, r.Error = batch.StatusFailed, nil, batch.NewError(kind, "it \"broke\",\nbadly")
	return r
}

func linesOf(t require.TestingT, results []batch.Result) [][]byte {
	lines := make([][]byte, len(results))
	for i, r := range results {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		lines[i] = line
	}
	return lines
}

func open(t require.TestingT, path, name string) *File {
	f, err := formatOf(name)
	require.NoError(t, err)
	file, err := OpenFile(path, f, testBatch, 1_000)
	require.NoError(t, err)
	return file
}

// bring writes what the file lacks, as the collector does.
func bring(t require.TestingT, file *File, results []batch.Result) {
	var missing []batch.Result
	for _, r := range results {
		if !file.Has(r) {
			missing = append(missing, r)
		}
	}
	if len(missing) > 0 {
		require.NoError(t, file.Write(missing, linesOf(t, missing)))
	}
	require.NoError(t, file.Close())
}

// TestAFileCutAtAnyByteIsMadeWhole cuts a results file at each of its bytes, as a kill or a full disk does, and runs the
// collection again: the file must come out as if nothing had happened.
func TestAFileCutAtAnyByteIsMadeWhole(t *testing.T) {
	t.Parallel()
	for _, name := range Formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			results := []batch.Result{okResult(0), failedResult(1, batch.Timeout), okResult(2), okResult(3)}
			whole := filepath.Join(dir, "whole")
			bring(t, open(t, whole, name), results)
			want, err := os.ReadFile(whole)
			require.NoError(t, err)
			for n := range len(want) + 1 {
				path := filepath.Join(dir, fmt.Sprint("cut-", n))
				require.NoError(t, os.WriteFile(path, want[:n], 0o600))
				file := open(t, path, name)
				bring(t, file, results)
				got, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, string(want), string(got), "cut at byte %d", n)
			}
		})
	}
}

// TestAnyHistoryOfAFile writes results in any order, some of them again after a failure, in runs that end anywhere.
func TestAnyHistoryOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(Formats).Draw(rt, "format")
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		latest := map[int64]batch.Result{}
		for range rapid.IntRange(1, 5).Draw(rt, "runs") {
			file := open(rt, path, name)
			for range rapid.IntRange(0, 4).Draw(rt, "writes") {
				index := int64(rapid.IntRange(0, 9).Draw(rt, "index"))
				r := failedResult(index, batch.Timeout)
				if rapid.Bool().Draw(rt, "ok") {
					r = okResult(index)
				}
				r.WallMS = int64(rapid.IntRange(0, 1_000_000).Draw(rt, "wall"))
				if old, ok := latest[index]; ok && old.Status == batch.OK {
					r = old // a good result is never replaced
				}
				if file.Has(r) {
					continue
				}
				require.NoError(rt, file.Write([]batch.Result{r}, linesOf(rt, []batch.Result{r})))
				latest[index] = r
			}
			if rapid.Bool().Draw(rt, "killed") {
				require.NoError(rt, file.f.Close())
				continue
			}
			require.NoError(rt, file.Close())
		}
		file := open(rt, path, name)
		require.NoError(rt, file.Close())
		seen := map[int64]int{}
		f, err := formatOf(name)
		require.NoError(rt, err)
		text, err := os.ReadFile(path)
		require.NoError(rt, err)
		end, err := f.scan(bytes.NewReader(text), func(r batch.Result, _, _ int64) error {
			seen[r.Index]++
			require.Equal(rt, latest[r.Index].Status, r.Status)
			require.Equal(rt, latest[r.Index].WallMS, r.WallMS)
			return nil
		})
		require.NoError(rt, err)
		require.EqualValues(rt, len(text), end)
		require.Len(rt, seen, len(latest))
		for index, n := range seen {
			require.Equal(rt, 1, n, "job %d", index)
		}
		var ok int64
		for _, r := range latest {
			if r.Status == batch.OK {
				ok++
			}
		}
		require.Equal(rt, ok, file.Tally().OK)
		require.EqualValues(rt, int64(len(latest))-ok, file.Tally().Failed)
	})
}

func TestAFileOfSomethingElseStaysAsItIs(t *testing.T) {
	t.Parallel()
	other := okResult(0)
	other.Batch = "b_01k0000000000000000000000b"
	for name, c := range map[string]struct{ text, says string }{
		"prose":         {"Dear diary,\n", "line 1: it does not hold results"},
		"other JSON":    {`{"a":1}` + "\n", "line 1: it does not hold results"},
		"another batch": {string(linesOf(t, []batch.Result{other})[0]) + "\n", "name another file"},
		"too many jobs": {string(linesOf(t, []batch.Result{okResult(5_000)})[0]) + "\n", "there are only 1,000 jobs"},
		"no line end":   {"notes", "line 1: it does not hold results"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "results.jsonl")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			_, err := OpenFile(path, jsonl{}, testBatch, 1_000)
			require.ErrorContains(t, err, c.says)
			assert.True(t, isUsage(err))
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, c.text, string(left))
		})
	}
	_, err := OpenFile(t.TempDir(), jsonl{}, testBatch, 1)
	require.Error(t, err)
	_, err = OpenFile(filepath.Join(t.TempDir(), "no", "such", "folder"), jsonl{}, testBatch, 1)
	require.ErrorContains(t, err, "--out")
}

// A full disk stops the collection and leaves whole records: /dev/full takes nothing.
func TestAFullDiskIsAnErrorThatNamesTheFile(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full to write to")
	}
	h, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	file := &File{path: "results.jsonl", format: jsonl{}, f: h, failed: map[int64]failure{}, doubled: map[int64]bool{}}
	err = file.Write([]batch.Result{okResult(0)}, linesOf(t, []batch.Result{okResult(0)}))
	require.ErrorContains(t, err, "write results to results.jsonl")
	require.ErrorContains(t, err, "no space left")
	assert.False(t, file.Has(okResult(0)), "what was not written is not there")
	require.NoError(t, h.Close())
}

func TestSettledLeavesOutWhatMayStillSucceed(t *testing.T) {
	t.Parallel()
	file := open(t, filepath.Join(t.TempDir(), "r"), "csv")
	results := []batch.Result{okResult(0), failedResult(1, batch.BackendUnavailable), failedResult(2, batch.BadInput)}
	require.NoError(t, file.Write(results, linesOf(t, results)))
	done := file.settled()
	assert.True(t, done.has(0))
	assert.False(t, done.has(1), "the server may be back")
	assert.True(t, done.has(2), "the input stays bad")
	require.NoError(t, file.Close())
}

func TestAStreamHasItsHeaderOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &stream{w: &out, format: csvFormat{}}
	for i := range int64(2) {
		r := []batch.Result{okResult(i)}
		require.NoError(t, s.Write(r, linesOf(t, r)))
	}
	assert.Equal(t, 1, strings.Count(out.String(), "job_id"))
}
