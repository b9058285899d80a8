package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A result of these tests has used 100 prompt tokens, 60 of them cached, and 7 completion tokens.
var budgetScenarios = []scenario{
	{"a batch that has used its tokens gives no new job until it may use more", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 200}, batch.Prices{})
		w.feed(id, 0, 5)
		w.seal(id, 5)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.False(w, w.info(id).Paused, "107 of 200")
		running := w.claim(id, "a", 2)
		w.finishAll(id, running[:1])
		info := w.info(id)
		assert.True(w, info.Paused, "214 of 200")
		assert.EqualValues(w, 2, info.Counts.Waiting)
		assert.Empty(w, w.claim(id, "a", 5))
		w.finishAll(id, running[1:])

		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 300}))
		assert.Empty(w, w.claim(id, "a", 5), "still too little")
		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 1_000}))
		info = w.info(id)
		assert.False(w, info.Paused)
		assert.Equal(w, batch.Budget{Tokens: 1_000}, info.Budget)
		assert.Equal(w, batch.Done, w.finishAll(id, w.claim(id, "a", 5)))
		assert.False(w, w.info(id).Paused, "it is done")
	}},
	{"a job that has begun goes on in a paused batch", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 1}, batch.Prices{})
		w.feed(id, 0, 3)
		begun := w.claim(id, "a", 2)
		w.finishAll(id, begun[:1])
		got := w.takeover(id, "b", 1)
		assert.Equal(w, begun[1].Lease.Job, got[0].Lease.Job)
		require.NoError(w, w.store.Release(w.Context(), id, []batch.Lease{got[0].Lease}))
		assert.Equal(w, begun[1].Lease.Job, w.one(id, "c").Lease.Job)
		assert.Empty(w, w.claim(id, "c", 1))
	}},
	{"money counts by the prices, cached tokens by their own", func(w *world) {
		prices := batch.Prices{Prompt: 1_000, Cached: 100, Completion: 2_000} // 0.04 + 0.006 + 0.014 = 0.06 a job
		id := w.createWith(batch.Budget{USD: 0.11}, prices)
		w.feed(id, 0, 3)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.Len(w, w.claim(id, "a", 1), 1, "0.06 of 0.11")
		w.finishAll(id, w.held(id, "a"))
		assert.Empty(w, w.claim(id, "a", 1), "0.12 of 0.11")
		info := w.info(id)
		assert.True(w, info.Paused)
		assert.InDelta(w, 0.12, info.Prices.Cost(info.Counts.Usage), 1e-9)
	}},
	{"a paused batch can be cancelled", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 1}, batch.Prices{})
		w.feed(id, 0, 3)
		w.seal(id, 3)
		w.finishAll(id, w.claim(id, "a", 1))
		_, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		assert.False(w, w.info(id).Paused)
		assert.Len(w, w.claim(id, "a", 5), 2)
	}},
	{"there is no budget of a batch that is gone", func(w *world) {
		assert.ErrorIs(w, w.store.SetBudget(w.Context(), "b_01k0000000000000000000000", batch.Budget{Tokens: 1}), statestore.ErrNotFound)
	}},
}

func (w *world) createWith(b batch.Budget, p batch.Prices) batch.ID {
	w.Helper()
	id := statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
	require.NoError(w, w.store.Create(w.Context(), batch.Header{ID: id, Name: "n", MaxAttempts: 3, TTL: time.Hour, Budget: b, Prices: p}, []byte("plan")))
	return id
}

func (w *world) info(id batch.ID) batch.Info {
	w.Helper()
	info, err := w.store.Info(w.Context(), id)
	require.NoError(w, err)
	return info
}

func (w *world) held(id batch.ID, consumer string) []statestore.Claimed {
	w.Helper()
	leases, err := w.store.Held(w.Context(), id, consumer, 100)
	require.NoError(w, err)
	var out []statestore.Claimed
	for _, l := range leases {
		out = append(out, statestore.Claimed{Lease: l})
	}
	return out
}
