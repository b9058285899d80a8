package statestore_test

import (
	"slices"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// grouped makes a sealed batch of groups with these sizes.
func (w *world) grouped(sizes ...int) batch.ID {
	w.Helper()
	id := w.create()
	w.feedGroups(id, sizes...)
	w.seal(id, sum(sizes))
	return id
}

func (w *world) feedGroups(id batch.ID, sizes ...int) {
	w.Helper()
	var indexes, rests []int64
	for _, size := range sizes {
		for rest := size - 1; rest >= 0; rest-- {
			indexes, rests = append(indexes, int64(len(indexes))), append(rests, int64(rest))
		}
	}
	fed, err := w.store.FeedSorted(w.Context(), id, 0, indexes, rests, payloads(0, len(indexes)))
	require.NoError(w, err)
	require.EqualValues(w, len(indexes), fed)
	w.check(id)
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// takes claims n jobs and requires their indexes.
func (w *world) takes(id batch.ID, consumer string, n int, want ...int64) []statestore.Claimed {
	w.Helper()
	jobs := w.claim(id, consumer, n)
	require.Equal(w, want, indexes(jobs), "claimed by %s", consumer)
	return jobs
}

var parkedScenarios = []scenario{
	{"a group stays with the worker that began it", func(w *world) {
		id := w.grouped(3, 4, 2, 1)
		w.takes(id, "a", 1, 0)
		w.takes(id, "b", 2, 3, 4)
		w.takes(id, "c", 1, 7)
		w.takes(id, "a", 1, 1)
		w.takes(id, "b", 1, 5)
		counts := w.counts(id)
		assert.EqualValues(w, 6, counts.Running)
		assert.EqualValues(w, 4, counts.Waiting, "parked jobs wait")
		w.takes(id, "a", 2, 2, 9) // the rest of its group, then a new one
		w.takes(id, "b", 1, 6)
		w.takes(id, "c", 1, 8)
		assert.Empty(w, w.claim(id, "a", 5))
	}},
	{"a claim that ends with a group parks nothing", func(w *world) {
		id := w.grouped(2, 3, 1)
		w.takes(id, "a", 2, 0, 1)
		w.takes(id, "b", 3, 2, 3, 4)
		w.takes(id, "a", 9, 5)
		assert.NotContains(w, w.keys(id), "ba:{"+string(id)+"}:parked")
	}},
	{"parked jobs have the time at which they were fed", func(w *world) {
		id := w.grouped(2)
		w.takes(id, "a", 1, 0)
		w.pass(w.lease / 10)
		job := w.takes(id, "a", 1, 1)[0]
		assert.GreaterOrEqual(w, job.Queued, w.lease/10)
		assert.Equal(w, 1, job.Lease.Attempt)
	}},
	{"released jobs and expired leases come before parked jobs", func(w *world) {
		id := w.grouped(4, 2)
		first := w.takes(id, "a", 1, 0)
		other := w.takes(id, "b", 1, 4)
		w.release(id, leases(other)...)
		w.takes(id, "a", 2, 4, 1)
		w.release(id, leases(first)...)
		w.takes(id, "b", 2, 0, 5) // released by a, and its own
	}},
	{"an idle worker takes the second half of the longest range", func(w *world) {
		id := w.grouped(9, 4)
		w.takes(id, "a", 1, 0) // 1 to 8 are parked
		w.takes(id, "b", 1, 9) // 10 to 12
		w.takes(id, "c", 1, 5) // 5 to 8 go to c, and 6 to 8 stay parked for it
		w.takes(id, "c", 1, 6)
		w.takes(id, "a", 1, 1) // 2 to 4
		w.takes(id, "d", 1, 4) // of equals, the first by name
		assert.ElementsMatch(w, []int64{2, 3, 7, 8, 10, 11, 12}, indexes(w.claim(id, "d", 9)))
		assert.Empty(w, w.claim(id, "a", 9), "nothing is parked any more")
		assert.EqualValues(w, 13, w.counts(id).Running)
	}},
	{"no worker takes parked jobs of a living one while new jobs wait", func(w *world) {
		id := w.grouped(slices.Concat([]int{5}, slices.Repeat([]int{1}, 20))...)
		own := leases(w.takes(id, "a", 1, 0))
		for next := int64(5); next < 25; next++ {
			w.finishAll(id, w.takes(id, "b", 1, next))
			w.pass(w.lease / 8)
			if next == 14 { // a renewal without leases is a sign of life, too
				w.finish(id, []statestore.Completion{succeeded(own[0])}, statestore.Committed)
				own = nil
			}
			_, fenced := w.renew(id, "a", own...)
			require.Empty(w, fenced)
		}
	}},
	{"parked jobs of a dead worker come before new ones", func(w *world) {
		id := w.grouped(slices.Concat([]int{4}, slices.Repeat([]int{1}, 200))...)
		w.takes(id, "a", 1, 0)
		var got []int64
		w.until(func() bool {
			jobs := w.claim(id, "c", 2)
			got = append(got, indexes(jobs)...)
			w.finishAll(id, jobs)
			return slices.Contains(got, 3)
		}, "the jobs of the dead worker")
		if w.fake { // a slow claim looks like an outage, after which no lease expires for a while
			at := slices.Index(got, 0)
			assert.Equal(w, []int64{0, 1, 2, 3}, got[at:at+4])
			assert.Less(w, len(got), 40)
		}
		assert.Equal(w, []int64{0, 1, 2, 3}, slices.DeleteFunc(got, func(i int64) bool { return i > 3 }))
	}},
	{"a worker that releases jobs gives its parked jobs up", func(w *world) {
		id := w.grouped(slices.Concat([]int{4}, slices.Repeat([]int{1}, 50))...)
		w.release(id, leases(w.takes(id, "a", 1, 0))...)
		w.finishAll(id, w.takes(id, "b", 1, 0))
		var got []int64
		w.until(func() bool {
			jobs := w.claim(id, "b", 1)
			got = append(got, indexes(jobs)...)
			w.finishAll(id, jobs)
			_, fenced := w.renew(id, "a") // a lives
			require.Empty(w, fenced)
			return slices.Contains(got, 3)
		}, "the parked jobs")
		if w.fake {
			assert.Less(w, len(got), 8)
		}
		assert.Equal(w, []int64{1, 2, 3}, slices.DeleteFunc(got, func(i int64) bool { return i > 3 }))
	}},
	{"a cancelled batch gives parked jobs to every worker", func(w *world) {
		id := w.grouped(6, 3)
		running := w.takes(id, "a", 1, 0)
		_, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		rest := w.claim(id, "b", 20)
		require.Len(w, rest, 8)
		done := []statestore.Completion{cancelled(running[0].Lease)}
		for _, j := range rest {
			done = append(done, cancelled(j.Lease))
		}
		phase := w.finish(id, done, slices.Repeat([]statestore.FinishOutcome{statestore.Committed}, 9)...)
		assert.Equal(w, batch.Done, phase)
		assert.NotContains(w, w.keys(id), "ba:{"+string(id)+"}:parked")
	}},
	{"a batch ends with its last parked job, and retries run", func(w *world) {
		id := w.grouped(3)
		first := w.takes(id, "a", 1, 0)
		w.finish(id, []statestore.Completion{failed(first[0].Lease, batch.Timeout)}, statestore.Committed)
		queued, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		require.EqualValues(w, 1, queued)
		w.finishAll(id, w.takes(id, "a", 1, 1))
		phase := w.finishAll(id, w.takes(id, "a", 2, 2, 0))
		assert.Equal(w, batch.Done, phase)
	}},
	{"a job that must run alone comes after parked jobs", func(w *world) {
		id := w.createAs(2, 1<<40)
		w.feedGroups(id, 1, 3)
		w.seal(id, 4)
		w.takes(id, "dead", 1, 0)
		var got []int64
		w.idle = true
		w.until(func() bool {
			jobs := w.claim(id, "b", 1)
			got = append(got, indexes(jobs)...)
			return len(jobs) > 0 && jobs[0].Alone
		}, "the last attempt")
		assert.Equal(w, []int64{1, 2, 3, 0}, got)
	}},
	{"parked jobs wait for the budget without a cost", func(w *world) {
		id := w.createWith(batch.Budget{Tokens: 100}, batch.Prices{})
		w.feedGroups(id, 3, 3)
		w.seal(id, 6)
		w.finishAll(id, w.takes(id, "a", 1, 0)) // 107 of 100
		info := w.info(id)
		assert.True(w, info.Paused)
		assert.EqualValues(w, 5, info.Counts.Waiting)
		assert.Empty(w, w.claim(id, "a", 9))
		assert.Empty(w, w.claim(id, "b", 9))
		require.NoError(w, w.store.SetBudget(w.Context(), id, batch.Budget{Tokens: 10_000}))
		w.takes(id, "b", 1, 3)
		w.takes(id, "a", 1, 1)
	}},
	{"a group that is only partly fed", func(w *world) {
		id := w.create()
		_, err := w.store.FeedSorted(w.Context(), id, 0, []int64{0, 1}, []int64{3, 2}, payloads(0, 2))
		require.NoError(w, err)
		w.takes(id, "a", 1, 0)
		_, err = w.store.FeedSorted(w.Context(), id, 0, []int64{0, 1, 2, 3}, []int64{3, 2, 1, 0}, payloads(0, 4))
		require.NoError(w, err)
		w.seal(id, 4)
		w.takes(id, "b", 1, 2)
		w.takes(id, "a", 2, 1, 3)
	}},
	{"a claim parks at most the limit", func(w *world) {
		id := w.grouped(statestore.MaxRest + 101)
		w.takes(id, "a", 1, 0)
		w.takes(id, "b", 1, statestore.MaxRest+1)
	}},
	{"a batch without groups has no parked jobs", func(w *world) {
		id := w.create()
		_, err := w.store.FeedSorted(w.Context(), id, 0, []int64{0, 1, 2}, []int64{0, 0, 0}, payloads(0, 3))
		require.NoError(w, err)
		w.seal(id, 3)
		w.takes(id, "a", 1, 0)
		entry, err := w.raw.XRange(w.Context(), "ba:{"+string(id)+"}:jobs", "2-0", "2-0").Result()
		require.NoError(w, err)
		assert.NotContains(w, entry[0].Values, "g")
		grouped, err := w.raw.HExists(w.Context(), "ba:{"+string(id)+"}:meta", "grouped").Result()
		require.NoError(w, err)
		assert.False(w, grouped)
	}},
}
