package worker

import (
	"context"
	"encoding/json"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

// An agent that waits for a tool costs little memory, and no processor time but the renewal of its lease. The embedded Redis is in this process, so
// its copies of the jobs count, too.
func TestWaitingAgentsCostLittle(t *testing.T) {
	const agents, wait = 2_000, 150 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 100*time.Millisecond)
		pool, err := toolpool.New(toolpool.Config{})
		require.NoError(t, err)
		require.NoError(t, pool.Register(toolpool.Tool{
			Name: "look", Description: "looks", Parameters: []byte(`{"type":"object"}`), Timeout: time.Hour,
			Run: func(ctx context.Context, _ json.RawMessage) (string, error) {
				select {
				case <-time.After(wait):
					return "x", nil
				case <-ctx.Done():
					return "", context.Cause(ctx)
				}
			},
		}))
		worker := w.start("node-1", func(c *Config) { c.Tools, c.MaxAgents, c.Slots = pool, agents, 1024 })
		time.Sleep(10 * time.Second)
		before := memory()
		id := w.submit(agents, nil)
		time.Sleep(time.Minute)
		require.Equal(t, agents, worker.Status().LiveAgents)
		each := (memory() - before) / agents
		began := processorTime(t)
		time.Sleep(time.Minute)
		busy := processorTime(t) - began
		t.Logf("%d bytes for each agent, %s of processor time in a minute", each, busy)
		assert.Less(t, each, 90_000)
		assert.Less(t, busy, 10*time.Second)
		w.await(id, time.Hour)
		worker.end()
	})
}

// memory returns the bytes of live objects and of stacks.
func memory() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// processorTime returns what this process used so far.
func processorTime(t *testing.T) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
