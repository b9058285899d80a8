package statestore_test

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// planned makes a batch that waits for its plan, with a planner of one job and a reducer.
func (w *world) planned(budget batch.Budget) (id batch.ID) {
	w.Helper()
	id = statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
	for _, h := range []batch.Header{{ID: id.ForStage(batch.StageReduce)}, {ID: id, Reduce: true, Plan: true, Budget: budget}, {ID: id.ForStage(batch.StagePlan)}} {
		h.Name, h.MaxAttempts, h.TTL = "n", 3, time.Hour
		require.NoError(w, w.store.Create(w.Context(), h, []byte("plan")))
	}
	w.feed(id.ForStage(batch.StagePlan), 0, 1)
	w.seal(id.ForStage(batch.StagePlan), 1)
	return id
}

// plan returns the planner's result, with n items.
func plan(l batch.Lease, n int) []statestore.Completion {
	c := succeeded(l)
	c.Items = payloads(0, n)
	return []statestore.Completion{c}
}

func (w *world) active() []batch.ID {
	w.Helper()
	active, err := w.store.Active(w.Context())
	require.NoError(w, err)
	return active
}

var planScenarios = []scenario{
	{"the commit of a plan feeds its batch once", func(w *world) {
		id := w.planned(batch.Budget{})
		assert.Equal(w, batch.Open, w.phase(id))
		assert.Empty(w, w.claim(id, "a", 4))
		lease := w.one(id.ForStage(batch.StagePlan), "a").Lease
		assert.Equal(w, batch.Done, w.finish(id.ForStage(batch.StagePlan), plan(lease, 3), statestore.Committed))
		assert.Equal(w, batch.Sealed, w.phase(id))
		w.finish(id.ForStage(batch.StagePlan), plan(lease, 3), statestore.Already) // the reply was lost
		c := w.counts(id)
		assert.EqualValues(w, 3, c.Total)
		wait := w.lease / 4
		w.pass(wait)
		jobs := w.claim(id, "b", 8)
		assert.Equal(w, []int64{0, 1, 2}, indexes(jobs))
		assert.GreaterOrEqual(w, jobs[2].Queued, wait-time.Millisecond, "they are queued since the plan was committed")
		assert.Equal(w, "1-0", jobs[0].Lease.Entry)
		w.finish(id.ForStage(batch.StagePlan), plan(lease, 3), statestore.Already)
		assert.Equal(w, batch.Done, w.finishAll(id, jobs))
		assert.Len(w, w.results(id), 3)
		assert.Len(w, w.results(id.ForStage(batch.StagePlan)), 1, "the plan is a separate result")
		queued := w.claimReducer(id.ForStage(batch.StageReduce), "a")
		require.Len(w, queued, 1)
		assert.JSONEq(w, `{"reduce":{"n":3}}`, string(queued[0].Payload))
	}},
	{"of two workers with a plan, the lease holder feeds the batch", func(w *world) {
		id := w.planned(batch.Budget{})
		first := w.one(id.ForStage(batch.StagePlan), "a").Lease
		second := w.takeover(id.ForStage(batch.StagePlan), "b", 1)[0].Lease
		w.finish(id.ForStage(batch.StagePlan), plan(first, 5), statestore.Fenced)
		assert.Equal(w, batch.Open, w.phase(id))
		w.finish(id.ForStage(batch.StagePlan), plan(second, 2), statestore.Committed)
		w.finish(id.ForStage(batch.StagePlan), plan(first, 5), statestore.Already)
		assert.EqualValues(w, 2, w.counts(id).Total)
	}},
	{"the longest plan is one commit", func(w *world) {
		const n = 10_000
		id := w.planned(batch.Budget{})
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "a").Lease, n), statestore.Committed)
		c := w.counts(id)
		assert.EqualValues(w, n, c.Total)
		assert.EqualValues(w, n, c.Waiting)
	}},
	{"a planner is not created without its batch", func(w *world) {
		id := statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
		h := batch.Header{ID: id.ForStage(batch.StagePlan), Name: "n", MaxAttempts: 3, TTL: time.Hour}
		require.ErrorIs(w, w.store.Create(w.Context(), h, []byte("plan")), statestore.ErrNotFound)
		_, err := w.store.Info(w.Context(), h.ID)
		require.ErrorIs(w, err, statestore.ErrNotFound)
	}},
	{"an empty plan ends the batch, and is reduced", func(w *world) {
		id := w.planned(batch.Budget{})
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "a").Lease, 0), statestore.Committed)
		assert.Equal(w, batch.Done, w.phase(id))
		queued := w.claimReducer(id.ForStage(batch.StageReduce), "a")
		require.Len(w, queued, 1)
		assert.JSONEq(w, `{"reduce":{"n":0}}`, string(queued[0].Payload))
		assert.Equal(w, batch.Done, w.finishAll(id.ForStage(batch.StageReduce), queued))
	}},
	{"a plan that fails ends the batch; a retry opens it again", func(w *world) {
		id := w.planned(batch.Budget{})
		for range 2 {
			lease := w.one(id.ForStage(batch.StagePlan), "a").Lease
			w.finish(id.ForStage(batch.StagePlan), []statestore.Completion{failed(lease, batch.PlanTooLarge)}, statestore.Committed)
			assert.Equal(w, batch.Done, w.phase(id))
			assert.EqualValues(w, 0, w.counts(id).Total)
			assert.Equal(w, batch.Done, w.phase(id.ForStage(batch.StageReduce)), "it has nothing to wait for")
			assert.Empty(w, w.results(id.ForStage(batch.StageReduce)))
			for _, b := range []batch.ID{id, id.ForStage(batch.StagePlan), id.ForStage(batch.StageReduce)} {
				require.NoError(w, w.store.Retire(w.Context(), b))
				require.NotContains(w, w.active(), b)
			}
			queued, err := w.store.Retry(w.Context(), id.ForStage(batch.StagePlan))
			require.NoError(w, err)
			require.EqualValues(w, 1, queued)
			assert.Equal(w, batch.Open, w.phase(id))
			assert.Subset(w, w.active(), []batch.ID{id, id.ForStage(batch.StagePlan), id.ForStage(batch.StageReduce)})
		}
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "b").Lease, 2), statestore.Committed)
		assert.Len(w, w.results(id.ForStage(batch.StagePlan)), 1)
		assert.Equal(w, batch.Done, w.finishAll(id, w.claim(id, "b", 2)))
		require.Len(w, w.claimReducer(id.ForStage(batch.StageReduce), "b"), 1)
		queued, err := w.store.Retry(w.Context(), id.ForStage(batch.StagePlan))
		require.NoError(w, err)
		assert.Zero(w, queued, "a finished plan does not run again")
	}},
	{"a plan that is cancelled ends the batch", func(w *world) {
		id := w.planned(batch.Budget{})
		_, err := w.store.Cancel(w.Context(), id.ForStage(batch.StagePlan))
		require.NoError(w, err)
		w.finish(id.ForStage(batch.StagePlan), []statestore.Completion{cancelled(w.one(id.ForStage(batch.StagePlan), "c").Lease)}, statestore.Committed)
		assert.Equal(w, batch.Done, w.phase(id))
		assert.Equal(w, batch.Done, w.phase(id.ForStage(batch.StageReduce)))
	}},
	{"a plan that arrives after a cancel adds no jobs", func(w *world) {
		id := w.planned(batch.Budget{})
		lease := w.one(id.ForStage(batch.StagePlan), "a").Lease
		phase, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		require.Equal(w, batch.Done, phase)
		w.finish(id.ForStage(batch.StagePlan), plan(lease, 3), statestore.Committed)
		assert.EqualValues(w, 0, w.counts(id).Total)
		assert.Empty(w, w.claim(id, "a", 3))
	}},
	{"a plan is kept as long as its batch", func(w *world) {
		id := w.planned(batch.Budget{})
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "a").Lease, 1), statestore.Committed)
		assert.Zero(w, w.check(id.ForStage(batch.StagePlan)).ExpiresAt)
		w.finish(id, []statestore.Completion{failed(w.one(id, "a").Lease, batch.Timeout)}, statestore.Committed)
		assert.NotZero(w, w.check(id.ForStage(batch.StagePlan)).ExpiresAt)
		_, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.Zero(w, w.check(id.ForStage(batch.StagePlan)).ExpiresAt)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.NotZero(w, w.check(id.ForStage(batch.StagePlan)).ExpiresAt)
	}},
	{"a budget counts all stages", func(w *world) {
		const stage = 107 // tokens of a job
		id := w.planned(batch.Budget{Tokens: 2 * stage})
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "a").Lease, 2), statestore.Committed)
		info := w.check(id)
		assert.EqualValues(w, stage, info.Used.Tokens)
		assert.False(w, info.Paused)
		w.finishAll(id, w.claim(id, "a", 1))
		assert.True(w, w.check(id).Paused)
		assert.Empty(w, w.claim(id, "a", 1))
		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 3 * stage}))
		w.finishAll(id, w.claim(id, "a", 1))
		assert.Empty(w, w.claimReducer(id.ForStage(batch.StageReduce), "a"))
		info = w.check(id.ForStage(batch.StageReduce))
		assert.True(w, info.Paused, "%+v", info)
		assert.EqualValues(w, 3*stage, info.Used.Tokens)
		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 3*stage + 1}))
		assert.Len(w, w.claimReducer(id.ForStage(batch.StageReduce), "a"), 1)
	}},
	{"removing all stages leaves nothing", func(w *world) {
		id := w.planned(batch.Budget{})
		w.finish(id.ForStage(batch.StagePlan), plan(w.one(id.ForStage(batch.StagePlan), "a").Lease, 1), statestore.Committed)
		w.finishAll(id, w.claim(id, "a", 1))
		w.finishAll(id.ForStage(batch.StageReduce), w.claimReducer(id.ForStage(batch.StageReduce), "a"))
		for _, b := range []batch.ID{id.ForStage(batch.StagePlan), id.ForStage(batch.StageReduce), id} {
			require.NoError(w, w.store.Remove(w.Context(), b))
		}
		assert.Empty(w, w.left(id), fmt.Sprint(w.keys(id)))
	}},
}
