package worker

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestAbsence(t *testing.T) {
	minute := []scheduler.Took{{Duration: time.Minute, Count: 10}}
	for _, c := range []struct {
		name string
		do   func(a *absence)
		want time.Duration // when it leaves; 0: never
	}{
		{"a long tool", func(a *absence) {
			a.moved(batch.ToolWait)
			a.began(minute)
		}, time.Second},
		{"one that began while the answer was written", func(a *absence) {
			a.began(minute)
			time.Sleep(5 * time.Second)
			a.moved(batch.ToolWait)
		}, 6 * time.Second},
		{"one that is nearly through by then", func(a *absence) {
			a.began([]scheduler.Took{{Duration: 40 * time.Second, Count: 10}})
			time.Sleep(35 * time.Second)
			a.moved(batch.ToolWait)
		}, 50 * time.Second},
		{"nothing is known", func(a *absence) {
			a.moved(batch.ToolWait)
			a.began(nil)
		}, 20 * time.Second},
		{"a short one before a long one", func(a *absence) {
			a.moved(batch.ToolWait)
			a.began([]scheduler.Took{{Duration: 15 * time.Second, Count: 10}})
			time.Sleep(10 * time.Second)
			a.began(minute)
		}, 11 * time.Second},
		{"a long one that a cache answers", func(a *absence) {
			a.moved(batch.ToolWait)
			a.began(minute)()
			a.moved(batch.Running)
		}, 0},
		{"no wait at all", func(a *absence) { a.began(minute) }, 0},
		{"the attempt ended", func(a *absence) {
			a.moved(batch.ToolWait)
			a.end()
		}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, left := time.Now(), time.Duration(0)
			a := newAbsence(func() {
				assert.Zero(t, left, "%s: it left twice", c.name)
				left = time.Since(began)
			}, func() time.Duration { return 20 * time.Second })
			c.do(a)
			time.Sleep(time.Hour)
			synctest.Wait()
			assert.Equal(t, c.want, left, c.name)
		})
	}
}

// The first tool call of each of 24 agents takes two minutes, and their cache holds only a few of them. If waiting
// agents kept their part of the cache, they would run in waves of two minutes.
func TestLongToolWaitsFreeTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		worker := w.start("node-1", func(c *Config) {
			c.Slots, c.MaxAgents = 64, 256
			c.Backend = reporting{newEngine(t, 2_000)}
			pool, err := toolpool.New(toolpool.Config{})
			require.NoError(t, err)
			require.NoError(t, pool.Register(toolpool.Tool{
				Name: "look", Description: "looks", Parameters: []byte(`{"type":"object"}`), Timeout: 10 * time.Minute,
				Run: func(ctx context.Context, args json.RawMessage) (string, error) {
					if wait := 800 * time.Millisecond; strings.Contains(string(args), "turn 0") {
						_ = sleep.For(ctx, 2*time.Minute)
					} else {
						_ = sleep.For(ctx, wait)
					}
					return string(args) + strings.Repeat("what was seen ", resultBytes/14), nil
				},
			}))
			c.Tools = pool
		})
		began := time.Now()
		id := w.submit(24, func(c *spec.Compiled) {
			c.System = strings.Repeat("All agents share this. ", 80)
			c.Tools, c.MaxTurns = []string{"look"}, toolTurns+1
		})
		time.Sleep(100 * time.Second)
		s := worker.shared.server.kv.state()
		assert.Greater(t, s.Away, 6, "%+v", s)
		assert.LessOrEqual(t, s.Held, s.Budget)
		info := w.await(id, time.Hour)
		assert.EqualValues(t, 24, info.Counts.OK)
		t.Logf("wall %s, %d away after 100 s", time.Since(began), s.Away)
		assert.Less(t, time.Since(began), 4*time.Minute)
		assert.Zero(t, worker.shared.server.kv.state().Live)
		worker.end()
	})
}
