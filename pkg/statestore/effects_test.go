package statestore_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var effectScenarios = []scenario{
	{"an intent stays this attempt's after lost replies", func(w *world) {
		id := w.sealed(1)
		l := w.one(id, "a").Lease
		for range 2 {
			known, outcome, err := w.store.Intend(w.Context(), l, statestore.CallRef{Turn: 2}, []byte(`{"tool":"t"}`))
			require.NoError(w, err)
			assert.False(w, known)
			assert.Nil(w, outcome)
		}
		require.NoError(w, w.store.Settle(w.Context(), l, statestore.CallRef{Turn: 2}, []byte("done")))
		known, outcome, err := w.store.Intend(w.Context(), l, statestore.CallRef{Turn: 2}, nil)
		require.NoError(w, err)
		assert.True(w, known)
		assert.Equal(w, "done", string(outcome))
	}},
	{"a takeover reads intents and outcomes, and fences the former holder", func(w *world) {
		id := w.sealed(1)
		a := w.one(id, "a").Lease
		open, settled := statestore.CallRef{Turn: 1}, statestore.CallRef{Turn: 1, Call: 1}
		require.NoError(w, w.store.OpenTurn(w.Context(), a, 1, []byte("the turn")))
		for _, p := range []statestore.CallRef{open, settled} {
			_, _, err := w.store.Intend(w.Context(), a, p, []byte("i"))
			require.NoError(w, err)
		}
		require.NoError(w, w.store.Settle(w.Context(), a, settled, []byte("done")))
		b := w.takeover(id, "b", 1)[0].Lease

		for name, err := range map[string]error{
			"settle": w.store.Settle(w.Context(), a, open, []byte("late")),
			"park":   w.store.Park(w.Context(), a, open),
			"open":   w.store.OpenTurn(w.Context(), a, 2, []byte("late")),
		} {
			assert.ErrorIs(w, err, statestore.ErrFenced, name)
		}
		_, _, err := w.store.Intend(w.Context(), a, statestore.CallRef{Turn: 9}, []byte("i"))
		assert.ErrorIs(w, err, statestore.ErrFenced)

		data, err := w.store.OpenedTurn(w.Context(), b, 1)
		require.NoError(w, err)
		assert.Equal(w, "the turn", string(data))
		data, err = w.store.OpenedTurn(w.Context(), b, 2)
		require.NoError(w, err)
		assert.Nil(w, data)
		known, outcome, err := w.store.Intend(w.Context(), b, open, []byte("i"))
		require.NoError(w, err)
		assert.True(w, known)
		assert.Nil(w, outcome, "not known")
		_, outcome, err = w.store.Intend(w.Context(), b, settled, []byte("i"))
		require.NoError(w, err)
		assert.Equal(w, "done", string(outcome))

		done := succeeded(b)
		done.Effects = true
		w.finish(id, []statestore.Completion{done}, statestore.Committed)
		assert.NotContains(w, w.keys(id), "ba:{"+string(id)+"}:journal:0:fx", "the ledger goes with the job")
	}},
	{"a job resumes after its parked call is resolved", func(w *world) {
		id := w.sealed(1)
		job := batch.Job{Batch: id}
		a := w.one(id, "a").Lease
		places := []statestore.CallRef{{Turn: 2}, {Turn: 2, Call: 1}}
		for _, p := range places {
			_, _, err := w.store.Intend(w.Context(), a, p, []byte(`{"tool":"send"}`))
			require.NoError(w, err)
		}
		b := w.takeover(id, "b", 1)[0].Lease
		for _, p := range places {
			require.NoError(w, w.store.Park(w.Context(), b, p))
		}
		_, err := w.store.Resolve(w.Context(), job, places[0], []byte("done"))
		assert.ErrorIs(w, err, statestore.ErrNotAsked, "the job has not failed yet")
		c := failed(b, batch.EffectUnknown)
		c.Effects, c.Parked = true, true
		require.Equal(w, batch.Done, w.finish(id, []statestore.Completion{c}, statestore.Committed))

		asked, err := w.store.Asked(w.Context(), job)
		require.NoError(w, err)
		require.Len(w, asked, 2)
		assert.Equal(w, places[1], asked[1].Call)
		assert.JSONEq(w, `{"tool":"send"}`, string(asked[1].Intent))
		left, err := w.store.Resolve(w.Context(), job, places[0], []byte("done"))
		require.NoError(w, err)
		assert.Equal(w, 1, left)
		_, err = w.store.Resolve(w.Context(), job, places[0], []byte("done"))
		assert.ErrorIs(w, err, statestore.ErrNotAsked, "it is resolved already")
		left, err = w.store.Resolve(w.Context(), job, places[1], nil)
		require.NoError(w, err)
		assert.Zero(w, left)
		queued, err := w.store.RetryJob(w.Context(), job)
		require.NoError(w, err)
		assert.EqualValues(w, 1, queued)

		n := w.one(id, "c").Lease
		_, outcome, err := w.store.Intend(w.Context(), n, places[0], []byte("i"))
		require.NoError(w, err)
		assert.Equal(w, "done", string(outcome))
		known, _, err := w.store.Intend(w.Context(), n, places[1], []byte("i"))
		require.NoError(w, err)
		assert.False(w, known, "it may run again")
		done := succeeded(n)
		done.Effects = true
		w.finish(id, []statestore.Completion{done}, statestore.Committed)
		require.NoError(w, w.store.Remove(w.Context(), id))
		assert.Empty(w, w.left(id))
	}},
	{"removing a batch removes the ledgers of its parked jobs", func(w *world) {
		id := w.sealed(1)
		l := w.one(id, "a").Lease
		_, _, err := w.store.Intend(w.Context(), l, statestore.CallRef{Turn: 1}, []byte("i"))
		require.NoError(w, err)
		c := failed(l, batch.EffectUnknown)
		c.Effects, c.Parked = true, true
		w.finish(id, []statestore.Completion{c}, statestore.Committed)
		assert.Contains(w, w.keys(id), "ba:{"+string(id)+"}:journal:0:fx")
		require.NoError(w, w.store.Remove(w.Context(), id))
		assert.Empty(w, w.left(id))
	}},
}

func TestParseCallRef(t *testing.T) {
	t.Parallel()
	p, err := statestore.ParseCallRef("12.3")
	require.NoError(t, err)
	assert.Equal(t, statestore.CallRef{Turn: 12, Call: 3}, p)
	for _, bad := range []string{"", "1", "1.", "1.2.3", "a.b", "1.2 ", "01.2"} {
		_, err := statestore.ParseCallRef(bad)
		assert.Error(t, err, bad)
	}
}
