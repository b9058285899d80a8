package statestore_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var finishScenarios = []scenario{
	{"finish commits results, counters and the end in one step", func(w *world) {
		id := w.sealed(statestore.MaxFinish + 2)
		jobs := w.claim(id, "a", statestore.MaxFinish+2)
		done := make([]statestore.Completion, 0, len(jobs))
		for i, j := range jobs {
			switch i % 3 {
			case 0:
				done = append(done, succeeded(j.Lease))
			case 1:
				done = append(done, failed(j.Lease, batch.OutputInvalid))
			case 2:
				done = append(done, cancelled(j.Lease))
			}
		}
		assert.Equal(w, batch.Sealed, w.finish(id, done[:1], statestore.Committed))
		w.finish(id, done[1:statestore.MaxFinish+1], committed(statestore.MaxFinish)...)
		c := w.counts(id)
		assert.EqualValues(w, 1, c.Running)
		assert.Equal(w, batch.Done, w.finish(id, done[statestore.MaxFinish+1:], statestore.Committed), "exactly the last one ends it")

		n := int64(len(jobs))
		assert.Equal(w, batch.Counts{
			Fed: n, Total: n, OK: 22, Failed: 22, Cancelled: 22, Turns: 2 * n,
			Usage: batch.Usage{PromptTokens: 100 * n, CachedTokens: 60 * n, CompletionTokens: 7 * n},
			Tools: batch.ToolCounts{Asked: 3 * n, Executed: n},
		}, w.counts(id))
		assert.Len(w, w.results(id), len(jobs))
		info := w.check(id)
		assert.WithinDuration(w, time.Now(), info.DoneAt, time.Minute)
		assert.Equal(w, info.DoneAt.Add(time.Hour), info.ExpiresAt)
	}},
	{"finish returns an outcome per job", func(w *world) {
		id := w.sealed(4)
		jobs := w.claim(id, "a", 3)
		w.finish(id, []statestore.Completion{succeeded(jobs[0].Lease)}, statestore.Committed)
		w.release(id, jobs[1].Lease)
		wrong := jobs[2].Lease
		wrong.Token++
		mixed := []statestore.Completion{
			succeeded(jobs[0].Lease), succeeded(jobs[1].Lease), succeeded(wrong), succeeded(jobs[2].Lease), succeeded(jobs[2].Lease),
		}
		w.finish(id, mixed, statestore.Already, statestore.Fenced, statestore.Fenced, statestore.Committed, statestore.Already)
		assert.Equal(w, map[int64]batch.Status{0: batch.OK, 2: batch.OK}, w.results(id))
		assert.EqualValues(w, 4, w.counts(id).Turns, "only committed results count")
	}},
	{"a repeated finish changes nothing", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		done := []statestore.Completion{succeeded(jobs[0].Lease), failed(jobs[1].Lease, batch.Timeout)}
		assert.Equal(w, batch.Done, w.finish(id, done, committed(2)...))
		before := w.check(id)
		w.pass(w.lease / 10)
		assert.Equal(w, batch.Done, w.finish(id, done, statestore.Already, statestore.Already))
		assert.Equal(w, before, w.check(id))
		assert.Len(w, w.results(id), 2)
	}},
	{"the result stays byte for byte", func(w *world) {
		id := w.sealed(1)
		c := succeeded(w.one(id, "a").Lease)
		c.Result.Output = json.RawMessage(`{"big":12345678901234567890,"text":"a\u0000b <&> ąę€","list":[],"empty":{}}`)
		w.finish(id, []statestore.Completion{c}, statestore.Committed)
		want, err := json.Marshal(c.Result)
		require.NoError(w, err)
		entries, err := w.store.Results(w.Context(), id, 0, 10)
		require.NoError(w, err)
		require.Len(w, entries, 1)
		assert.Equal(w, string(want), string(entries[0].Line))
	}},
	{"large counters stay exact", func(w *world) {
		id := w.sealed(2)
		const huge = int64(1) << 50
		for _, j := range w.claim(id, "a", 2) {
			c := succeeded(j.Lease)
			c.Result.Usage.PromptTokens = huge + 1
			w.finish(id, []statestore.Completion{c}, statestore.Committed)
		}
		assert.Equal(w, 2*huge+2, w.counts(id).Usage.PromptTokens)
	}},
	{"a finish deletes the keys that only a running job needs", func(w *world) {
		id := w.sealed(5)
		jobs := w.claim(id, "a", 5)
		for _, j := range jobs {
			w.checkpoint(j.Lease, 1, "one")
		}
		retryableCancel := cancelled(jobs[4].Lease)
		retryableCancel.Result.Error.Retryable = true
		w.finish(id, []statestore.Completion{
			succeeded(jobs[0].Lease), failed(jobs[1].Lease, batch.Timeout), failed(jobs[2].Lease, batch.OutputInvalid), retryableCancel,
		}, committed(4)...)
		journal := func(i int) string { return fmt.Sprintf("ba:{%s}:journal:%d", id, i) }
		keys := w.keys(id)
		assert.NotContains(w, keys, journal(0))
		assert.Contains(w, keys, journal(1), "a retryable failure keeps its journal")
		assert.NotContains(w, keys, journal(2))
		assert.Contains(w, keys, journal(3), "this one is running")
		assert.NotContains(w, keys, journal(4), "only failed jobs can be retried")

		require.Equal(w, batch.Done, w.finish(id, []statestore.Completion{succeeded(jobs[3].Lease)}, statestore.Committed))
		prefix := "ba:{" + string(id) + "}:"
		assert.Equal(w, []string{
			prefix + "failed", prefix + "finished", journal(1), prefix + "meta", prefix + "plan", prefix + "results",
		}, w.keys(id), "a batch that is done keeps only the keys that users read")
		for _, key := range w.keys(id) {
			ttl, err := w.raw.PTTL(w.Context(), key).Result()
			require.NoError(w, err)
			assert.Greater(w, ttl, 50*time.Minute, key)
			assert.LessOrEqual(w, ttl, time.Hour, key)
		}
	}},
	{"keys of a running batch do not expire", func(w *world) {
		id := w.sealed(3)
		jobs := w.claim(id, "a", 2)
		w.checkpoint(jobs[0].Lease, 1, "one")
		w.finishAll(id, jobs[1:])
		for _, key := range w.keys(id) {
			ttl, err := w.raw.PTTL(w.Context(), key).Result()
			require.NoError(w, err)
			assert.Equal(w, time.Duration(-1), ttl, key)
		}
	}},
	{"a job that another holder finished has a result already", func(w *world) {
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		w.release(id, jobs[0].Lease)
		b := w.one(id, "b")
		w.finish(id, []statestore.Completion{succeeded(b.Lease)}, statestore.Committed)
		late := failed(jobs[0].Lease, batch.Timeout)
		w.finish(id, []statestore.Completion{late}, statestore.Already)
		assert.Equal(w, map[int64]batch.Status{0: batch.OK}, w.results(id))
		w.release(id, jobs[0].Lease)
		assert.ErrorIs(w, w.store.Checkpoint(w.Context(), jobs[0].Lease, 1, nil), statestore.ErrFenced)
		assert.Empty(w, w.claim(id, "c", 5))
	}},
	{"finishing no jobs returns the phase", func(w *world) {
		id := w.sealed(1)
		assert.Equal(w, batch.Sealed, w.finish(id, nil, []statestore.FinishOutcome{}...))
	}},
	{"all keys of a batch are gone after its TTL", func(w *world) {
		ttl := w.lease
		id := w.createAs(3, ttl)
		w.feed(id, 0, 3)
		jobs := w.claim(id, "a", 3)
		w.checkpoint(jobs[1].Lease, 1, "one")
		w.finish(id, []statestore.Completion{
			succeeded(jobs[0].Lease), failed(jobs[1].Lease, batch.Timeout), failed(jobs[2].Lease, batch.OutputInvalid),
		}, committed(3)...)
		require.Equal(w, batch.Done, w.seal(id, 3))
		require.NotEmpty(w, w.keys(id))
		w.until(func() bool { return len(w.keys(id)) == 0 }, "the TTL")
		assert.Equal(w, []string{"an entry of ba:batches", "an entry of ba:active"}, w.left(id))

		_, fenced := w.renew(id, "a", jobs[0].Lease)
		assert.Len(w, fenced, 1)
		w.finish(id, []statestore.Completion{succeeded(jobs[0].Lease)}, statestore.Fenced)
		_, err := w.store.Results(w.Context(), id, 0, 10)
		require.NoError(w, err)
		list, err := w.store.List(w.Context())
		require.NoError(w, err)
		assert.Empty(w, list)
		assert.Empty(w, w.left(id), "a former holder restores nothing, and the lists forget the batch")
	}},
}

func committed(n int) []statestore.FinishOutcome { return make([]statestore.FinishOutcome, n) }
