package collect

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// held is a source with fixed results.
type held struct {
	Source
	entries []statestore.Entry
}

func (h held) UntilKnown(_ context.Context, op func() error) error { return op() }

func (h held) Timeline(context.Context, batch.ID) (string, error) { return "one", nil }

func (h held) Results(_ context.Context, _ batch.ID, after int64, _ int) ([]statestore.Entry, error) {
	return h.entries[after:], nil
}

// unsynced is a disk that records whether it holds unsynced data, which a power loss would destroy.
type unsynced struct {
	disk
	dirty bool
}

func (d *unsynced) WriteAt(p []byte, at int64) (int, error) {
	d.dirty = true
	return d.disk.WriteAt(p, at)
}

func (d *unsynced) Sync() error {
	d.dirty = false
	return d.disk.Sync()
}

// With --consume a result leaves Redis once it is on disk, and stays there if the disk fails.
func TestConsumeTrimsRedisAfterDiskSync(t *testing.T) {
	file, err := OpenFile(filepath.Join(t.TempDir(), "out"), JSONL{}, testBatch, 3)
	require.NoError(t, err)
	results, lines := someResults(t, 3)
	var source held
	for i, r := range results {
		source.entries = append(source.entries, statestore.Entry{Cursor: int64(i + 1), Index: r.Index, Status: r.Status, Line: lines[i]})
	}
	var trimmed []int64
	good := file.f
	written := &unsynced{disk: good}
	c := &Collector{Store: source, ID: testBatch, Sink: file, Wait: outage.Wait{Store: source}}
	c.Written = func(_ context.Context, upTo int64, _ string) error {
		require.False(t, written.dirty, "trimmed before the data is on disk")
		trimmed = append(trimmed, upTo)
		return nil
	}
	for _, broken := range []*brokenDisk{{disk: good, room: 100}, {disk: good, room: 1 << 20, failSync: true}} {
		file.f = broken
		_, err := c.step(t.Context(), false)
		require.Error(t, err)
		require.Empty(t, trimmed)
	}
	file.f = written
	n, err := c.step(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, []int64{3}, trimmed)
	require.NoError(t, file.Close())
	require.Equal(t, indexesUpTo(3), records(t, file.path, JSONL{}))
}
