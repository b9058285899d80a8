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
)

// crowded is a server with a queue of the length that the test sets. It counts how often its queue was read, and the
// most requests of the worker that it held at once.
type crowded struct {
	*server
	mu        sync.Mutex
	waiting   int // guarded by mu; others' requests
	err       error
	asked     int
	now, most int
}

func (c *crowded) Load(context.Context) (backend.Load, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return backend.Load{Running: 2, Waiting: c.waiting, KVCapacityTokens: -1}, c.err
}

func (c *crowded) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now--
	}()
	return c.server.Generate(ctx, r, o)
}

func (c *crowded) set(waiting int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.err = waiting, err
}

func (c *crowded) peak() (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, c.most = c.most, 0
	return most
}

func TestNoAgentStartsWhileServerQueueIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2*time.Second)
		c := &crowded{server: w.server}
		id := w.submit(200, nil)
		worker := w.start("node-1", func(cfg *Config) { cfg.Backend = c })
		time.Sleep(5 * time.Second)
		assert.Equal(t, 8, c.peak(), "a server without a queue gets as many calls as there are slots")

		c.set(100, nil)
		time.Sleep(30 * time.Second) // the agents that were live have ended
		c.peak()
		before, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		after, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, 1, c.peak(), "one agent may always live")
		assert.Greater(t, after.Counts.OK, before.Counts.OK, "the batch continues at any reading of the queue")
		assert.True(t, worker.shared.server.pressure.queue().Full())

		c.set(0, nil)
		time.Sleep(time.Second)
		assert.Greater(t, worker.shared.live.count(), 8, "new agents start within one reading after the queue is empty")
		w.await(id, 5*time.Minute)
		worker.end()
	})
}

func TestUnreadableQueueHoldsNoAgentBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2*time.Second)
		c := &crowded{server: w.server}
		id := w.submit(200, nil)
		worker := w.start("node-1", func(cfg *Config) { cfg.Backend = c })
		time.Sleep(3 * time.Second)
		c.set(100, nil)
		time.Sleep(3 * time.Second)
		require.True(t, worker.shared.server.pressure.queue().Full())
		c.set(100, assert.AnError)
		time.Sleep(15 * time.Second)
		c.peak()
		time.Sleep(5 * time.Second)
		assert.Equal(t, 8, c.peak())
		w.await(id, 5*time.Minute)

		time.Sleep(2 * queueEvery)
		c.mu.Lock()
		asked := c.asked
		c.mu.Unlock()
		time.Sleep(time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		assert.Equal(t, asked, c.asked, "an idle worker sends no requests")
		worker.end()
	})
}
