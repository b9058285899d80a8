package worker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
)

// hinted is a server that records the hints of all calls.
type hinted struct {
	*server
	mu    sync.Mutex
	hints []backend.Hints // guarded by mu
	open  map[string]bool // guarded by mu; sessions with a call that were not closed
	ended int             // guarded by mu; closed sessions
}

func (h *hinted) CloseSession(session string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open[session] {
		h.ended++
	}
	delete(h.open, session)
}

func (h *hinted) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	h.mu.Lock()
	h.hints = append(h.hints, r.Hints)
	h.open[r.Hints.Session] = true
	h.mu.Unlock()
	return h.server.Generate(ctx, r, o)
}

func TestCallsCarryHintsFromSiblings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		h := &hinted{server: w.server, open: map[string]bool{}}
		id := w.submit(10, func(c *spec.Compiled) { c.MaxInflight = 1 })
		worker := w.start("node-1", func(c *Config) { c.Backend = h })
		w.await(id, time.Hour)
		worker.end()
		h.mu.Lock()
		defer h.mu.Unlock()
		require.Len(t, h.hints, 20)
		first := h.hints[0]
		assert.Zero(t, first.OutputTokens)
		assert.NotEmpty(t, first.Session)
		last := h.hints[19]
		assert.Equal(t, 2, last.OutputTokens)
		assert.Empty(t, h.open)
		assert.Equal(t, 10, h.ended, "each agent's session is closed once, after its last call")
	})
}
