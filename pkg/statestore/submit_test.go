package statestore_test

import (
	"errors"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var submitScenarios = []scenario{
	{"create makes an open batch once", func(w *world) {
		h := batch.Header{
			ID: statestore.NewID(time.Now()), Name: "review", Owner: "ann", Priority: 7, Model: "m", Tools: []string{"read_file"},
			MaxAttempts: 4, TTL: 90 * time.Minute,
		}
		require.NoError(w, w.store.Create(w.Context(), h, []byte("plan one")))
		require.NoError(w, w.store.Create(w.Context(), batch.Header{ID: h.ID, Name: "another"}, []byte("plan two")))

		got, err := w.store.Header(w.Context(), h.ID)
		require.NoError(w, err)
		assert.Equal(w, h, got)
		plan, err := w.store.Plan(w.Context(), h.ID)
		require.NoError(w, err)
		assert.Equal(w, "plan one", string(plan))
		info := w.check(h.ID)
		assert.Equal(w, h, info.Header)
		assert.Equal(w, batch.Open, info.Phase)
		assert.WithinDuration(w, time.Now(), info.CreatedAt, time.Minute)
		active, err := w.store.Active(w.Context())
		require.NoError(w, err)
		assert.Equal(w, []batch.ID{h.ID}, active)
	}},
	{"a repeated create does not reopen a batch that is done", func(w *world) {
		id := w.sealed(1)
		require.Equal(w, batch.Done, w.finishAll(id, w.claim(id, "a", 1)))
		require.NoError(w, w.store.Create(w.Context(), batch.Header{ID: id, MaxAttempts: 1, TTL: time.Hour}, nil))
		assert.Equal(w, batch.Done, w.check(id).Phase)
	}},
	{"methods refuse a batch that does not exist", func(w *world) {
		id := statestore.NewID(time.Now())
		lease := batch.Lease{Job: batch.Job{Batch: id}, Entry: "1-0", Token: 1, Attempt: 1, Holder: "a"}
		ctx := w.Context()
		for name, err := range map[string]error{
			"phase":  second(w.store.Phase(ctx, id)),
			"plan":   second(w.store.Plan(ctx, id)),
			"header": second(w.store.Header(ctx, id)),
			"info":   second(w.store.Info(ctx, id)),
			"feed":   second(w.store.Feed(ctx, id, 0, payloads(0, 1))),
			"seal":   second(w.store.Seal(ctx, id, 0)),
			"cancel": second(w.store.Cancel(ctx, id)),
			"retry":  second(w.store.Retry(ctx, id)),
			"remove": w.store.Remove(ctx, id),
			"claim": func() error {
				_, _, err := w.store.Claim(ctx, statestore.ClaimParams{Batch: id, Consumer: "a", Count: 1, Lease: w.lease})
				return err
			}(),
		} {
			assert.ErrorIs(w, err, statestore.ErrNotFound, name)
			assert.ErrorContains(w, err, string(id), name)
		}
		held, err := w.store.Held(ctx, id, "a", 10)
		require.NoError(w, err)
		assert.Empty(w, held)
		phase, fenced := w.renew(id, "a", lease)
		assert.Empty(w, phase)
		assert.Equal(w, []batch.Lease{lease}, fenced)
		assert.ErrorIs(w, w.store.Checkpoint(ctx, lease, 1, nil), statestore.ErrFenced)
		assert.NoError(w, w.store.Release(ctx, id, []batch.Lease{lease}))
		assert.Empty(w, w.finish(id, []statestore.Completion{succeeded(lease)}, statestore.Fenced))
		results, err := w.store.Results(ctx, id, 0, 10)
		require.NoError(w, err)
		assert.Empty(w, results)
		assert.Empty(w, w.left(id), "no key may be created")
	}},
	{"feed skips existing jobs and refuses gaps", func(w *world) {
		id := w.create()
		w.feed(id, 0, 3)
		for _, c := range []struct {
			from, n int
			want    int64
			err     error
		}{
			{0, 3, 3, nil},                      // a repeat
			{1, 1, 3, nil},                      // inside
			{2, 3, 5, nil},                      // overlaps the end
			{5, 0, 5, nil},                      // nothing
			{6, 1, 5, statestore.ErrConflict},   // a gap
			{5, 1, 6, nil},                      // the gap is filled
			{100, 0, 6, statestore.ErrConflict}, // an empty chunk behind a gap
		} {
			fed, err := w.store.Feed(w.Context(), id, int64(c.from), payloads(c.from, c.n))
			assert.ErrorIs(w, err, c.err, "%+v", c)
			assert.Equal(w, c.want, fed, "%+v", c)
			assert.Equal(w, c.want, w.counts(id).Fed, "%+v", c)
		}
		assert.Equal(w, []int64{0, 1, 2, 3, 4, 5}, indexes(w.claim(id, "a", 100)), "each job once, with its own payload")
	}},
	{"feed in another order keeps indexes", func(w *world) {
		id := w.create()
		indexes, inputs := []int64{7, 2, 0, 5, 1, 3, 6, 4}, [][]byte{}
		for _, i := range indexes {
			inputs = append(inputs, payloads(int(i), 1)...)
		}
		feed := func(from, to int) {
			fed, err := w.store.FeedSorted(w.Context(), id, int64(from), indexes[from:to], nil, inputs[from:to])
			require.NoError(w, err)
			require.EqualValues(w, max(to, int(w.counts(id).Fed)), fed)
		}
		feed(0, 3)
		feed(1, 5) // overlaps what is in
		feed(0, 5) // a repeat
		feed(5, 8)
		w.seal(id, len(indexes))
		jobs := w.claim(id, "a", 100)
		require.Len(w, jobs, len(indexes))
		for n, job := range jobs {
			assert.Equal(w, indexes[n], job.Lease.Job.Index, "jobs are claimed in the order in which they were fed")
			assert.Equal(w, string(inputs[n]), string(job.Payload))
		}
		w.finishAll(id, jobs)
		assert.Len(w, w.results(id), len(indexes))
	}},
	{"a batch that is cancelled while it is fed in another order", func(w *world) {
		id := w.create()
		_, err := w.store.FeedSorted(w.Context(), id, 0, []int64{9, 4}, nil, append(payloads(9, 1), payloads(4, 1)...))
		require.NoError(w, err)
		phase, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		require.Equal(w, batch.Cancelling, phase)
		w.finishAll(id, w.claim(id, "a", 10))
		results := w.results(id)
		assert.Len(w, results, 2)
		assert.Contains(w, results, int64(9))
	}},
	{"a full chunk is fed and claimed whole", func(w *world) {
		id := w.create()
		w.feed(id, 0, statestore.MaxFeedJobs)
		w.seal(id, statestore.MaxFeedJobs)
		first := w.claim(id, "a", statestore.MaxClaim)
		assert.Len(w, first, statestore.MaxClaim)
		_, all, err := w.store.Claim(w.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: 10_000, Lease: w.lease})
		require.NoError(w, err)
		assert.Len(w, all, statestore.MaxFeedJobs-statestore.MaxClaim, "the rest of the jobs")
		w.release(id, append(leases(first), leases(all)...)...)
		_, fenced := w.renew(id, "a", leases(first)...)
		assert.Len(w, fenced, statestore.MaxClaim)
		assert.EqualValues(w, statestore.MaxFeedJobs, w.counts(id).Waiting)
	}},
	{"payloads are bytes", func(w *world) {
		id := w.create()
		want := [][]byte{{}, {0}, []byte("a\x00b\nc\r\n"), []byte("ąę €\U0001F600"), {0xff, 0xfe, 0}, []byte("12 34"), []byte("%d|\t")}
		_, err := w.store.Feed(w.Context(), id, 0, want)
		require.NoError(w, err)
		_, jobs, err := w.store.Claim(w.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: 100, Lease: w.lease})
		require.NoError(w, err)
		require.Len(w, jobs, len(want))
		done := make([]statestore.Completion, len(jobs))
		for i, j := range jobs {
			assert.Equal(w, want[i], j.Payload)
			done[i] = failed(j.Lease, batch.Timeout)
		}
		_, err = w.store.Seal(w.Context(), id, int64(len(want)))
		require.NoError(w, err)
		_, _, err = w.store.Finish(w.Context(), id, done)
		require.NoError(w, err)
		// A failed job's payload passes through one more place: the hash that retry reads it from.
		_, err = w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		_, jobs, err = w.store.Claim(w.Context(), statestore.ClaimParams{Batch: id, Consumer: "a", Count: 100, Lease: w.lease})
		require.NoError(w, err)
		require.Len(w, jobs, len(want))
		for i, j := range jobs {
			assert.Equal(w, want[i], j.Payload)
		}
	}},
	{"seal requires the number of fed jobs", func(w *world) {
		id := w.create()
		w.feed(id, 0, 2)
		for _, wrong := range []int64{0, 1, 3} {
			phase, err := w.store.Seal(w.Context(), id, wrong)
			assert.ErrorIs(w, err, statestore.ErrConflict)
			assert.ErrorContains(w, err, "it has 2")
			assert.Equal(w, batch.Open, phase)
		}
		assert.Equal(w, batch.Sealed, w.seal(id, 2))
		assert.Equal(w, batch.Sealed, w.seal(id, 2), "a repeat")
		_, err := w.store.Seal(w.Context(), id, 3)
		assert.ErrorIs(w, err, statestore.ErrConflict)
		fed, err := w.store.Feed(w.Context(), id, 2, payloads(2, 1))
		assert.ErrorIs(w, err, statestore.ErrConflict, "the batch is no longer open")
		assert.EqualValues(w, 2, fed)
		assert.EqualValues(w, 2, w.counts(id).Total)
	}},
	{"seal ends a batch without jobs, and one whose jobs have ended", func(w *world) {
		empty := w.create()
		assert.Equal(w, batch.Done, w.seal(empty, 0))
		assert.Equal(w, batch.Done, w.seal(empty, 0), "a repeat")
		phase, jobs := w.claimPhase(empty, "a", 1)
		assert.Equal(w, batch.Done, phase)
		assert.Empty(w, jobs)

		early := w.create()
		w.feed(early, 0, 2)
		assert.Equal(w, batch.Open, w.finishAll(early, w.claim(early, "a", 2)), "more may come")
		assert.Equal(w, batch.Done, w.seal(early, 2))
		assert.Equal(w, batch.Done, w.seal(early, 2), "a repeat")
	}},
	{"an interrupted submission continues its batch", func(w *world) {
		first, second, third := w.create(), statestore.NewID(time.Now()), statestore.NewID(time.Now())
		for _, id := range []batch.ID{first, second, first} {
			got, err := w.store.Submission(w.Context(), "fingerprint", id)
			require.NoError(w, err)
			assert.Equal(w, first, got, "its ID was not announced yet")
		}
		other, err := w.store.Submission(w.Context(), "another fingerprint", second)
		require.NoError(w, err)
		assert.Equal(w, second, other)

		w.feed(first, 0, 1)
		w.seal(first, 1)
		got, err := w.store.Submission(w.Context(), "fingerprint", third)
		require.NoError(w, err)
		assert.Equal(w, first, got, "all jobs are in, but its ID is not announced")
		require.NoError(w, w.store.Announced(w.Context(), "fingerprint", second), "another submission's booking")
		require.NoError(w, w.store.Announced(w.Context(), "fingerprint", first))
		require.NoError(w, w.store.Announced(w.Context(), "fingerprint", first), "a repeat")
		got, err = w.store.Submission(w.Context(), "fingerprint", third)
		require.NoError(w, err)
		assert.Equal(w, third, got, "the first one was announced, so this is a new one")
		got, err = w.store.Submission(w.Context(), "fingerprint", second)
		require.NoError(w, err)
		assert.Equal(w, third, got, "booked before the batch was created")
	}},
	{"new IDs have their form and sort by time", func(w *world) {
		older := statestore.NewID(time.UnixMilli(1_700_000_000_000))
		newer := statestore.NewID(time.UnixMilli(1_700_000_000_001))
		assert.Less(w, older, newer)
		for _, id := range []batch.ID{older, newer} {
			_, err := batch.ParseID(string(id))
			assert.NoError(w, err)
		}
	}},
}

// second drops the value that comes with an error.
func second[T any](_ T, err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
