package collect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testredis.Dialling()) }

// okResult is a result with an output that needs escapes in every format.
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

func openTest(t require.TestingT, path, name string) *File {
	f, err := formatOf(name)
	require.NoError(t, err)
	file, err := OpenFile(path, f, testBatch, 1_000)
	require.NoError(t, err)
	return file
}

// TestAnyHistoryOfAFile writes results in any order, some of them again after a failure, in runs that stop at any
// point.
func TestAnyHistoryOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := JSONL{}.name()
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		latest := map[int64]batch.Result{}
		for range rapid.IntRange(1, 5).Draw(rt, "runs") {
			file := openTest(rt, path, name)
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
		file := openTest(rt, path, name)
		require.NoError(rt, file.Close())
		seen := map[int64]int{}
		f, err := formatOf(name)
		require.NoError(rt, err)
		text, err := os.ReadFile(path)
		require.NoError(rt, err)
		end, err := f.Scan(bytes.NewReader(text), func(r batch.Result, _, _ int64) error {
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

// A full disk stops the collection and leaves whole records. Writes to /dev/full fail with ENOSPC.
func TestFullDiskErrorNamesFile(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full to write to")
	}
	h, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	file := &File{path: "results.jsonl", format: JSONL{}, f: h, doubled: map[int64]bool{}}
	err = file.Write([]batch.Result{okResult(0)}, linesOf(t, []batch.Result{okResult(0)}))
	require.ErrorContains(t, err, "write results to results.jsonl")
	require.ErrorContains(t, err, "no space left")
	assert.False(t, file.Has(okResult(0)), "an unwritten result is missing")
	require.NoError(t, h.Close())
}
