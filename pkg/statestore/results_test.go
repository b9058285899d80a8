package statestore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var resultScenarios = []scenario{
	{"results come in the order of commits and resume from a cursor", func(w *world) {
		id := w.sealed(5)
		jobs := w.claim(id, "a", 5)
		for _, i := range []int{3, 0, 4, 1, 2} {
			w.finish(id, []statestore.Completion{succeeded(jobs[i].Lease)}, statestore.Committed)
		}
		var got []int64
		var cursor int64
		for {
			page, err := w.store.Results(w.Context(), id, cursor, 2)
			require.NoError(w, err)
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				assert.Equal(w, cursor+1, e.Cursor, "cursors start at 1")
				cursor = e.Cursor
				got = append(got, e.Index)
				one, err := w.store.Result(w.Context(), id, e.Cursor)
				require.NoError(w, err)
				assert.Equal(w, e, *one)
			}
		}
		assert.Equal(w, []int64{3, 0, 4, 1, 2}, got)
		none, err := w.store.Result(w.Context(), id, 6)
		require.NoError(w, err)
		assert.Nil(w, none)
		some, err := w.store.ResultsAt(w.Context(), id, []int64{5, 6, 1})
		require.NoError(w, err)
		require.Len(w, some, 3)
		assert.EqualValues(w, 2, some[0].Index)
		assert.Nil(w, some[1])
		assert.EqualValues(w, 3, some[2].Index)
	}},
	{"a reader that waits is woken by a commit", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		got := make(chan []statestore.Entry)
		wait := func(after int64) {
			e, err := w.store.AwaitResults(w.Context(), id, after, 10, time.Minute)
			assert.NoError(w, err)
			got <- e
		}
		for i := range int64(2) {
			go wait(i)
			// Whether the reader blocks before or after the commit, it must see it.
			w.finish(id, []statestore.Completion{succeeded(jobs[i].Lease)}, statestore.Committed)
			e := <-got
			require.Len(w, e, 1)
			assert.Equal(w, i, e[0].Index)
		}
	}},
	{"a reader without results returns after its wait", func(w *world) {
		id := w.sealed(1)
		for _, wait := range []time.Duration{20 * time.Millisecond, time.Microsecond} {
			ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
			start := time.Now()
			e, err := w.store.AwaitResults(ctx, id, 0, 10, wait)
			require.NoError(w, err)
			assert.Empty(w, e)
			if w.fake {
				assert.LessOrEqual(w, time.Since(start), max(wait, time.Millisecond))
			}
			cancel()
		}
	}},
	{"trimmed results are gone, and cursors continue", func(w *world) {
		id := w.sealed(4)
		jobs := w.claim(id, "a", 4)
		w.finishAll(id, jobs[:3])
		for range 2 {
			w.trim(id, 2)
		}
		left, err := w.store.Results(w.Context(), id, 0, 10)
		require.NoError(w, err)
		require.Len(w, left, 1)
		assert.EqualValues(w, 3, left[0].Cursor)
		w.trim(id, 3)
		assert.Equal(w, batch.Done, w.finishAll(id, jobs[3:]))
		left, err = w.store.Results(w.Context(), id, 2, 10)
		require.NoError(w, err)
		require.Len(w, left, 1)
		assert.EqualValues(w, 4, left[0].Cursor)
		assert.EqualValues(w, 4, w.counts(id).OK, "counters include trimmed results")
	}},
	{"a failed result that was trimmed can be retried", func(w *world) {
		id := w.sealed(1)
		w.finish(id, []statestore.Completion{failed(w.one(id, "a").Lease, batch.Timeout)}, statestore.Committed)
		w.trim(id, 1)
		n, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.EqualValues(w, 1, n)
		assert.Equal(w, batch.Done, w.finishAll(id, w.claim(id, "a", 1)))
		assert.Equal(w, map[int64]batch.Status{0: batch.OK}, w.results(id))
	}},
}

// trim deletes results that were read in the current timeline.
func (w *world) trim(id batch.ID, upTo int64) {
	w.Helper()
	timeline, err := w.store.Timeline(w.Context(), id)
	require.NoError(w, err)
	require.NoError(w, w.store.TrimResults(w.Context(), id, upTo, timeline))
}

// TestTrimIgnoresCursorsOfOtherTimelines: a cursor from before a restart trims nothing after it, because it may denote another result.
func TestTrimIgnoresCursorsOfOtherTimelines(t *testing.T) {
	t.Parallel()
	redis := testredis.Server(t, testredis.Config("appendonly", "yes", "appendfsync", "always"))
	w := over(t, redis.URL())
	id := w.sealed(2)
	w.finishAll(id, w.claim(id, "a", 2))
	before, err := w.store.Timeline(t.Context(), id)
	require.NoError(t, err)
	require.NotEmpty(t, before)
	redis.Kill9()
	redis.Restart()
	require.NoError(t, w.store.UntilKnown(t.Context(), func() error { return w.store.Ping(t.Context()) }))
	after, err := w.store.Timeline(t.Context(), id)
	require.NoError(t, err)
	assert.NotEqual(t, before, after)
	require.NoError(t, w.store.TrimResults(t.Context(), id, 2, before))
	assert.Len(t, w.results(id), 2)
	require.NoError(t, w.store.TrimResults(t.Context(), id, 2, after))
	assert.Empty(t, w.results(id))
}
