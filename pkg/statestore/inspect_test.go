package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var inspectScenarios = []scenario{
	{"inspect shows a job through its life", func(w *world) {
		id := w.sealed(2)
		look := func(turns int) statestore.JobView {
			v, err := w.store.Inspect(w.Context(), batch.Job{Batch: id, Index: 1}, turns)
			require.NoError(w, err)
			return v
		}
		v := look(10)
		assert.False(w, v.Finished)
		assert.Empty(w, v.Holder)
		assert.NotEmpty(w, v.Payload)
		jobs := w.claim(id, "a", 2)
		for turn := 1; turn <= 3; turn++ {
			w.checkpoint(jobs[1].Lease, turn, "turn")
		}
		v = look(2)
		assert.Equal(w, "a", v.Holder)
		assert.Equal(w, 1, v.Attempt)
		assert.Len(w, v.Turns, 2, "no more than requested")
		assert.Equal(w, 3, v.Journal)
		assert.Empty(w, look(0).Turns)
		w.finish(id, []statestore.Completion{failed(jobs[1].Lease, batch.Timeout)}, statestore.Committed)
		v = look(10)
		assert.True(w, v.Finished)
		assert.Empty(w, v.Holder)
		assert.Len(w, v.Turns, 3, "a retryable failure keeps its journal")
		assert.NotEmpty(w, v.Payload)
		e, err := w.store.Result(w.Context(), id, v.Failed)
		require.NoError(w, err)
		assert.EqualValues(w, 1, e.Index)
		for _, job := range []batch.Job{{Batch: id, Index: 2}, {Batch: statestore.NewID(time.Now()), Index: 0}} {
			_, err := w.store.Inspect(w.Context(), job, 1)
			assert.ErrorIs(w, err, statestore.ErrNotFound)
		}
	}},
	{"a job is found in another place than its index", func(w *world) {
		id := w.create()
		_, err := w.store.FeedSorted(w.Context(), id, 0, []int64{2, 0, 1}, nil, append(payloads(2, 1), payloads(0, 2)...))
		require.NoError(w, err)
		look := func(index int64) string {
			v, err := w.store.Inspect(w.Context(), batch.Job{Batch: id, Index: index}, 1)
			require.NoError(w, err)
			return string(v.Payload)
		}
		assert.Empty(w, look(0), "the input of another job is not shown")
		jobs := w.claim(id, "a", 2)
		assert.Equal(w, "payload 2", look(2))
		assert.Equal(w, "payload 0", look(0))
		assert.Empty(w, look(1))
		w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout)}, statestore.Committed)
		assert.Equal(w, "payload 2", look(2), "a failed job keeps its input")

		half := w.create()
		_, err = w.store.FeedSorted(w.Context(), half, 0, []int64{5}, nil, payloads(5, 1))
		require.NoError(w, err)
		w.claim(half, "a", 1)
		v, err := w.store.Inspect(w.Context(), batch.Job{Batch: half, Index: 5}, 1)
		require.NoError(w, err, "an index above the number of jobs that are in")
		assert.Equal(w, "payload 5", string(v.Payload))
	}},
	{"a key makes one batch and refuses another", func(w *world) {
		a, b := statestore.NewID(time.Now()), statestore.NewID(time.Now())
		for range 2 {
			id, err := w.store.Once(w.Context(), "key", "this", a)
			require.NoError(w, err)
			assert.Equal(w, a, id)
		}
		id, err := w.store.Once(w.Context(), "key", "this", b)
		require.NoError(w, err)
		assert.Equal(w, a, id)
		_, err = w.store.Once(w.Context(), "key", "that", b)
		assert.ErrorIs(w, err, statestore.ErrKeyUsed)
		assert.ErrorContains(w, err, string(a))
		id, err = w.store.Once(w.Context(), "another key", "that", b)
		require.NoError(w, err)
		assert.Equal(w, b, id)
	}},
	{"the newest batches and results", func(w *world) {
		w.sealed(1)
		w.pass(2 * time.Millisecond)
		second := w.sealed(4)
		list, err := w.store.Newest(w.Context(), 1)
		require.NoError(w, err)
		require.Len(w, list, 1)
		assert.Equal(w, second, list[0].ID)
		for _, j := range w.claim(second, "a", 4) {
			w.finish(second, []statestore.Completion{succeeded(j.Lease)}, statestore.Committed)
		}
		last, err := w.store.NewestResults(w.Context(), second, 3)
		require.NoError(w, err)
		require.Len(w, last, 3)
		assert.EqualValues(w, []int64{2, 3, 4}, []int64{last[0].Cursor, last[1].Cursor, last[2].Cursor})
	}},
}
