package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// TestPausedWorkerReservesNothing: calls that wait for an unreachable server leave the budget to the worker with a
// working server.
func TestPausedWorkerReservesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		sick := &faulty{server: w.server, began: time.Now(), fault: func(at time.Duration, _ *backend.Request) error {
			if at > time.Second {
				return refusal(backend.Overloaded, 503, "upstream connect error")
			}
			return nil
		}}
		const jobs = 400
		id := w.submit(jobs, func(c *spec.Compiled) {
			c.Sampling.MaxTokens, c.BatchBudget = 1000, batch.Budget{Tokens: 60_000}
		})
		a := w.start("sick", func(c *Config) { c.Backend, c.Slots, c.MaxAgents = sick, 64, 64 })
		b := w.start("healthy", func(c *Config) { c.Slots = 4 })
		time.Sleep(4 * time.Second)
		now, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		assert.Less(t, now.Reserved.Tokens, int64(500), "only the healthy worker's calls are reserved; one call of each agent would take about 2,300")
		info := w.await(id, 5*time.Minute)
		a.end()
		b.end()
		assert.EqualValues(t, jobs, info.Counts.OK)
	})
}
