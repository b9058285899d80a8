package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// suspects makes a batch of n jobs with two attempts each. A worker took all of them and died, so they wait to run alone.
func (w *world) suspects(n int) batch.ID {
	w.Helper()
	id := w.createAs(2, time.Hour)
	w.feed(id, 0, n)
	w.seal(id, n)
	require.Len(w, w.claim(id, "dead", n), n)
	w.until(func() bool {
		require.Empty(w, w.claim(id, "busy", n), "a last attempt beside other jobs")
		return w.counts(id).Takeovers == int64(n)
	}, "%d leases to expire", n)
	return id
}

func (w *world) claimAlone(id batch.ID, consumer string, n int) []statestore.Claimed {
	w.Helper()
	w.idle = true
	defer func() { w.idle = false }()
	return w.claim(id, consumer, n)
}

func (w *world) volunteers(id batch.ID, consumer string) bool {
	w.Helper()
	yes, err := w.store.Volunteer(w.Context(), id, consumer, w.lease)
	require.NoError(w, err)
	return yes
}

var aloneScenarios = []scenario{
	{"a last attempt goes to an idle worker, one at a time", func(w *world) {
		id := w.suspects(3)
		assert.EqualValues(w, 3, w.counts(id).Waiting)
		for range 3 {
			jobs := w.claimAlone(id, "idle", 10)
			require.Len(w, jobs, 1)
			assert.True(w, jobs[0].Alone)
			assert.False(w, jobs[0].Exhausted)
			assert.Equal(w, 2, jobs[0].Lease.Attempt)
			w.finishAll(id, jobs)
		}
		assert.Equal(w, batch.Done, w.check(id).Phase)
		assert.Len(w, w.results(id), 3)
		assert.NotContains(w, w.keys(id), "ba:{"+string(id)+"}:alone")
	}},
	{"other jobs come first, without those that must run alone", func(w *world) {
		id := w.createAs(2, time.Hour)
		w.feed(id, 0, 1)
		w.one(id, "dead")
		w.until(func() bool { w.claim(id, "busy", 5); return w.counts(id).Takeovers == 1 }, "the lease to expire")
		w.feed(id, 1, 3)
		w.seal(id, 4)
		jobs := w.claimAlone(id, "idle", 10)
		assert.Equal(w, []int64{1, 2, 3}, indexes(jobs))
		for _, j := range jobs {
			assert.False(w, j.Alone)
		}
		w.finishAll(id, jobs)
		assert.Equal(w, []int64{0}, indexes(w.claimAlone(id, "idle", 10)))
	}},
	{"a worker that dies with a job that runs alone uses up only the attempts of that job", func(w *world) {
		id := w.suspects(2)
		poison := w.claimAlone(id, "second", 1)
		require.Len(w, poison, 1)
		lost := w.takeover(id, "third", 1) // it does not run, so other jobs may be beside it
		assert.True(w, lost[0].Exhausted)
		assert.Equal(w, poison[0].Lease.Job, lost[0].Lease.Job)
		w.finish(id, []statestore.Completion{failed(lost[0].Lease, batch.WorkerLost)}, statestore.Committed)
		assert.Equal(w, batch.Done, w.finishAll(id, w.claimAlone(id, "third", 1)))
	}},
	{"a released last attempt waits to run alone again", func(w *world) {
		id := w.suspects(1)
		last := w.claimAlone(id, "a", 1)
		require.Len(w, last, 1)
		w.release(id, last[0].Lease)
		assert.Empty(w, w.claim(id, "b", 1))
		assert.EqualValues(w, 1, w.counts(id).Waiting)
		again := w.claimAlone(id, "b", 1)
		require.Len(w, again, 1)
		assert.True(w, again[0].Alone)
		assert.Equal(w, 2, again[0].Lease.Attempt, "I5: a release counts no attempt")
	}},
	{"a worker that only seemed dead is fenced, and its job resumes from the journal", func(w *world) {
		id := w.createAs(2, time.Hour)
		w.feed(id, 0, 1)
		w.seal(id, 1)
		stale := w.one(id, "stalled")
		w.checkpoint(stale.Lease, 1, "one")
		w.until(func() bool { w.claim(id, "busy", 1); return w.counts(id).Takeovers == 1 }, "the lease to expire")
		assert.ErrorIs(w, w.store.Checkpoint(w.Context(), stale.Lease, 2, []byte("late")), statestore.ErrFenced)
		_, fenced := w.renew(id, "stalled", stale.Lease)
		assert.Len(w, fenced, 1)
		w.release(id, stale.Lease)
		w.finish(id, []statestore.Completion{succeeded(stale.Lease)}, statestore.Fenced)
		jobs := w.claimAlone(id, "idle", 1)
		require.Len(w, jobs, 1)
		assert.Equal(w, []string{"one"}, turns(jobs[0]))
		assert.Equal(w, batch.Done, w.finishAll(id, jobs))
	}},
	{"cancel ends jobs that wait to run alone", func(w *world) {
		id := w.suspects(3)
		assert.True(w, w.volunteers(id, "a"))
		_, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		assert.False(w, w.volunteers(id, "a"), "they do not run, so no worker must be free for them")
		jobs := w.claim(id, "anybody", 10)
		require.Len(w, jobs, 3)
		done := make([]statestore.Completion, len(jobs))
		for i, j := range jobs {
			done[i] = cancelled(j.Lease)
		}
		assert.Equal(w, batch.Done, w.finish(id, done, statestore.Committed, statestore.Committed, statestore.Committed))
	}},
	{"a retried job may run beside others", func(w *world) {
		id := w.suspects(1)
		last := w.claimAlone(id, "a", 1)
		w.finish(id, []statestore.Completion{failed(last[0].Lease, batch.Timeout)}, statestore.Committed)
		_, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		again := w.one(id, "b")
		assert.False(w, again.Alone)
		assert.Equal(w, 1, again.Lease.Attempt)
	}},
	{"with one attempt allowed, no job runs alone", func(w *world) {
		id := w.createAs(1, time.Hour)
		w.feed(id, 0, 2)
		w.seal(id, 2)
		jobs := w.claim(id, "a", 2)
		require.Len(w, jobs, 2)
		w.release(id, jobs[0].Lease)
		assert.False(w, w.one(id, "b").Alone)
	}},
	{"one busy worker volunteers, until it is silent for two leases", func(w *world) {
		id := w.suspects(1)
		assert.True(w, w.volunteers(id, "a"))
		assert.False(w, w.volunteers(id, "b"))
		assert.True(w, w.volunteers(id, "a"), "it renews its turn")
		w.pass(2*w.lease + w.lease/10)
		assert.True(w, w.volunteers(id, "b"))
		assert.False(w, w.volunteers(id, "a"))
		require.Len(w, w.claimAlone(id, "b", 1), 1)
		assert.False(w, w.volunteers(id, "b"), "no job waits")
		assert.False(w, w.volunteers(statestore.NewID(time.Now()), "b"), "the batch does not exist")
	}},
}
