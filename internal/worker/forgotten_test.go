package worker

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRedisForgetsATurn: after a restart Redis may miss the last turn of a live job. The job runs again from the
// remaining journal, at once and without spending an attempt.
func TestRedisForgetsATurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4*time.Second)
		dial, redis := testredis.Pipe(t)
		w.dial, w.server.looks = dial, 3
		w.store = w.open()
		id := w.submit(1, func(c *spec.Compiled) { c.MaxAttempts, c.MaxTurns = 1, 8 })
		var log lines
		worker := w.start("node-1", func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		time.Sleep(10 * time.Second) // two turns are journalled, the third is under way
		_, err := redis.Pop("ba:{" + string(id) + "}:journal:0")
		require.NoError(t, err)
		w.await(id, 20*time.Second)
		worker.end()
		r := w.results(id, 1)[0]
		assert.Equal(t, batch.OK, r.Status)
		assert.Equal(t, 1, r.Attempts)
		assert.Equal(t, 4, r.Turns)
		assert.Contains(t, log.String(), "Redis forgot")
		assert.NotContains(t, log.String(), "level=ERROR")
	})
}

// TestRedisForgetsAResult: after a restart Redis may hold a lease of a job that ended here. The worker releases the job
// when its connections break, although it has no room for more. The job runs again at once and without spending an
// attempt.
func TestRedisForgetsAResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		id := w.submit(2, func(c *spec.Compiled) { c.MaxAttempts = 1 })
		// State of a job with a forgotten result.
		_, jobs, err := w.store.Claim(t.Context(), statestore.ClaimParams{Batch: id, Consumer: "node-1-x", Count: 1, Lease: 15 * time.Second})
		require.NoError(t, err)
		require.Len(t, jobs, 1)
		w.server.think = time.Minute
		worker := w.start("node-1", func(c *Config) { c.MaxAgents = 1 })
		time.Sleep(5 * time.Second)
		w.cut.Store(true)
		time.Sleep(2 * time.Second)
		w.cut.Store(false)
		time.Sleep(5 * time.Second)
		info, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		assert.EqualValues(t, 1, info.Counts.Waiting, "released within a few seconds")
		w.await(id, 5*time.Minute)
		worker.end()
		for _, r := range w.results(id, 2) {
			assert.Equal(t, batch.OK, r.Status)
			assert.Equal(t, 1, r.Attempts)
		}
	})
}

// TestRedisForgetsAClaim: after a restart Redis may grant a lease a second time, to the worker with an agent that still runs
// under it. No other agent starts under that token: Redis would take the requests of the first agent for those of the
// second.
func TestRedisForgetsAClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		id := w.submit(1, func(c *spec.Compiled) { c.MaxAttempts = 1 })
		var log lines
		worker := w.start("node-1", func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		time.Sleep(2 * time.Second)
		key := "ba:{" + string(id) + "}:"
		redis, _ := w.store.Clients()
		require.NoError(t, redis.XGroupDestroy(t.Context(), key+"jobs", "workers").Err())
		require.NoError(t, redis.XGroupCreate(t.Context(), key+"jobs", "workers", "0").Err())
		require.NoError(t, redis.HDel(t.Context(), key+"lease", "0").Err())
		require.NoError(t, redis.HDel(t.Context(), key+"meta", "token").Err())
		w.await(id, time.Minute)
		worker.end()
		r := w.results(id, 1)[0]
		assert.Equal(t, batch.OK, r.Status)
		assert.Equal(t, 1, r.Attempts)
		assert.Contains(t, log.String(), "Redis forgot that it had leased this job")
		token, err := redis.HGet(t.Context(), key+"meta", "token").Int()
		require.NoError(t, err)
		assert.Greater(t, token, 1, "the job ran under a new token")
	})
}

// A worker sees many batches. For each batch that ended elsewhere it keeps only the doubt about its leases.
func TestTrustInEndedBatchesIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		active, gone, lost := w.submit(1, nil), batch.ID("b_gone"), batch.ID("b_lost")
		b, err := newBatches(w.store, nil, nil, backend.Capabilities{}, nil, nil, nil, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		b.doubtAll()
		for _, id := range []batch.ID{gone, active} {
			since, _ := b.doubted(id)
			b.trust(id, since)
		}
		b.doubt(lost)
		_, err = b.list(t.Context())
		require.NoError(t, err)
		assert.Equal(t, map[batch.ID]int{active: 1, lost: -1}, b.trusted)
	})
}
