package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
)

const testBatch = batch.ID("b_01k5x8zq3v6t9w2y4a7c1d0efg")

// resultOf makes a result with a text that contains quotes, commas and line ends.
func resultOf(t require.TestingT, index int64, kind batch.ErrorType) (batch.Result, []byte) {
	r := batch.Result{Batch: testBatch, JobID: batch.JobID(index), Index: index, Status: batch.OK, Attempts: 1, Turns: 2,
		Output: json.RawMessage(fmt.Sprintf(`{"n":%d,"s":"a\nb, \"é\""}`, index)), Model: "m", Worker: "w,\n\"1\"", WallMS: index}
	if kind != "" {
		r.Status, r.Output, r.Error = batch.StatusFailed, nil, batch.NewError(kind, "line one\n\"line\" two, é")
	}
	line, err := json.Marshal(r)
	require.NoError(t, err)
	return r, line
}

func someResults(t require.TestingT, n int64) (results []batch.Result, lines [][]byte) {
	for i := range n {
		kind := batch.ErrorType("")
		if i%3 == 2 {
			kind = batch.WorkerLost
		}
		r, line := resultOf(t, i, kind)
		results, lines = append(results, r), append(lines, line)
	}
	return results, lines
}

// collect offers all results again, as a collection does after an interruption, and writes the missing ones.
func collect(f *File, results []batch.Result, lines [][]byte) error {
	for i, r := range results {
		if f.Has(r) {
			continue
		}
		if err := f.Write(results[i:i+1], lines[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// records returns the indexes in a file, in file order. It fails the test if a torn record is left.
func records(t require.TestingT, path string, f Format) (indexes []int64) {
	h, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = h.Close() }()
	info, err := h.Stat()
	require.NoError(t, err)
	whole, err := f.Scan(h, func(r batch.Result, _, _ int64) error {
		indexes = append(indexes, r.Index)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, info.Size(), whole, "a torn record is left")
	return indexes
}

func eachFormat(t *testing.T, test func(t *testing.T, f Format)) {
	t.Helper()
	for _, f := range formats {
		if _, whole := f.(Whole); !whole {
			t.Run(f.name(), func(t *testing.T) { test(t, f) })
		}
	}
}

func TestFileCutAtAnyByteIsCompletedWithEachResultOnce(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		path := filepath.Join(t.TempDir(), "out")
		results, lines := someResults(t, 3)
		file, err := OpenFile(path, f, testBatch, 3)
		require.NoError(t, err)
		require.NoError(t, collect(file, results, lines))
		require.NoError(t, file.Close())
		want, err := os.ReadFile(path)
		require.NoError(t, err)

		for cut := range len(want) + 1 {
			require.NoError(t, os.WriteFile(path, want[:cut], 0o600))
			file, err := OpenFile(path, f, testBatch, 3)
			require.NoError(t, err, "cut at byte %d", cut)
			require.NoError(t, collect(file, results, lines))
			require.NoError(t, file.Close())
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "cut at byte %d", cut)
		}
	})
}

// brokenDisk accepts room bytes and then fails like a full disk, after a partial write.
type brokenDisk struct {
	disk
	room      int
	failSync  bool
	failTrunc bool
}

func (d *brokenDisk) WriteAt(p []byte, at int64) (int, error) {
	if len(p) <= d.room {
		d.room -= len(p)
		return d.disk.WriteAt(p, at)
	}
	n, err := d.disk.WriteAt(p[:d.room], at)
	d.room = 0
	return n, errors.Join(err, syscall.ENOSPC)
}

func (d *brokenDisk) Sync() error {
	if d.failSync {
		return syscall.EIO
	}
	return d.disk.Sync()
}

func (d *brokenDisk) Truncate(n int64) error {
	if d.failTrunc {
		return syscall.EIO
	}
	return d.disk.Truncate(n)
}

func TestFileOnABrokenDiskIsCompletedLater(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		dir := t.TempDir()
		rapid.Check(t, func(rt *rapid.T) {
			path := filepath.Join(dir, "out")
			_ = os.Remove(path)
			n := rapid.Int64Range(1, 4).Draw(rt, "results")
			results, lines := someResults(rt, n)
			for range rapid.IntRange(0, 2).Draw(rt, "failures") {
				file, err := OpenFile(path, f, testBatch, n)
				require.NoError(rt, err)
				file.f = &brokenDisk{file.f, rapid.IntRange(0, 1500).Draw(rt, "room"), rapid.Bool().Draw(rt, "sync"), rapid.Bool().Draw(rt, "truncate")}
				safe := file.present.Count()
				if err := collect(file, results, lines); err == nil {
					require.Equal(rt, n, file.present.Count())
				} else {
					require.ErrorContains(rt, err, path, "the message names the file")
					require.ErrorContains(rt, err, "the same command resumes")
					require.GreaterOrEqual(rt, file.present.Count(), safe)
				}
				require.NoError(rt, file.Close())
				if cut := rapid.Int64Range(0, 3000).Draw(rt, "cut"); rapid.Bool().Draw(rt, "killed") {
					info, err := os.Stat(path)
					require.NoError(rt, err)
					require.NoError(rt, os.Truncate(path, min(cut, info.Size())))
				}
			}
			file, err := OpenFile(path, f, testBatch, n)
			require.NoError(rt, err)
			require.NoError(rt, collect(file, results, lines))
			require.NoError(rt, file.Close())
			require.ElementsMatch(rt, indexesUpTo(n), records(rt, path, f))
		})
	})
}

// Two writers at the same offset would overwrite each other's results, and with --consume the results would be lost.
func TestOpenFileRefusesSecondWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	results, lines := someResults(t, 3)
	first, err := OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	require.NoError(t, collect(first, results[:2], lines[:2]))
	_, err = OpenFile(path, JSONL{}, testBatch, 3)
	var usage *fault.UsageError
	require.ErrorAs(t, err, &usage)
	require.ErrorContains(t, err, "another command writes to "+path)
	require.NoError(t, collect(first, results, lines))

	// The first writer replaces the file while the second one waits for the lock.
	again, line := resultOf(t, 2, "")
	require.NoError(t, first.Write([]batch.Result{again}, [][]byte{line}))
	require.NoError(t, first.keepLastRecords())
	second, err := OpenFile(path, JSONL{}, testBatch, 3)
	require.NoError(t, err)
	require.NoError(t, first.f.Close())
	require.EqualValues(t, 3, second.present.Count())
	require.NoError(t, second.Close())
	require.Equal(t, indexesUpTo(3), records(t, path, JSONL{}))
}

func indexesUpTo(n int64) (all []int64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestFileHasNoResultBeforeSync(t *testing.T) {
	file, err := OpenFile(filepath.Join(t.TempDir(), "out"), JSONL{}, testBatch, 1)
	require.NoError(t, err)
	results, lines := someResults(t, 1)
	file.f = &brokenDisk{disk: file.f, room: 1 << 20, failSync: true}
	require.ErrorIs(t, file.Write(results, lines), syscall.EIO)
	require.False(t, file.Has(results[0]))
	require.NoError(t, file.Close())
}

func TestFileHoldsTheLaterResultOfARetriedJobOnce(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		path := filepath.Join(t.TempDir(), "out")
		results, lines := someResults(t, 4)
		file, err := OpenFile(path, f, testBatch, 4)
		require.NoError(t, err)
		require.NoError(t, collect(file, results, lines))
		require.False(t, file.Settled().Has(2), "a lost worker's job may run again")
		again, line := resultOf(t, 2, "")
		require.False(t, file.Has(again))
		require.NoError(t, file.Write([]batch.Result{again}, [][]byte{line}))
		require.NoError(t, file.f.Close(), "killed before Close rewrites the file")

		file, err = OpenFile(path, f, testBatch, 4)
		require.NoError(t, err)
		require.True(t, file.Settled().Has(2))
		require.Equal(t, int64(4), file.Tally().OK)
		require.NoError(t, file.Close())
		require.Equal(t, indexesUpTo(4), records(t, path, f))
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(text), "WorkerLost")
	})
}

func TestSettledKeepsPermanentFailures(t *testing.T) {
	eachFormat(t, func(t *testing.T, f Format) {
		path := filepath.Join(t.TempDir(), "out")
		n := int64(len(batch.ErrorTypes))
		file, err := OpenFile(path, f, testBatch, n)
		require.NoError(t, err)
		for i, kind := range batch.ErrorTypes {
			r, line := resultOf(t, int64(i), kind)
			require.NoError(t, file.Write([]batch.Result{r}, [][]byte{line}))
		}
		require.NoError(t, file.Close())
		file, err = OpenFile(path, f, testBatch, n)
		require.NoError(t, err)
		for i, kind := range batch.ErrorTypes {
			// A refusal without proof that the request was at fault may come from an outage.
			settled := !kind.Retryable() && kind != batch.BackendRejected
			require.Equal(t, settled, file.Settled().Has(int64(i)), kind)
		}
		require.NoError(t, file.Close())
	})
}

func TestOpenFileRefusesForeignFileUnchanged(t *testing.T) {
	_, line := resultOf(t, 3, "")
	for name, c := range map[string]struct{ text, says string }{
		"prose":         {"my notes\n", "does not hold results of batchagent"},
		"no line end":   {"my notes", "does not hold results of batchagent"},
		"other batch":   {strings.Replace(string(line), string(testBatch), "b_01k5x8zq3v6t9w2y4a7c1d0zzz", 1) + "\n", "not of " + string(testBatch)},
		"too many jobs": {string(line) + "\n", "the batch has only 2 jobs"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			_, err := OpenFile(path, JSONL{}, testBatch, 2)
			require.ErrorContains(t, err, c.says)
			require.True(t, fault.IsUsage(err))
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, c.text, string(left))
		})
	}
}

func TestOpenFileErrorNamesPath(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "nowhere", "out")
	for _, path := range []string{missing, dir} {
		_, err := OpenFile(path, JSONL{}, testBatch, 1)
		require.ErrorContains(t, err, path)
		require.True(t, fault.IsUsage(err))
	}
}

func marshalled(t require.TestingT, r batch.Result) []byte {
	line, err := json.Marshal(r)
	require.NoError(t, err)
	return line
}
