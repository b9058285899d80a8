package worker

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// observed is a server that calls a function at each model call.
type observed struct {
	*server
	look func(prompt string)
}

func (s observed) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	s.look(r.Messages[1].Content)
	return s.server.Generate(ctx, r, o)
}

// suspects submits n jobs with two attempts each and lets a worker die with all of them.
func (w *world) suspects(n int) batch.ID {
	id := w.submit(n, func(c *spec.Compiled) { c.Task, c.MaxAttempts = "suspect {x}", 2 })
	_, jobs, err := w.store.Claim(w.t.Context(), statestore.ClaimParams{Batch: id, Consumer: "dead", Count: n, Lease: 15 * time.Second})
	require.NoError(w.t, err)
	require.Len(w.t, jobs, n)
	return id
}

// TestLastAttemptsRunAlone: jobs that may have killed their worker run one at a time, each alone on its worker. The
// other batch has plenty of jobs, and they continue.
func TestLastAttemptsRunAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		suspects := w.suspects(5)
		others := w.submit(2000, nil)
		var first, second *running
		var alone, companions atomic.Int64
		start := func(name string, self **running) {
			*self = w.start(name, func(c *Config) {
				c.Backend = observed{w.server, func(prompt string) {
					if !strings.HasPrefix(prompt, "suspect") {
						return
					}
					alone.Add(1)
					companions.Add(int64((*self).shared.live.count() - 1))
				}}
			})
		}
		start("node-1", &first)
		start("node-2", &second)
		w.await(suspects, 5*time.Minute)
		info, err := w.store.Info(t.Context(), others)
		require.NoError(t, err)
		assert.Equal(t, batch.Sealed, info.Phase, "the suspects waited for the other batch")
		w.await(others, 10*time.Minute)
		first.end()
		second.end()
		for _, r := range w.results(suspects, 5) {
			assert.Equal(t, batch.OK, r.Status)
			assert.Equal(t, 2, r.Attempts)
		}
		w.results(others, 2000)
		assert.EqualValues(t, 10, alone.Load(), "turns of suspects")
		assert.Zero(t, companions.Load(), "agents that ran beside a suspect")
	})
}

// TestStandbyEnds: a standby worker continues with other jobs once no job has to run alone.
func TestStandbyEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Second)
		suspects := w.suspects(1)
		others := w.submit(100, nil)
		worker := w.start("node-1", nil)
		standsBy := func() bool {
			info, err := w.store.Info(t.Context(), suspects)
			require.NoError(t, err)
			// Redis refuses other volunteers while this worker is the standby. A lease of 1 ms does not change that.
			other, err := w.store.Volunteer(t.Context(), suspects, "other", time.Millisecond)
			require.NoError(t, err)
			return info.Counts.Takeovers > 0 && info.Counts.Waiting > 0 && !other
		}
		for end := time.Now().Add(5 * time.Minute); !standsBy(); time.Sleep(time.Second) {
			require.True(t, time.Now().Before(end), "the worker is not the standby")
		}
		_, err := w.store.Cancel(t.Context(), suspects)
		require.NoError(t, err)
		w.await(suspects, time.Minute)
		w.await(others, 10*time.Minute)
		worker.end()
		for _, r := range w.results(suspects, 1) {
			assert.Equal(t, batch.StatusCancelled, r.Status)
		}
	})
}
