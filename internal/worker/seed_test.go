package worker

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
)

// lateCache is a server that caches the shared prefix only once a first answer has begun. It counts cold requests.
type lateCache struct {
	*server
	late  bool
	begin time.Duration // until an answer begins
	fail  bool          // every agent's call is refused

	mu       sync.Mutex
	known    bool      // guarded by mu
	cold     int       // guarded by mu
	atFirst  time.Time // guarded by mu; of the first request
	atSecond time.Time // guarded by mu
}

func (c *lateCache) Capabilities() backend.Capabilities {
	return backend.Capabilities{Name: "test", PrefixCache: true, PrefixLate: c.late}
}

func (c *lateCache) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	c.mu.Lock()
	if !c.known {
		c.cold++
	}
	switch {
	case c.atFirst.IsZero():
		c.atFirst = time.Now()
	case c.atSecond.IsZero():
		c.atSecond = time.Now()
	}
	c.mu.Unlock()
	if c.fail && r.Hints.Session != "control" {
		_ = sleep.For(ctx, c.begin)
		return nil, &backend.Error{Class: backend.InvalidRequest, Endpoint: c.Endpoint(), Message: "no"}
	}
	_ = sleep.For(ctx, c.begin)
	c.mu.Lock()
	c.known = true
	c.mu.Unlock()
	if o.FirstToken != nil {
		o.FirstToken()
	}
	return c.server.Generate(ctx, r, backend.Observer{ToolCall: o.ToolCall})
}

// seedingRun runs 40 agents on eight slots. It returns how many requests were cold, and how long the second request
// waited.
func seedingRun(t *testing.T, c *lateCache, prefix int) (cold int, second, wall time.Duration, ok int64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Second)
		c.server = w.server
		began := time.Now()
		id := w.submit(40, func(c *spec.Compiled) { c.System = strings.Repeat("shared. ", prefix/8) })
		worker := w.start("node-1", func(cfg *Config) { cfg.Backend = c })
		info := w.await(id, time.Hour)
		wall, ok = time.Since(began), info.Counts.OK
		worker.end()
	})
	return c.cold, c.atSecond.Sub(c.atFirst), wall, ok
}

func TestFirstAgentWarmsSharedPrefix(t *testing.T) {
	const long, short = 8_000, 800
	flood, second, wall, _ := seedingRun(t, &lateCache{begin: time.Second}, long)
	assert.Equal(t, 8, flood, "a server that shares a prefix in progress gets all requests at once")
	assert.Zero(t, second)

	cold, second, seededWall, ok := seedingRun(t, &lateCache{begin: time.Second, late: true}, long)
	assert.Equal(t, 1, cold)
	assert.EqualValues(t, 40, ok)
	assert.Equal(t, time.Second+gather, second, "the other agents start when the first answer begins, not when it ends")
	// The last wave may be one call longer, depending on the order of the ends of calls.
	const call = 6 * time.Second
	assert.LessOrEqual(t, seededWall, wall+call+2*time.Second)

	cold, second, _, _ = seedingRun(t, &lateCache{begin: time.Second, late: true}, short)
	assert.Equal(t, 8, cold, "no agent waits for a short prefix")
	assert.Zero(t, second)
}

func TestFailedOrSlowSeedDelaysAgentsBriefly(t *testing.T) {
	_, second, _, ok := seedingRun(t, &lateCache{begin: time.Second, late: true, fail: true}, 8_000)
	assert.Zero(t, ok)
	assert.Less(t, second, 2*time.Second)

	_, second, _, ok = seedingRun(t, &lateCache{begin: time.Minute, late: true}, 8_000)
	assert.EqualValues(t, 40, ok)
	assert.Greater(t, second, 9*time.Second)
	assert.Less(t, second, 13*time.Second)
}
