package statestore_test

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var controlScenarios = []scenario{
	{"cancelling an open batch seals it with the fed jobs", func(w *world) {
		id := w.create()
		w.feed(id, 0, 3)
		running := w.claim(id, "a", 2)
		for range 2 {
			phase, err := w.store.Cancel(w.Context(), id)
			require.NoError(w, err)
			assert.Equal(w, batch.Cancelling, phase)
		}
		assert.EqualValues(w, 3, w.counts(id).Total)
		_, err := w.store.Feed(w.Context(), id, 3, payloads(3, 1))
		assert.ErrorIs(w, err, statestore.ErrConflict)
		_, err = w.store.Seal(w.Context(), id, 3)
		assert.ErrorIs(w, err, statestore.ErrConflict, "the submitter must get an error")

		w.finish(id, []statestore.Completion{succeeded(running[0].Lease)}, statestore.Committed)
		w.finish(id, []statestore.Completion{cancelled(running[1].Lease)}, statestore.Committed)
		phase, jobs := w.claimPhase(id, "b", 5)
		assert.Equal(w, batch.Cancelling, phase)
		require.Equal(w, []int64{2}, indexes(jobs))
		assert.Equal(w, batch.Done, w.finish(id, []statestore.Completion{cancelled(jobs[0].Lease)}, statestore.Committed))
		assert.Equal(w, map[int64]batch.Status{0: batch.OK, 1: batch.StatusCancelled, 2: batch.StatusCancelled}, w.results(id))
	}},
	{"cancelling a batch without unfinished jobs ends it", func(w *world) {
		empty, finished, done := w.create(), w.create(), w.sealed(1)
		w.feed(finished, 0, 1)
		w.finishAll(finished, w.claim(finished, "a", 1))
		w.finishAll(done, w.claim(done, "a", 1))
		for _, id := range []batch.ID{empty, finished, done} {
			phase, err := w.store.Cancel(w.Context(), id)
			require.NoError(w, err)
			assert.Equal(w, batch.Done, phase)
			assert.Zero(w, w.counts(id).Cancelled)
		}
	}},
	{"a holder that dies during a cancel is replaced", func(w *world) {
		id := w.sealed(1)
		w.one(id, "dead")
		_, err := w.store.Cancel(w.Context(), id)
		require.NoError(w, err)
		j := w.takeover(id, "b", 1)[0]
		assert.Equal(w, batch.Done, w.finish(id, []statestore.Completion{cancelled(j.Lease)}, statestore.Committed))
	}},
	{"retry runs failed jobs again and takes their results back", func(w *world) {
		id := w.sealed(4)
		jobs := w.claim(id, "a", 4)
		for _, j := range jobs {
			w.checkpoint(j.Lease, 1, "one")
			w.checkpoint(j.Lease, 2, "two")
		}
		require.Equal(w, batch.Done, w.finish(id, []statestore.Completion{
			failed(jobs[0].Lease, batch.BackendUnavailable), succeeded(jobs[1].Lease), failed(jobs[2].Lease, batch.OutputInvalid),
			cancelled(jobs[3].Lease),
		}, committed(4)...))
		require.NoError(w, w.store.Retire(w.Context(), id))

		n, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.EqualValues(w, 2, n)
		info := w.check(id)
		assert.Equal(w, batch.Sealed, info.Phase)
		assert.EqualValues(w, 2, info.Counts.Waiting)
		assert.Zero(w, info.Counts.Failed)
		active, err := w.store.Active(w.Context())
		require.NoError(w, err)
		assert.Contains(w, active, id)
		assert.Equal(w, map[int64]batch.Status{1: batch.OK, 3: batch.StatusCancelled}, w.results(id))
		for _, key := range w.keys(id) {
			ttl, err := w.raw.PTTL(w.Context(), key).Result()
			require.NoError(w, err)
			assert.Equal(w, time.Duration(-1), ttl, "%s must not expire under the running jobs", key)
		}

		n, err = w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.Zero(w, n, "a repeat finds nothing that failed")

		again := w.claim(id, "a", 5) // the same consumer: only the token tells the leases apart
		require.Equal(w, []int64{0, 2}, indexes(again))
		assert.Equal(w, []string{"one", "two"}, turns(again[0]), "its failure is retryable: it resumes")
		assert.Empty(w, turns(again[1]), "it restarts")
		for i, j := range again {
			assert.Equal(w, 1, j.Lease.Attempt)
			old := jobs[2*i].Lease
			assert.Greater(w, j.Lease.Token, old.Token)
			w.finish(id, []statestore.Completion{succeeded(old)}, statestore.Fenced)
			assert.ErrorIs(w, w.store.Checkpoint(w.Context(), old, 3, nil), statestore.ErrFenced, "the former holder is fenced")
			_, fenced := w.renew(id, "a", old)
			assert.Len(w, fenced, 1)
		}
		w.checkpoint(again[0].Lease, 3, "three")
		assert.Equal(w, batch.Done, w.finishAll(id, again))
		assert.Equal(w, batch.Counts{
			Fed: 4, Total: 4, OK: 3, Cancelled: 1, Turns: 12,
			Usage: batch.Usage{PromptTokens: 600, CachedTokens: 360, CompletionTokens: 42}, Tools: batch.ToolCounts{Asked: 18, Executed: 6},
		}, w.counts(id))
		assert.Len(w, w.results(id), 4)
		for _, key := range w.keys(id) {
			ttl, err := w.raw.PTTL(w.Context(), key).Result()
			require.NoError(w, err)
			assert.Positive(w, ttl, key)
		}
	}},
	{"a reader's cursor stays valid over a retry", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout), succeeded(jobs[1].Lease)}, committed(2)...)
		before, err := w.store.Results(w.Context(), id, 0, 10)
		require.NoError(w, err)
		require.Len(w, before, 2)
		_, err = w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		gone, err := w.store.Result(w.Context(), id, before[0].Cursor)
		require.NoError(w, err)
		assert.Nil(w, gone)
		w.finishAll(id, w.claim(id, "b", 5))
		after, err := w.store.Results(w.Context(), id, before[1].Cursor, 10)
		require.NoError(w, err)
		require.Len(w, after, 1)
		assert.EqualValues(w, 0, after[0].Index)
		assert.Greater(w, after[0].Cursor, before[1].Cursor)
	}},
	{"retry while the batch runs", func(w *world) {
		id := w.sealed(3)
		jobs := w.claim(id, "a", 2)
		w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout)}, statestore.Committed)
		n, err := w.store.Retry(w.Context(), id)
		require.NoError(w, err)
		assert.EqualValues(w, 1, n)
		assert.Equal(w, []int64{2, 0}, indexes(w.claim(id, "b", 5)))
		_, fenced := w.renew(id, "a", jobs[1].Lease)
		assert.Empty(w, fenced)
		assert.EqualValues(w, 3, w.counts(id).Running)
	}},
	{"a job may be retried many times", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout), failed(jobs[1].Lease, batch.BadInput)}, committed(2)...)
		for range 4 {
			n, err := w.store.Retry(w.Context(), id)
			require.NoError(w, err)
			require.EqualValues(w, 2, n)
			jobs = w.claim(id, "a", 5)
			require.Equal(w, []int64{0, 1}, indexes(jobs))
			w.finish(id, []statestore.Completion{failed(jobs[0].Lease, batch.Timeout)}, statestore.Committed)
			phase := w.finish(id, []statestore.Completion{failed(jobs[1].Lease, batch.Timeout)}, statestore.Committed)
			require.Equal(w, batch.Done, phase)
			require.Len(w, w.results(id), 2)
		}
	}},
	{"retry refuses a batch that is open or being cancelled", func(w *world) {
		open := w.create()
		_, err := w.store.Retry(w.Context(), open)
		assert.ErrorIs(w, err, statestore.ErrConflict)
		assert.ErrorContains(w, err, "it is OPEN")
		cancelling := w.sealed(1)
		_, err = w.store.Cancel(w.Context(), cancelling)
		require.NoError(w, err)
		_, err = w.store.Retry(w.Context(), cancelling)
		assert.ErrorIs(w, err, statestore.ErrConflict)
		nothing := w.sealed(1)
		w.finishAll(nothing, w.claim(nothing, "a", 1))
		n, err := w.store.Retry(w.Context(), nothing)
		require.NoError(w, err)
		assert.Zero(w, n)
		assert.Equal(w, batch.Done, w.check(nothing).Phase)
	}},
	{"remove deletes all keys of a batch that is done", func(w *world) {
		id := w.sealed(3)
		jobs := w.claim(id, "a", 3)
		for _, j := range jobs {
			w.checkpoint(j.Lease, 1, "one")
		}
		err := w.store.Remove(w.Context(), id)
		assert.ErrorIs(w, err, statestore.ErrConflict)
		assert.ErrorContains(w, err, "cancel it first")
		assert.Len(w, w.keys(id), 4+3, "meta, plan, jobs, lease and three journals")
		retryableCancel := cancelled(jobs[2].Lease)
		retryableCancel.Result.Error.Retryable = true
		w.finish(id, []statestore.Completion{succeeded(jobs[0].Lease), failed(jobs[1].Lease, batch.Timeout), retryableCancel}, committed(3)...)

		other := w.sealed(1)
		require.NoError(w, w.store.Remove(w.Context(), id))
		assert.Empty(w, w.left(id))
		assert.ErrorIs(w, w.store.Remove(w.Context(), id), statestore.ErrNotFound, "a repeat")
		assert.NotEmpty(w, w.left(other))
		assert.EqualValues(w, 1, w.counts(other).Waiting)
	}},
	{"a retried batch can be removed completely", func(w *world) {
		id := w.sealed(1)
		for range 3 {
			j := w.one(id, "a")
			w.checkpoint(j.Lease, len(j.Journal)+1, "turn")
			w.finish(id, []statestore.Completion{failed(j.Lease, batch.Timeout)}, statestore.Committed)
			_, err := w.store.Retry(w.Context(), id)
			require.NoError(w, err)
		}
		j := w.one(id, "a")
		assert.Len(w, j.Journal, 3)
		w.finishAll(id, []statestore.Claimed{j})
		require.NoError(w, w.store.Remove(w.Context(), id))
		assert.Empty(w, w.left(id))
	}},
	{"list shows all batches, newest first", func(w *world) {
		var ids []batch.ID
		for range 3 {
			ids = append(ids, w.create())
			w.pass(2 * time.Millisecond) // Redis' clock orders them
		}
		w.seal(ids[1], 0)
		list, err := w.store.List(w.Context())
		require.NoError(w, err)
		require.Len(w, list, 3)
		for i, info := range list {
			assert.Equal(w, ids[2-i], info.ID)
		}
		assert.Equal(w, batch.Done, list[1].Phase)
	}},
	{"list and workers forget expired batches", func(w *world) {
		for name, forget := range map[string]func(batch.ID) error{
			"list":   func(batch.ID) error { return second(w.store.List(w.Context())) },
			"retire": func(id batch.ID) error { return w.store.Retire(w.Context(), id) },
		} {
			id := w.createAs(1, w.lease)
			w.seal(id, 0)
			w.until(func() bool { return len(w.keys(id)) == 0 }, "the TTL")
			_ = forget(id)
			active, err := w.store.Active(w.Context())
			require.NoError(w, err)
			assert.NotContains(w, active, id, name)
		}
	}},
	{"scripts that the server forgot are sent again", func(w *world) {
		id := w.sealed(2)
		a := w.one(id, "a")
		require.NoError(w, w.raw.ScriptFlush(w.Context()).Err())
		w.checkpoint(a.Lease, 1, "one")
		require.NoError(w, w.raw.ScriptFlush(w.Context()).Err())
		b := w.one(id, "b")
		require.NoError(w, w.raw.ScriptFlush(w.Context()).Err())
		assert.Equal(w, batch.Done, w.finishAll(id, []statestore.Claimed{a, b}))
	}},
	{"the warnings are sentences about this server", func(w *world) {
		for _, s := range w.store.Warnings(w.Context()) {
			assert.Contains(w, s, "append-only", fmt.Sprintf("%q", s))
		}
	}},
}
