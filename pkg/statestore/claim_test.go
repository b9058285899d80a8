package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var claimScenarios = []scenario{
	{"claim gives new jobs in order, each once", func(w *world) {
		id := w.sealed(5)
		phase, first := w.claimPhase(id, "a", 2)
		assert.Equal(w, batch.Sealed, phase)
		assert.Equal(w, []int64{0, 1}, indexes(first))
		assert.Equal(w, []int64{2, 3}, indexes(w.claim(id, "b", 2)))
		assert.Equal(w, []int64{4}, indexes(w.claim(id, "a", 2)))
		assert.Empty(w, w.claim(id, "b", 2))
		c := w.counts(id)
		assert.EqualValues(w, 5, c.Running)
		assert.Zero(w, c.Takeovers)
		for _, j := range first {
			assert.Equal(w, 1, j.Lease.Attempt)
			assert.False(w, j.Exhausted)
			assert.Empty(w, j.Journal)
		}
	}},
	{"a claim reports how long the job waited without a lease", func(w *world) {
		id := w.create()
		w.feed(id, 0, 1)
		wait := w.lease / 4
		w.pass(wait)
		w.feed(id, 1, 1)
		w.seal(id, 2)
		jobs := w.claim(id, "a", 2)
		require.Len(w, jobs, 2)
		queued := func(c statestore.Claimed, least time.Duration, what string) {
			w.Helper()
			assert.GreaterOrEqual(w, c.Queued, least.Truncate(time.Millisecond)-time.Millisecond, what)
			if w.fake {
				assert.Less(w, c.Queued, least+wait/2, what)
			}
		}
		queued(jobs[0], wait, "since it was fed")
		queued(jobs[1], 0, "since it was fed, after the other")

		w.pass(wait) // its first attempt does not count
		w.release(id, jobs[0].Lease)
		w.pass(2 * wait)
		back := w.one(id, "b")
		queued(back, 2*wait, "since it was released")

		w.finish(id, []statestore.Completion{failed(back.Lease, batch.Timeout)}, statestore.Committed)
		_, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		w.pass(wait)
		queued(w.one(id, "c"), wait, "since it was retried")

		taken := w.takeover(id, "d", 2)
		require.NotEmpty(w, taken)
		for _, c := range taken {
			assert.Zero(w, c.Queued, "an expired lease is not queueing")
		}
	}},
	{"an open batch gives jobs as they are fed", func(w *world) {
		id := w.create()
		phase, jobs := w.claimPhase(id, "a", 1)
		assert.Equal(w, batch.Open, phase)
		assert.Empty(w, jobs)
		w.feed(id, 0, 1)
		assert.Equal(w, []int64{0}, indexes(w.claim(id, "a", 5)))
	}},
	{"released jobs come before expired ones, and those before new ones", func(w *world) {
		if !w.fake { // on a busy machine a pause of 300 ms between two calls is an outage, after which no lease is taken over
			w.lease = 2 * time.Second
		}
		id := w.sealed(6)
		lapsed := w.claim(id, "dead", 2) // 0 and 1
		var back []statestore.Claimed
		w.until(func() bool { // wait for the lease to expire, and stay in touch through leases that are released at once
			back = append(back, w.claim(id, "b", 1)...)
			return len(back) == 2
		}, "two more jobs")
		renewed := leases(back)
		start := time.Now()
		w.until(func() bool {
			_, fenced := w.renew(id, "b", renewed...)
			require.Empty(w, fenced)
			return time.Since(start) > w.lease+w.lease/2
		}, "the first leases to expire")
		w.release(id, back[1].Lease, back[0].Lease)
		got := indexes(w.claim(id, "c", 5))
		assert.Equal(w, []int64{3, 2, 0, 1, 4}, got, "released in their order, then expired, then new")
		assert.Len(w, lapsed, 2)
		assert.EqualValues(w, 2, w.counts(id).Takeovers, "releases are no takeovers")
	}},
	{"tokens grow with every claim", func(w *world) {
		id := w.sealed(3)
		var last int64
		for range 5 {
			jobs := w.claim(id, "a", 3)
			require.Len(w, jobs, 3)
			for _, j := range jobs {
				assert.Greater(w, j.Lease.Token, last)
				last = j.Lease.Token
			}
			w.release(id, leases(jobs)...)
		}
	}},
	{"a takeover returns the journal and counts an attempt", func(w *world) {
		id := w.sealed(1)
		before := time.Now()
		a := w.one(id, "a")
		w.checkpoint(a.Lease, 1, "turn one")
		w.checkpoint(a.Lease, 2, "turn two")
		b := w.takeover(id, "b", 1)[0]
		assert.GreaterOrEqual(w, time.Since(before), w.lease)
		if w.fake {
			assert.Less(w, time.Since(before), w.lease+w.lease/2)
		}
		assert.Equal(w, 2, b.Lease.Attempt)
		assert.Greater(w, b.Lease.Token, a.Lease.Token)
		assert.Equal(w, []string{"turn one", "turn two"}, turns(b))
		assert.EqualValues(w, 1, w.counts(id).Takeovers)

		// Every call of the former holder is fenced, and its writes are dropped.
		assert.ErrorIs(w, w.store.Checkpoint(w.Context(), a.Lease, 3, []byte("x")), statestore.ErrFenced)
		_, fenced := w.renew(id, "a", a.Lease)
		assert.Equal(w, []batch.Lease{a.Lease}, fenced)
		w.release(id, a.Lease)
		w.finish(id, []statestore.Completion{succeeded(a.Lease)}, statestore.Fenced)
		assert.Empty(w, w.results(id))
		_, fenced = w.renew(id, "b", b.Lease)
		assert.Empty(w, fenced, "the holder is unaffected")
		assert.Equal(w, batch.Done, w.finishAll(id, []statestore.Claimed{b}))
		w.finish(id, []statestore.Completion{succeeded(a.Lease)}, statestore.Already)
		assert.Len(w, w.results(id), 1)
	}},
	{"a worker may take over its own expired job, under a new token", func(w *world) {
		id := w.sealed(1)
		a := w.one(id, "a")
		again := w.takeover(id, "a", 1)[0]
		assert.Greater(w, again.Lease.Token, a.Lease.Token)
		_, fenced := w.renew(id, "a", a.Lease, again.Lease)
		assert.Equal(w, []batch.Lease{a.Lease}, fenced)
	}},
	{"many expired leases are taken over in small claims", func(w *world) {
		id := w.sealed(20)
		require.Len(w, w.claim(id, "dead", 20), 20)
		var got []statestore.Claimed
		w.until(func() bool {
			got = append(got, w.claim(id, "b", 3)...)
			renewAll(w, id, "b", got)
			return len(got) == 20
		}, "20 takeovers")
		seen := map[int64]bool{}
		for _, j := range got {
			assert.False(w, seen[j.Lease.Job.Index], "job %d came twice", j.Lease.Job.Index)
			seen[j.Lease.Job.Index] = true
			assert.Equal(w, 2, j.Lease.Attempt)
		}
		assert.Equal(w, batch.Done, w.finishAll(id, got))
	}},
	{"a job that used up its attempts is exhausted", func(w *world) {
		w.idle = true
		id := w.createAs(2, time.Hour)
		w.feed(id, 0, 1)
		w.seal(id, 1)
		assert.Equal(w, 1, w.one(id, "a").Lease.Attempt)
		second := w.takeover(id, "b", 1)[0]
		assert.Equal(w, 2, second.Lease.Attempt)
		assert.False(w, second.Exhausted, "the last attempt may run")
		third := w.takeover(id, "c", 1)[0]
		assert.True(w, third.Exhausted)
		assert.Equal(w, 2, third.Lease.Attempt, "I5: attempts never exceed the limit")

		w.release(id, third.Lease)
		fourth := w.one(id, "d")
		assert.True(w, fourth.Exhausted, "a release gives back no attempt that was not started")
		fifth := w.takeover(id, "e", 1)[0]
		assert.True(w, fifth.Exhausted)
		assert.Equal(w, batch.Done, w.finish(id, []statestore.Completion{failed(fifth.Lease, batch.WorkerLost)}, statestore.Committed))

		n, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.EqualValues(w, 1, n)
		sixth := w.one(id, "f")
		assert.False(w, sixth.Exhausted, "retry restarts the count")
		assert.Equal(w, 1, sixth.Lease.Attempt)
		w.release(id, sixth.Lease)
		assert.Equal(w, 1, w.one(id, "f").Lease.Attempt, "a release gives its attempt back again")
	}},
	{"a claim returns the phase of a batch that is being cancelled", func(w *world) {
		id := w.sealed(2)
		running := w.one(id, "a")
		phase, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		assert.Equal(w, batch.Cancelling, phase)
		phase, jobs := w.claimPhase(id, "b", 5)
		assert.Equal(w, batch.Cancelling, phase)
		assert.Equal(w, []int64{1}, indexes(jobs))
		phase, fenced := w.renew(id, "a", running.Lease)
		assert.Equal(w, batch.Cancelling, phase, "heartbeats return it too")
		assert.Empty(w, fenced)
	}},
	{"a batch that is done gives no jobs", func(w *world) {
		id := w.sealed(1)
		w.finishAll(id, w.claim(id, "a", 1))
		phase, jobs := w.claimPhase(id, "b", 5)
		assert.Equal(w, batch.Done, phase)
		assert.Empty(w, jobs)
		held, err := w.store.Held(w.Context(), id, "a", 10)
		require.NoError(w, err)
		assert.Empty(w, held)
	}},
	{"held lists what a lost claim leased, and a release repairs it", func(w *world) {
		id := w.sealed(4)
		known := w.claim(id, "a", 1)
		lost := w.claim(id, "a", 2) // this reply is lost
		w.claim(id, "b", 1)
		held, err := w.store.Held(w.Context(), id, "a", 10)
		require.NoError(w, err)
		assert.ElementsMatch(w, append(leases(known), leases(lost)...), held)
		w.release(id, held[1:]...)
		held, err = w.store.Held(w.Context(), id, "a", 10)
		require.NoError(w, err)
		assert.Equal(w, leases(known), held, "released ones are not held")
		again := w.claim(id, "c", 5)
		assert.Equal(w, []int64{1, 2}, indexes(again))
		for _, j := range again {
			assert.Equal(w, 1, j.Lease.Attempt, "I5: no attempt was counted")
		}
		held, err = w.store.Held(w.Context(), id, "a", 10)
		require.NoError(w, err)
		assert.Equal(w, leases(known), held)
	}},
	{"held finds leases behind released ones", func(w *world) {
		id := w.sealed(10)
		back := w.claim(id, "a", 8)
		lost := w.claim(id, "a", 2)
		w.release(id, leases(back)...)
		held, err := w.store.Held(w.Context(), id, "a", 3)
		require.NoError(w, err)
		assert.ElementsMatch(w, leases(lost), held)
		held, err = w.store.Held(w.Context(), id, "a", 1)
		require.NoError(w, err)
		assert.Len(w, held, 1, "the limit applies")
	}},
	{"retire takes only ended batches off the list", func(w *world) {
		live, done, gone := w.sealed(1), w.create(), statestore.NewID(time.Now())
		w.seal(done, 0)
		require.NoError(w, w.raw.SAdd(w.Context(), "ba:active", string(gone)).Err())
		for range 2 {
			for _, id := range []batch.ID{live, done, gone} {
				require.NoError(w, w.store.Retire(w.Context(), id))
			}
			active, err := w.store.Active(w.Context())
			require.NoError(w, err)
			assert.Equal(w, []batch.ID{live}, active)
		}
	}},
	{"active lists batches by age", func(w *world) {
		ids := []batch.ID{w.create(), w.create(), w.create()}
		active, err := w.store.Active(w.Context())
		require.NoError(w, err)
		assert.Equal(w, ids, active)
	}},
}

func renewAll(w *world, id batch.ID, consumer string, jobs []statestore.Claimed) {
	w.Helper()
	_, fenced := w.renew(id, consumer, leases(jobs)...)
	require.Empty(w, fenced)
}
