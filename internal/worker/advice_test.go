package worker

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// hinted is a server that records the hints of all calls.
type hinted struct {
	*server
	mu    sync.Mutex
	hints []backend.Hints // guarded by mu
}

func (h *hinted) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	h.mu.Lock()
	h.hints = append(h.hints, r.Hints)
	h.mu.Unlock()
	return h.server.Generate(ctx, r, o)
}

func TestCallsCarryHintsFromSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		h := &hinted{server: w.server}
		id := w.submit(10, func(c *spec.Compiled) { c.MaxInflight = 1 })
		worker := w.start("node-1", func(c *Config) {
			pool, err := toolpool.New(toolpool.Config{})
			require.NoError(t, err)
			require.NoError(t, pool.Register(toolpool.Tool{
				Name: "look", Description: "looks", Parameters: []byte(`{"type":"object"}`),
				Run: func(ctx context.Context, args json.RawMessage) (string, error) {
					sleep(ctx, 10*time.Second)
					return "it", nil
				},
			}))
			c.Backend, c.Tools = h, pool
		})
		w.await(id, time.Hour)
		worker.end()
		h.mu.Lock()
		defer h.mu.Unlock()
		require.Len(t, h.hints, 20)
		first := h.hints[0]
		assert.Zero(t, first.OutputTokens)
		assert.Zero(t, first.BackIn)
		assert.NotEmpty(t, first.Session)
		last := h.hints[19]
		assert.Equal(t, 2, last.OutputTokens)
		assert.InDelta(t, 10, last.BackIn.Seconds(), 0.2, "the tool's P75")
	})
}
