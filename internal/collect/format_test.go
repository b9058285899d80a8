package collect

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestFormatFollowsTheName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ out, format, want, says string }{
		{out: "", want: "jsonl"},
		{out: "r.jsonl", want: "jsonl"},
		{out: "r", want: "jsonl"},
		{out: "r.csv", want: "csv"},
		{out: "dir.csv/r", want: "jsonl"},
		{out: "R.CSV", want: "csv"},
		{out: "r.csv", format: "jsonl", want: "jsonl"},
		{out: "r.jsonl", format: "csv", want: "csv"},
		{out: "r.parquet", want: "parquet"},
		{out: "r.jsonl.gz", want: "jsonl.gz"},
		{out: "r.JSONL.zst", want: "jsonl.zst"},
		{out: "d/r.json", says: "write --out d/r.jsonl or --out d/r.csv, or give --format"},
		{out: "R.JSON", says: "not as .json"},
		{out: "r.json", format: "jsonl", want: "jsonl"},
		{out: "r.csv.gz", says: "not as .gz"},
		{out: "r.arrow", says: "not as .arrow"},
		{out: "r.parquet", format: "csv", want: "csv"},
		{out: "r.csv", format: "xml", says: "xml"},
	} {
		f, err := FormatFor(c.out, c.format)
		if c.says != "" {
			assert.ErrorContains(t, err, c.says, c.out)
			assert.True(t, fault.IsUsage(err))
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, f.name(), c.out)
	}
}

func TestCloseSortsOrderedFile(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		path := filepath.Join(t.TempDir(), "r")
		results, lines := someResults(t, 5)
		file, err := OpenFile(path, f, testBatch, 5)
		require.NoError(t, err)
		for _, i := range []int{3, 1, 4} {
			require.NoError(t, file.Write(results[i:i+1], lines[i:i+1]))
		}
		require.NoError(t, file.Close())
		assert.Equal(t, []int64{3, 1, 4}, records(t, path, f))
		file, err = OpenFile(path, f, testBatch, 5)
		require.NoError(t, err)
		file.Order()
		require.NoError(t, collect(file, results, lines))
		require.NoError(t, file.Close())
		assert.Equal(t, indexesUpTo(5), records(t, path, f))
	})
}

// A result for another question replaces the result at its index (I10).
func TestFileReplacesTheAnswerToAnotherQuestion(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, f Format) {
		path := filepath.Join(t.TempDir(), "r")
		file, err := OpenFile(path, f, testBatch, 1)
		require.NoError(t, err)
		r, _ := resultOf(t, 0, "")
		for _, question := range []string{"one", "two", "two"} {
			r.Question = question
			line := marshalled(t, r)
			require.NoError(t, collect(file, []batch.Result{r}, [][]byte{line}))
		}
		require.NoError(t, file.Close())
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "one")
		assert.Equal(t, 1, strings.Count(string(text), "two"))
		assert.Equal(t, []int64{0}, records(t, path, f))
	})
}

// After a crash the file is the old one or the new one.
func TestFailedRewriteLeavesFileUnchanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "r")
	results, lines := someResults(t, 3)
	file, err := OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	require.NoError(t, collect(file, results, lines))
	file.format = brokenFormat{JSONL{}}
	_, err = file.Rewritten(3, func(i int64) int64 { return 2 - i })
	require.ErrorIs(t, err, errBroken)
	require.NoError(t, file.Close())
	assert.Equal(t, indexesUpTo(3), records(t, path, JSONL{}))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1, "no temporary file is left")
}

var errBroken = errors.New("broken")

// brokenFormat fails at record 2.
type brokenFormat struct{ Format }

func (b brokenFormat) renumber(r batch.Result, record []byte, index int64) ([]byte, error) {
	if r.Index == 2 {
		return nil, errBroken
	}
	return b.Format.renumber(r, record, index)
}

// FuzzScan checks that scan never panics, uses bounded memory and returns only whole records. A renumbered record must
// hold the same result.
func FuzzScan(f *testing.F) {
	_, line := resultOf(f, 3, "")
	_, failedLine := resultOf(f, 1, batch.OutputInvalid)
	f.Add(append(append(bytes.Clone(line), '\n'), failedLine...))
	f.Add(append(bytes.Clone(failedLine), '\n'))
	f.Add([]byte(`{"job_id":"job-9","index":9}` + "\n"))
	f.Add([]byte(`{"batch":"b","job_id":"job-9223372036854775807","index":9223372036854775807}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, f := range []Format{JSONL{}} {
			end := int64(0)
			var seen outcomes
			whole, _ := f.Scan(bytes.NewReader(text), func(r batch.Result, from, to int64) error {
				require.LessOrEqual(t, end, from)
				require.Less(t, from, to)
				end = to
				seen.note(r)
				moved, err := f.renumber(r, text[from:to], 77)
				require.NoError(t, err)
				head := bytes.Clone(f.header())
				var again []batch.Result
				_, err = f.Scan(bytes.NewReader(append(head, moved...)), func(r batch.Result, _, _ int64) error {
					again = append(again, r)
					return nil
				})
				require.NoError(t, err)
				require.Len(t, again, 1)
				require.EqualValues(t, 77, again[0].Index)
				require.Equal(t, r.Question, again[0].Question)
				require.Equal(t, r.Status, again[0].Status)
				return nil
			})
			require.LessOrEqual(t, whole, int64(len(text)))
			require.LessOrEqual(t, end, whole)
			require.LessOrEqual(t, len(seen.present), MaxIndex/64)
		}
	})
}
