package worker

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// submitTwins makes a sealed batch of n jobs with different prompts, each with copies.
func (w *world) submitTwins(n, copies int, change func(*spec.Compiled)) batch.ID {
	compiled := &spec.Compiled{
		Name: "t", System: "sys", Task: "{x}", Schema: []byte(`{"type":"object","required":["saw"]}`),
		MaxTurns: 4, MaxAttempts: 3, TTL: time.Hour, Identical: spec.IdenticalOnce,
	}
	if change != nil {
		change(compiled)
	}
	text, err := json.Marshal(compiled)
	require.NoError(w.t, err)
	id := statestore.NewID(time.Now())
	ctx := w.t.Context()
	require.NoError(w.t, w.store.Create(ctx, batch.Header{ID: id, Name: "t", MaxAttempts: compiled.MaxAttempts, TTL: compiled.TTL}, text))
	var payloads [][]byte
	for i := range n * copies {
		payloads = append(payloads, fmt.Appendf(nil, `{"in":{"x":"p%d"},"twin":true}`, i/copies))
	}
	_, err = w.store.Feed(ctx, id, 0, payloads)
	require.NoError(w.t, err)
	_, err = w.store.Seal(ctx, id, int64(len(payloads)))
	require.NoError(w.t, err)
	return id
}

// runs returns how many results were made, and checks that the others name one that was made for their prompt.
func (w *world) runs(id batch.ID, n, copies int) (made int) {
	results := w.results(id, n*copies)
	for _, r := range results {
		if r.ReusedFrom == "" {
			made++
			continue
		}
		source := results[-1]
		for _, s := range results {
			if r.ReusedFrom == fmt.Sprintf("%s/%s", id, s.JobID) {
				source = s
			}
		}
		assert.Equal(w.t, batch.OK, source.Status)
		assert.Empty(w.t, source.ReusedFrom)
		assert.Equal(w.t, r.Index/int64(copies), source.Index/int64(copies), "the result of another prompt")
		assert.JSONEq(w.t, string(source.Output), string(r.Output))
		assert.Equal(w.t, source.Question, r.Question)
	}
	return made
}

func TestTwinsRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Minute)
		w.server.looks = 0
		id := w.submitTwins(3, 40, nil)
		worker := w.start("a", func(c *Config) { c.Slots = 8 })
		info := w.await(id, time.Hour)
		worker.end()
		assert.EqualValues(t, 120, info.Counts.OK)
		assert.Equal(t, 3, w.runs(id, 3, 40))
	})
}

func TestTwinsOfAFailedJobRunThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Minute)
		w.server.looks, w.server.bad = 0, 2 // an answer and its repair
		id := w.submitTwins(1, 10, nil)
		worker := w.start("a", nil)
		info := w.await(id, time.Hour)
		worker.end()
		assert.EqualValues(t, 1, info.Counts.Failed)
		assert.EqualValues(t, 9, info.Counts.OK)
		for _, r := range w.results(id, 10) {
			assert.Positive(t, r.Turns, "%s", r.JobID)
		}
	})
}

func TestReleasedJobLetsATwinRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Hour)
		w.server.looks = 0
		id := w.submitTwins(1, 4, nil)
		first := w.start("a", nil)
		time.Sleep(time.Minute)
		w.server.mu.Lock()
		w.server.think = time.Second
		w.server.mu.Unlock()
		first.end()
		second := w.start("b", nil)
		info := w.await(id, 3*time.Hour)
		second.end()
		assert.EqualValues(t, 4, info.Counts.OK)
		assert.LessOrEqual(t, w.runs(id, 1, 4), 2)
	})
}

func TestCancelEndsTheWaitForATwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Hour)
		w.server.looks = 0
		id := w.submitTwins(1, 20, nil)
		worker := w.start("a", nil)
		time.Sleep(time.Minute)
		_, err := w.store.Cancel(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, w.store.Ring(t.Context(), statestore.Event{Kind: statestore.BatchCancelled, Batch: id}))
		info := w.await(id, 10*time.Minute)
		worker.end()
		assert.EqualValues(t, 20, info.Counts.Cancelled)
	})
}

// client is a client without retries for the tools of a worker.
func (w *world) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: w.dial, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true})
}

// Two workers with pools of their own share the run through Redis.
func TestTwinsOfTwoWorkersRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Minute)
		w.server.looks = 0
		id := w.submitTwins(2, 60, nil)
		var workers []*running
		for _, name := range []string{"a", "b"} {
			commands, blocking := w.client(), w.client()
			pool, leave, err := (&toolset.Set{}).Join(commands, blocking, name, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			workers = append(workers, w.start(name, func(c *Config) { c.Tools = pool }))
			defer func() {
				leave()
				_ = commands.Close()
				_ = blocking.Close()
			}()
		}
		info := w.await(id, time.Hour)
		for _, r := range workers {
			r.end()
		}
		assert.EqualValues(t, 120, info.Counts.OK)
		assert.Equal(t, 2, w.runs(id, 2, 60))
	})
}
