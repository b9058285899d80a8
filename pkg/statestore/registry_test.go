package statestore_test

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var registryScenarios = []scenario{
	{"workers are listed by ID while their heartbeat is fresh, and lost after it", func(w *world) {
		record := func(id, consumer string) batch.WorkerRecord {
			return batch.WorkerRecord{
				ID: id, Consumer: consumer, Version: "1", Models: []string{"m"}, Tools: []string{"read_file"}, Ready: true,
				LiveAgents: 3, AgentAge: 100, AgentLife: 900, Usage: batch.Usage{PromptTokens: 5}, TokensPerSec: 1.5, StartedAt: time.UnixMilli(1_700_000_000_000).UTC(),
			}
		}
		for _, r := range []batch.WorkerRecord{record("b", "b-1"), record("a", "a-2"), record("a", "a-1")} {
			require.NoError(w, w.store.Register(w.Context(), r, time.Hour))
		}
		require.NoError(w, w.store.Register(w.Context(), record("dying", "dying-1"), w.lease))
		got, err := w.store.Workers(w.Context())
		require.NoError(w, err)
		require.Len(w, got, 4)
		seen := got[0].SeenAt
		assert.WithinDuration(w, time.Now(), seen, time.Minute)
		assert.Equal(w, seen.Add(time.Hour), got[0].DueAt)
		assert.Equal(w, batch.ReadyWorker, got[0].State)
		assert.InDelta(w, 100, got[0].AgentAge, 60)
		got[0].SeenAt, got[0].DueAt, got[0].State, got[0].AgentAge = time.Time{}, time.Time{}, "", 100
		assert.Equal(w, record("a", "a-1"), got[0])

		changed := record("a", "a-1")
		changed.Draining = true
		w.pass(2 * time.Millisecond)
		require.NoError(w, w.store.Register(w.Context(), changed, time.Hour))
		for range 2 {
			require.NoError(w, w.store.Unregister(w.Context(), "b-1"))
		}
		w.until(func() bool {
			got, err = w.store.Workers(w.Context())
			require.NoError(w, err)
			return len(got) == 3 && got[2].Lost
		}, "the dying worker to be lost")
		assert.Equal(w, []string{"a-1", "a-2", "dying-1"}, []string{got[0].Consumer, got[1].Consumer, got[2].Consumer})
		assert.False(w, got[0].Lost)
		assert.Greater(w, got[1].AgentAge, 100.0, "the age of the record is added")
		assert.True(w, got[0].Draining)
		assert.True(w, got[0].SeenAt.After(seen))
		require.NoError(w, w.store.Register(w.Context(), record("dying", "dying-2"), time.Hour))
		got, err = w.store.Workers(w.Context())
		require.NoError(w, err)
		require.Len(w, got, 3)
		assert.Equal(w, "dying-2", got[2].Consumer, "a lost process is omitted if its worker runs again")

		require.NoError(w, w.raw.Del(w.Context(), "ba:worker:a-2").Err())
		got, err = w.store.Workers(w.Context())
		require.NoError(w, err)
		require.Len(w, got, 2)
		names, err := w.raw.ZRange(w.Context(), "ba:workers", 0, -1).Result()
		require.NoError(w, err)
		assert.ElementsMatch(w, []string{"a-1", "dying-1", "dying-2"}, names, "a record that expired is forgotten")
	}},
	{"no ring is lost between two calls of listen", func(w *world) {
		position, err := w.store.EventPosition(w.Context())
		require.NoError(w, err)
		ring := func(kind statestore.EventKind, id batch.ID) {
			require.NoError(w, w.store.Ring(w.Context(), statestore.Event{Kind: kind, Batch: id}))
		}
		ring(statestore.JobsWaiting, "b_1")
		ring(statestore.BatchCancelled, "b_2")
		got, position, err := w.store.Listen(w.Context(), position, time.Second)
		require.NoError(w, err)
		assert.Equal(w, []statestore.Event{{statestore.JobsWaiting, "b_1"}, {statestore.BatchCancelled, "b_2"}}, got)
		ring(statestore.JobsWaiting, "b_3")
		got, position, err = w.store.Listen(w.Context(), position, time.Second)
		require.NoError(w, err)
		assert.Equal(w, []statestore.Event{{statestore.JobsWaiting, "b_3"}}, got)
		for _, wait := range []time.Duration{20 * time.Millisecond, time.Microsecond} {
			ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
			nothing, same, err := w.store.Listen(ctx, position, wait)
			require.NoError(w, err)
			assert.Empty(w, nothing)
			assert.Equal(w, position, same)
			cancel()
		}
		fresh, err := w.store.EventPosition(w.Context())
		require.NoError(w, err)
		assert.Equal(w, position, fresh)
	}},
	{"a listener on an empty stream gets the first event", func(w *world) {
		position, err := w.store.EventPosition(w.Context())
		require.NoError(w, err)
		type heard struct {
			events []statestore.Event
			err    error
		}
		got := make(chan heard)
		go func() {
			e, _, err := w.store.Listen(w.Context(), position, time.Minute)
			got <- heard{e, err}
		}()
		require.NoError(w, w.store.Ring(w.Context(), statestore.Event{Kind: statestore.JobsWaiting, Batch: "b_1"}))
		h := <-got
		require.NoError(w, h.err)
		assert.Equal(w, []statestore.Event{{statestore.JobsWaiting, "b_1"}}, h.events)
	}},
	{"the doorbell stream is bounded", func(w *world) {
		position, err := w.store.EventPosition(w.Context())
		require.NoError(w, err)
		for range 3000 {
			require.NoError(w, w.raw.XAdd(w.Context(), &redis.XAddArgs{Stream: "ba:events", Values: []any{"kind", "jobs", "batch", "b_0"}}).Err())
		}
		require.NoError(w, w.store.Ring(w.Context(), statestore.Event{Kind: statestore.JobsWaiting, Batch: "b_last"}))
		n, err := w.raw.XLen(w.Context(), "ba:events").Result()
		require.NoError(w, err)
		assert.LessOrEqual(w, n, int64(1200), "I7")
		got, _, err := w.store.Listen(w.Context(), position, time.Second)
		require.NoError(w, err)
		assert.NotEmpty(w, got, "a reader that fell behind still gets events")
	}},
}
