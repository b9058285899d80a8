package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// reduced makes an open batch and its reducer.
func (w *world) reduced(n int) (id, reducer batch.ID) {
	w.Helper()
	id = statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
	for _, h := range []batch.Header{{ID: id.ForStage(batch.StageReduce)}, {ID: id, Reduce: true}} {
		h.Name, h.MaxAttempts, h.TTL = "n", 3, time.Hour
		require.NoError(w, w.store.Create(w.Context(), h, []byte("plan")))
	}
	w.feed(id, 0, n)
	return id, id.ForStage(batch.StageReduce)
}

// claimReducer claims the reducer's one job, if it is queued.
func (w *world) claimReducer(id batch.ID, consumer string) []statestore.Claimed {
	w.Helper()
	_, jobs, err := w.store.Claim(w.Context(), statestore.ClaimParams{Batch: id, Consumer: consumer, Count: 4, Lease: w.lease})
	require.NoError(w, err)
	w.check(id)
	return jobs
}

func (w *world) phase(id batch.ID) batch.Phase {
	w.Helper()
	return w.check(id).Phase
}

var reduceScenarios = []scenario{
	{"the commit of the last result queues the reduction, once", func(w *world) {
		id, reducer := w.reduced(3)
		w.seal(id, 3)
		jobs := w.claim(id, "a", 3)
		w.finishAll(id, jobs[:2])
		assert.Empty(w, w.claimReducer(reducer, "a"))
		last := []statestore.Completion{succeeded(jobs[2].Lease)}
		assert.Equal(w, batch.Done, w.finish(id, last, statestore.Committed))
		assert.Equal(w, batch.Sealed, w.phase(reducer))
		w.finish(id, last, statestore.Already) // the reply was lost
		queued := w.claimReducer(reducer, "b")
		require.Len(w, queued, 1)
		assert.JSONEq(w, `{"reduce":{"n":3}}`, string(queued[0].Payload))
		w.finish(id, last, statestore.Already)
		assert.Equal(w, batch.Done, w.finishAll(reducer, queued))
		assert.Equal(w, map[int64]batch.Status{0: batch.OK}, w.results(reducer))
		assert.Len(w, w.results(id), 3, "the summary is a separate result")
	}},
	{"a batch whose jobs ended before it was sealed is reduced with the seal", func(w *world) {
		id, reducer := w.reduced(2)
		w.finishAll(id, w.claim(id, "a", 2))
		assert.Empty(w, w.claimReducer(reducer, "a"))
		assert.Equal(w, batch.Done, w.seal(id, 2))
		assert.Equal(w, batch.Done, w.seal(id, 2), "the reply was lost")
		assert.Len(w, w.claimReducer(reducer, "a"), 1)
		assert.Empty(w, w.claimReducer(reducer, "a"))
	}},
	{"a retry takes the summary back, and the next end makes another", func(w *world) {
		id, reducer := w.reduced(2)
		w.seal(id, 2)
		jobs := w.claim(id, "a", 2)
		w.finishAll(id, jobs[:1])
		w.finish(id, []statestore.Completion{failed(jobs[1].Lease, batch.Timeout)}, statestore.Committed)
		first := w.claimReducer(reducer, "a")
		w.checkpoint(first[0].Lease, 1, "half of it")
		w.finishAll(reducer, first)

		retry := func() []statestore.Claimed {
			queued, err := w.store.Retry(w.Context(), id)
			require.NoError(w, err)
			require.EqualValues(w, 1, queued)
			return w.claim(id, "a", 1)
		}
		active, err := w.store.Active(w.Context())
		require.NoError(w, err)
		require.Contains(w, active, reducer)
		again := retry()
		// A worker that finds the reducer done in between must not remove it from the list, because no one would add it again.
		require.NoError(w, w.store.Retire(w.Context(), reducer))
		active, err = w.store.Active(w.Context())
		require.NoError(w, err)
		require.Contains(w, active, reducer)
		w.finish(id, []statestore.Completion{failed(again[0].Lease, batch.Timeout)}, statestore.Committed)
		assert.Empty(w, w.results(reducer))
		second := w.claimReducer(reducer, "a")
		require.Len(w, second, 1)
		assert.Empty(w, second[0].Journal)
		assert.Greater(w, second[0].Lease.Token, first[0].Lease.Token)

		// The same while the reducer runs: its result from the old results is refused.
		again = retry()
		w.finishAll(id, again)
		require.ErrorIs(w, w.store.Checkpoint(w.Context(), second[0].Lease, 1, []byte("late")), statestore.ErrFenced)
		w.finish(reducer, []statestore.Completion{succeeded(second[0].Lease)}, statestore.Fenced)
		third := w.claimReducer(reducer, "b")
		require.Len(w, third, 1)
		w.finishAll(reducer, third)
		assert.Equal(w, batch.Done, w.phase(reducer))
		assert.Len(w, w.results(reducer), 1)
		require.NoError(w, w.store.Retire(w.Context(), reducer))
		active, err = w.store.Active(w.Context())
		require.NoError(w, err)
		require.NotContains(w, active, reducer)
	}},
	{"a reduced batch is not created without its reducer", func(w *world) {
		id := statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
		h := batch.Header{ID: id, Name: "n", Reduce: true, MaxAttempts: 3, TTL: time.Hour}
		require.ErrorIs(w, w.store.Create(w.Context(), h, []byte("plan")), statestore.ErrNotFound)
		_, err := w.store.Info(w.Context(), id)
		require.ErrorIs(w, err, statestore.ErrNotFound)
		assert.NotContains(w, w.active(), id)
	}},
	{"a cancelled batch is not reduced, and a cancelled reduction does not run", func(w *world) {
		id, reducer := w.reduced(1)
		w.seal(id, 1)
		phase, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		require.Equal(w, batch.Cancelling, phase)
		jobs := w.claim(id, "a", 1)
		assert.Equal(w, batch.Done, w.finish(id, []statestore.Completion{cancelled(jobs[0].Lease)}, statestore.Committed))
		info, err := w.store.Info(w.Context(), reducer)
		require.NoError(w, err)
		assert.Equal(w, batch.Done, info.Phase, "the reducer does not wait without end")
		assert.Zero(w, info.Counts.Total)
		assert.False(w, info.ExpiresAt.IsZero())
		phase, err = w.store.Cancel(w.Context(), reducer)
		require.NoError(w, err)
		assert.Equal(w, batch.Done, phase, "it has nothing to end")

		id, reducer = w.reduced(2)
		w.seal(id, 2)
		w.finish(id, []statestore.Completion{failed(w.one(id, "a").Lease, batch.Timeout)}, statestore.Committed)
		_, err = w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		w.finish(id, []statestore.Completion{cancelled(w.one(id, "a").Lease)}, statestore.Committed)
		assert.Equal(w, batch.Done, w.phase(reducer))
		queued, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		require.EqualValues(w, 1, queued)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.Len(w, w.claimReducer(reducer, "a"), 1, "retrying a cancelled batch queues its reduction")

		id, reducer = w.reduced(1)
		w.seal(id, 1)
		_, err = w.store.Cancel(w.Context(), reducer)
		require.NoError(w, err)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.Equal(w, batch.Done, w.phase(reducer))
		assert.Empty(w, w.claimReducer(reducer, "a"))
	}},
	{"cancelling a reopened batch ends the reduction of its old results", func(w *world) {
		id, reducer := w.reduced(1)
		w.seal(id, 1)
		w.finish(id, []statestore.Completion{failed(w.one(id, "a").Lease, batch.Timeout)}, statestore.Committed)
		first := w.claimReducer(reducer, "a")
		require.Len(w, first, 1)
		w.checkpoint(first[0].Lease, 1, "half of it")
		_, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		_, err = w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		assert.Equal(w, batch.Sealed, w.phase(reducer))
		w.finish(id, []statestore.Completion{cancelled(w.one(id, "a").Lease)}, statestore.Committed)
		assert.Equal(w, batch.Done, w.phase(reducer))
		require.ErrorIs(w, w.store.Checkpoint(w.Context(), first[0].Lease, 1, []byte("late")), statestore.ErrFenced)
		w.finish(reducer, []statestore.Completion{succeeded(first[0].Lease)}, statestore.Fenced)
		assert.Empty(w, w.results(reducer))
		for _, b := range []batch.ID{reducer, id} {
			require.NoError(w, w.store.Remove(w.Context(), b))
			assert.Empty(w, w.left(b))
		}
	}},
	{"removing both leaves nothing", func(w *world) {
		id, reducer := w.reduced(1)
		w.seal(id, 1)
		w.finishAll(id, w.claim(id, "a", 1))
		w.finishAll(reducer, w.claimReducer(reducer, "a"))
		require.NoError(w, w.store.Remove(w.Context(), reducer))
		require.NoError(w, w.store.Remove(w.Context(), id))
		assert.Empty(w, w.left(id))
		assert.Empty(w, w.left(reducer))
	}},
}
