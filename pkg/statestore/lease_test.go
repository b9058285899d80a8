package statestore_test

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var leaseScenarios = []scenario{
	{"renewing keeps a job from being taken over", func(w *world) {
		id := w.sealed(2)
		a := w.claim(id, "a", 2)
		start := time.Now()
		for time.Since(start) < 3*w.lease {
			phase, fenced := w.renew(id, "a", leases(a)...)
			require.Equal(w, batch.Sealed, phase)
			require.Empty(w, fenced)
			require.Empty(w, w.claim(id, "b", 2))
			w.pass(w.lease / 5)
		}
		assert.Zero(w, w.counts(id).Takeovers)
		assert.Equal(w, batch.Done, w.finishAll(id, a))
	}},
	{"renewing many leases at once", func(w *world) {
		const n = 1100 // more than the limit of one script call
		id := w.create()
		for from := 0; from < n; from += 100 {
			w.feed(id, from, 100)
		}
		var all []batch.Lease
		for len(all) < n {
			all = append(all, leases(w.claim(id, "a", statestore.MaxClaim))...)
		}
		w.release(id, all[3], all[1050])
		phase, fenced := w.renew(id, "a", all...)
		assert.Equal(w, batch.Open, phase)
		assert.Equal(w, []batch.Lease{all[3], all[1050]}, fenced)
		w.release(id, all...)
		assert.EqualValues(w, n, w.counts(id).Waiting)
	}},
	{"a former holder's renewal does not steal the job back", func(w *world) {
		id := w.sealed(1)
		a := w.one(id, "a")
		b := w.takeover(id, "b", 1)[0]
		_, fenced := w.renew(id, "a", a.Lease)
		require.Len(w, fenced, 1)
		held, err := w.store.Held(w.Context(), id, "b", 10)
		require.NoError(w, err)
		assert.Equal(w, []batch.Lease{b.Lease}, held)
		held, err = w.store.Held(w.Context(), id, "a", 10)
		require.NoError(w, err)
		assert.Empty(w, held)
	}},
	{"an outage does not expire leases", func(w *world) {
		id := w.sealed(2)
		a := w.claim(id, "a", 2)
		w.pass(w.lease + w.lease/2) // no worker reaches Redis for longer than a lease

		back := time.Now()
		require.Empty(w, w.claim(id, "b", 2), "the first worker back must not take over at once")
		_, fenced := w.renew(id, "a", a[0].Lease)
		require.Empty(w, fenced, "the holder comes back and still holds")
		var got []statestore.Claimed
		w.until(func() bool {
			_, fenced := w.renew(id, "a", a[0].Lease)
			require.Empty(w, fenced)
			got = w.claim(id, "b", 2)
			return len(got) > 0
		}, "the job of the holder that did not come back")
		assert.Equal(w, []int64{1}, indexes(got))
		// Redis' clock has a resolution of one millisecond.
		assert.GreaterOrEqual(w, time.Since(back), w.lease-2*time.Millisecond)
		if w.fake {
			assert.Less(w, time.Since(back), w.lease+w.lease/2)
		}
	}},
	{"a short silence is no outage", func(w *world) {
		if !w.fake {
			// A busy machine may stretch a pause. Only the bubble can test this rule.
			w.lease = 2 * time.Second
		}
		id := w.sealed(1)
		w.one(id, "a")
		start := time.Now()
		for time.Since(start) < w.lease {
			require.Empty(w, w.claim(id, "b", 1))
			w.pass(w.lease / 4)
		}
		got := w.takeover(id, "b", 1)
		assert.Equal(w, []int64{0}, indexes(got))
		if w.fake {
			assert.Less(w, time.Since(start), w.lease+w.lease/2)
		}
	}},
	{"checkpoints are contiguous, each once", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		l := jobs[0].Lease
		turn := func(n int, data string) error { return w.store.Checkpoint(w.Context(), l, n, []byte(data)) }
		assert.ErrorIs(w, turn(2, "two"), statestore.ErrConflict, "a turn is missing")
		require.NoError(w, turn(1, "one"))
		require.NoError(w, turn(1, "one"), "a repeat")
		require.NoError(w, turn(2, "two"))
		require.NoError(w, turn(1, "one"), "a late repeat")
		assert.ErrorIs(w, turn(4, "four"), statestore.ErrConflict)
		assert.ErrorContains(w, turn(4, "four"), l.Job.String())
		require.NoError(w, turn(3, "three"))
		w.checkpoint(jobs[1].Lease, 1, "of the other job")

		w.release(id, l)
		assert.ErrorIs(w, turn(4, "four"), statestore.ErrFenced)
		assert.Equal(w, []string{"one", "two", "three"}, turns(w.one(id, "b")))
	}},
	{"turns are bytes", func(w *world) {
		id := w.sealed(1)
		a := w.one(id, "a")
		want := []string{"", "\x00", "a\x00b\r\n", "ąę€\U0001F600", "\xff\xfe", string(make([]byte, 100_000))}
		for i, data := range want {
			w.checkpoint(a.Lease, i+1, data)
		}
		w.release(id, a.Lease)
		assert.Equal(w, want, turns(w.one(id, "b")))
	}},
	{"released jobs come back in order, with their journal and their attempt", func(w *world) {
		id := w.sealed(4)
		a := w.claim(id, "a", 3)
		w.checkpoint(a[1].Lease, 1, "one")
		w.release(id, a[2].Lease, a[0].Lease)
		w.release(id, a[1].Lease)
		c := w.counts(id)
		assert.EqualValues(w, 4, c.Waiting)
		assert.Zero(w, c.Running)
		got := w.claim(id, "b", 10)
		assert.Equal(w, []int64{2, 0, 1, 3}, indexes(got))
		assert.Equal(w, []string{"one"}, turns(got[2]))
		for _, j := range got {
			assert.Equal(w, 1, j.Lease.Attempt)
		}
		assert.Zero(w, w.counts(id).Takeovers)
	}},
	{"a job released twice comes back once", func(w *world) {
		id := w.sealed(2)
		a := w.one(id, "a")
		w.release(id, a.Lease, a.Lease)
		w.release(id, a.Lease)
		assert.Equal(w, []int64{0, 1}, indexes(w.claim(id, "b", 5)))
		w.release(id, a.Lease)
		assert.Empty(w, w.claim(id, "c", 5), "a stale release takes nothing from the holder")
		assert.EqualValues(w, 2, w.counts(id).Running)
	}},
	{"a note of a job that no longer waits is skipped", func(w *world) {
		id := w.sealed(2)
		a := w.one(id, "a")
		w.release(id, a.Lease)
		require.NoError(w, w.raw.RPush(w.Context(), "ba:{"+string(id)+"}:back", "1-0 0").Err())
		first := w.one(id, "b")
		require.Equal(w, int64(0), first.Lease.Job.Index)
		assert.Equal(w, []int64{1}, indexes(w.claim(id, "c", 5)), "the second note is stale")
		_, fenced := w.renew(id, "b", first.Lease)
		assert.Empty(w, fenced)
	}},
	{"a released job that waits does not expire", func(w *world) {
		id := w.sealed(1)
		w.release(id, w.one(id, "a").Lease)
		w.pass(3 * w.lease)
		j := w.one(id, "b")
		assert.Equal(w, 1, j.Lease.Attempt)
		assert.Zero(w, w.counts(id).Takeovers)
		w.pass(w.lease / 10)
		assert.Empty(w, w.claim(id, "c", 1), "the new holder's lease is fresh")
	}},
}
