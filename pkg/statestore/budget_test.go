package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// spend settles and reserves calls, and checks the ledger.
func (w *world) spend(id batch.ID, ended []statestore.EndedCall, wanted ...statestore.WantedCall) []statestore.Grant {
	w.Helper()
	_, got, err := w.store.Spend(w.Context(), id, ended, wanted)
	require.NoError(w, err)
	return got
}

func wanted(c statestore.Claimed, number, prompt, most int64) statestore.WantedCall {
	return statestore.WantedCall{Call: statestore.Call{Lease: c.Lease, Number: number}, PromptTokens: prompt, MaxCompletion: most}
}

func endedCall(c statestore.Claimed, number, prompt, completion int64) statestore.EndedCall {
	return statestore.EndedCall{
		Call:  statestore.Call{Lease: c.Lease, Number: number},
		Usage: &batch.Usage{PromptTokens: prompt, CompletionTokens: completion},
	}
}

const granted, noRoom, noLease, usedUp = statestore.Granted, statestore.NoRoom, statestore.NoLease, statestore.UsedUp

// A result of these tests has used 100 prompt tokens, 60 of them cached, and 7 completion tokens.
var budgetScenarios = []scenario{
	{"a batch that has used its tokens gives no new job until its budget is raised", func(w *world) {
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
	{"a paused batch gives no started job", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 50}, batch.Prices{})
		w.feed(id, 0, 4)
		begun := w.claim(id, "a", 3)
		w.finishAll(id, begun[:1])
		w.release(id, begun[1].Lease)
		w.until(func() bool {
			assert.Empty(w, w.claim(id, "b", 4))
			return w.info(id).Counts.Running == 0
		}, "the expired lease to be queued")
		assert.EqualValues(w, 1, w.info(id).Counts.Takeovers)

		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 1_000}))
		got := w.claim(id, "b", 4)
		require.Len(w, got, 3)
		assert.Equal(w, begun[1].Lease.Job, got[0].Lease.Job)
		assert.Equal(w, 1, got[0].Lease.Attempt, "a release counts no attempt")
		assert.Equal(w, begun[2].Lease.Job, got[1].Lease.Job)
		assert.Equal(w, 2, got[1].Lease.Attempt, "an expired lease counts one")
	}},
	{"costs follow the prices, and cached tokens have their own", func(w *world) {
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
	{"as many calls start as fit, and one if none does", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 100}, batch.Prices{})
		w.feed(id, 0, 9)
		j := w.claim(id, "a", 9)
		assert.Equal(w, []statestore.Grant{granted, granted, noRoom}, w.spend(id, nil, wanted(j[0], 1, 10, 30), wanted(j[1], 1, 10, 50), wanted(j[2], 1, 1, 0)))
		assert.Equal(w, batch.Budget{Tokens: 100}, w.info(id).Reserved)
		assert.Empty(w, w.claim(id, "b", 9), "the calls in flight may need all of it")
		// Both used 8 tokens, so the next calls are expected to use few, too, whatever their limits.
		assert.Equal(w, []statestore.Grant{granted, granted}, w.spend(id,
			[]statestore.EndedCall{endedCall(j[0], 1, 6, 2), endedCall(j[1], 1, 6, 2)}, wanted(j[2], 1, 6, 4_096), wanted(j[3], 1, 6, 4_096)))
		info := w.info(id)
		assert.Equal(w, batch.Budget{Tokens: 16}, info.Used, "no result contains it yet")
		assert.Less(w, info.Reserved.Tokens, int64(40))
		// A call larger than the rest of the budget starts when no call is in flight.
		assert.Equal(w, []statestore.Grant{noRoom}, w.spend(id, nil, wanted(j[4], 1, 500, 1)))
		assert.Equal(w, []statestore.Grant{granted, noRoom}, w.spend(id,
			[]statestore.EndedCall{endedCall(j[2], 1, 6, 2), endedCall(j[3], 1, 6, 2)}, wanted(j[4], 1, 500, 1), wanted(j[5], 1, 1, 1)))
		assert.Equal(w, []statestore.Grant{usedUp}, w.spend(id, []statestore.EndedCall{endedCall(j[4], 1, 500, 1)}, wanted(j[5], 1, 1, 1)))
		info = w.info(id)
		assert.True(w, info.Paused)
		assert.Equal(w, batch.Budget{Tokens: 533}, info.Used)
		assert.Zero(w, info.Reserved)
	}},
	{"calls in flight count as much as an average call", func(w *world) {
		id := w.createWith(batch.Budget{USD: 1}, batch.Prices{Prompt: 0.15, Completion: 0.6})
		w.feed(id, 0, 9)
		j := w.claim(id, "a", 9)
		w.spend(id, nil, wanted(j[0], 1, 5, 0), wanted(j[1], 1, 5, 0), wanted(j[2], 1, 5, 0))
		// $0.45 each: 1 ended and 2 in flight are more than the budget.
		assert.Equal(w, []statestore.Grant{noRoom}, w.spend(id, []statestore.EndedCall{endedCall(j[0], 1, 1_000_000, 500_000)}, wanted(j[3], 1, 5, 0)))
		assert.InDelta(w, 0.45, w.info(id).Used.USD, 1e-9)
	}},
	{"repeats reserve and settle a call once", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 1_000}, batch.Prices{})
		w.feed(id, 0, 2)
		j := w.one(id, "a")
		for range 2 {
			assert.Equal(w, []statestore.Grant{granted}, w.spend(id, nil, wanted(j, 1, 10, 10)))
			assert.EqualValues(w, 20, w.info(id).Reserved.Tokens)
		}
		for range 2 {
			w.spend(id, []statestore.EndedCall{endedCall(j, 1, 9, 3)})
			assert.EqualValues(w, 12, w.info(id).Used.Tokens)
			assert.Zero(w, w.info(id).Reserved)
		}
	}},
	{"a call of unknown usage counts as reserved", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 1_000}, batch.Prices{})
		w.feed(id, 0, 1)
		j := w.one(id, "a")
		w.spend(id, nil, wanted(j, 1, 10, 10))
		w.spend(id, []statestore.EndedCall{{Call: statestore.Call{Lease: j.Lease, Number: 1}}})
		assert.EqualValues(w, 20, w.info(id).Used.Tokens)
	}},
	{"a result replaces the usage of its calls", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 10_000}, batch.Prices{})
		w.feed(id, 0, 2)
		w.seal(id, 2)
		j := w.claim(id, "a", 2)
		w.spend(id, nil, wanted(j[0], 1, 10, 10), wanted(j[0], 2, 10, 10), wanted(j[1], 1, 10, 10))
		w.spend(id, []statestore.EndedCall{endedCall(j[0], 1, 100, 7)})
		w.finishAll(id, j[:1])
		info := w.info(id)
		assert.EqualValues(w, 107, info.Used.Tokens)
		assert.EqualValues(w, 20, info.Reserved.Tokens, "of the other job")
		// A call that failed half-way cost something too, and no result contains it.
		w.spend(id, []statestore.EndedCall{endedCall(j[1], 1, 100, 50)})
		assert.Equal(w, batch.Done, w.finishAll(id, j[1:]))
		assert.EqualValues(w, 107+150, w.info(id).Used.Tokens)
		assert.Zero(w, w.info(id).Reserved)
		n, err := w.raw.Exists(w.Context(), "ba:{"+string(id)+"}:calls").Result()
		require.NoError(w, err)
		assert.Zero(w, n)
	}},
	{"a released lease leaves no reservation, and its usage stays", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 1_000}, batch.Prices{})
		w.feed(id, 0, 1)
		j := w.one(id, "a")
		w.spend(id, nil, wanted(j, 1, 10, 10), wanted(j, 2, 10, 10))
		w.spend(id, []statestore.EndedCall{endedCall(j, 1, 30, 1)})
		w.release(id, j.Lease)
		assert.Zero(w, w.info(id).Reserved)
		assert.Equal(w, []statestore.Grant{noLease}, w.spend(id, nil, wanted(j, 3, 1, 1)))
		// The call was in flight when the lease ended. It cost something nevertheless.
		w.spend(id, []statestore.EndedCall{endedCall(j, 2, 40, 2)})
		assert.EqualValues(w, 73, w.info(id).Used.Tokens)
	}},
	{"a dead worker's reservation ends with its lease", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 50}, batch.Prices{})
		w.feed(id, 0, 3)
		w.spend(id, nil, wanted(w.one(id, "a"), 1, 10, 40))
		assert.Empty(w, w.claim(id, "b", 3))
		var got []statestore.Claimed
		w.until(func() bool { got = append(got, w.claim(id, "b", 3)...); return len(got) > 0 }, "the job to be taken over")
		assert.Zero(w, w.info(id).Reserved)
		assert.Equal(w, []statestore.Grant{granted}, w.spend(id, nil, wanted(got[0], 1, 10, 40)))
	}},
	{"a reservation of an older version is freed when it is in the way", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 50}, batch.Prices{})
		w.feed(id, 0, 2)
		j := w.claim(id, "a", 2)
		w.spend(id, nil, wanted(j[0], 1, 10, 40))
		require.NoError(w, w.raw.HSet(w.Context(), "ba:{"+string(id)+"}:lease", 0, "99|2|old").Err())
		assert.Equal(w, []statestore.Grant{noRoom}, w.spend(id, nil, wanted(j[1], 1, 10, 40)))
		assert.Equal(w, []statestore.Grant{granted}, w.spend(id, nil, wanted(j[1], 1, 10, 40)))
	}},
	{"stages share the budget and its reservations", func(w *world) {
		id := statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
		h := batch.Header{ID: id, Name: "n", MaxAttempts: 3, TTL: time.Hour, Budget: batch.Budget{Tokens: 100}, Plan: true}
		require.NoError(w, w.store.Create(w.Context(), h, []byte("plan")))
		require.NoError(w, w.store.Create(w.Context(), batch.Header{ID: id.ForStage(batch.StagePlan), MaxAttempts: 3, TTL: time.Hour}, []byte("plan")))
		w.feed(id, 0, 1)
		w.feed(id.ForStage(batch.StagePlan), 0, 1)
		for _, stage := range []batch.ID{id, id.ForStage(batch.StagePlan)} {
			yes, err := w.store.Budgeted(w.Context(), stage)
			require.NoError(w, err)
			assert.True(w, yes)
		}
		planner, job := w.one(id.ForStage(batch.StagePlan), "a"), w.one(id, "a")
		assert.Equal(w, []statestore.Grant{granted}, w.spend(id.ForStage(batch.StagePlan), nil, wanted(planner, 1, 10, 60)))
		assert.Equal(w, []statestore.Grant{noRoom}, w.spend(id, nil, wanted(job, 1, 10, 30)))
		w.spend(id.ForStage(batch.StagePlan), []statestore.EndedCall{endedCall(planner, 1, 10, 90)})
		assert.Equal(w, []statestore.Grant{usedUp}, w.spend(id, nil, wanted(job, 1, 10, 30)))
		assert.True(w, w.info(id).Paused)
	}},
	{"a removed batch has no budget", func(w *world) {
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
