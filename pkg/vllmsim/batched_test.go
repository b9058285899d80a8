package vllmsim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// a10g is a server with a profile.
func a10g(change func(*Config)) Config {
	c := Config{Profile: "a10g-7b"}
	if change != nil {
		change(&c)
	}
	return c
}

// prose returns about n tokens of text with a beginning that depends on name.
func prose(name string, n int) string { return name + strings.Repeat(" word", n) }

func TestProfileUsesTheEnginesTiming(t *testing.T) {
	t.Parallel()
	for scale, want := range map[float64]time.Duration{1: time.Second, 10: time.Second / 10} {
		synctest.Test(t, func(t *testing.T) {
			_, p := newPipe(t, a10g(func(c *Config) { c.TimeScale = scale }))
			body := chatBody(system(prose("shared", 5_000))+","+user("hello"), streamed)
			start := time.Now()
			cold := p.ask(t.Context(), body, nil)
			coldTime := time.Since(start)
			start = time.Now()
			warm := p.ask(t.Context(), body, nil)
			warmTime := time.Since(start)
			assert.Zero(t, cold.usage.Details.Cached)
			assert.Greater(t, warm.usage.Details.Cached, warm.usage.Prompt-2*blockSize)
			assert.InEpsilon(t, want, coldTime-warmTime, 0.3, "the cost of 5,000 tokens of prefill")
		})
	}
}

func TestNextTurnReusesTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, a10g(nil))
		talk := user(prose("Read docs/a.md.", 200))
		first := p.ask(t.Context(), chatBody(talk, streamed+","+readFile), nil)
		require.Len(t, first.calls, 1)
		second := p.ask(t.Context(), chatBody(talk+toolTurn(first.calls[0], prose("content", 300)), streamed+","+readFile), nil)
		was := first.usage.Total / blockSize * blockSize
		assert.InDelta(t, was, second.usage.Details.Cached, blockSize, "the whole previous turn, floored to blocks")
	})
}

func TestFullKVCacheQueuesRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 640 tokens of KV and prompts of about 260 tokens: a third request waits, and growth preempts.
		s, p := newPipe(t, a10g(func(c *Config) { c.KVBlocks = 40; c.MaxQueued = 6 }))
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				r := p.ask(t.Context(), chatBody(user(prose(fmt.Sprint("job ", i), 250)), streamed), nil)
				assert.Equal(t, 200, r.status)
			})
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		l := s.engine.load()
		assert.Equal(t, 6, l.running+l.waiting)
		assert.LessOrEqual(t, l.running, 2)
		assert.Greater(t, l.kvUsage, 0.7)
		assert.Equal(t, 503, p.ask(t.Context(), chatBody(user("one too many"), streamed), nil).status)
		all.Wait()
		assert.Equal(t, load{preemptions: s.engine.load().preemptions}, s.engine.load())
	})
}

func TestPriorityPolicy(t *testing.T) {
	t.Parallel()
	for byPriority, want := range map[bool][]int{false: {9, 5, 0, -5}, true: {9, -5, 0, 5}} {
		synctest.Test(t, func(t *testing.T) {
			_, p := newPipe(t, a10g(func(c *Config) { c.ByPriority = byPriority; c.MaxRunning = 1 }))
			var mu sync.Mutex
			var order []int
			var all sync.WaitGroup
			for i, priority := range []int{9, 5, 0, -5} {
				all.Go(func() {
					// The first request runs before the others arrive.
					time.Sleep(time.Duration(i) * 10 * time.Millisecond)
					p.ask(t.Context(), chatBody(user(prose(fmt.Sprint("job ", i), 2_000)), fmt.Sprintf(`%s,"priority":%d`, streamed, priority)), nil)
					mu.Lock()
					order = append(order, priority)
					mu.Unlock()
				})
			}
			all.Wait()
			assert.Equal(t, want, order)
		})
	}
}

func TestClosedConnectionFreesTheKVCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newPipe(t, a10g(nil))
		ctx, leave := context.WithCancel(t.Context())
		resp, err := p.post(ctx, chatBody(user(prose("long", 20_000)), streamed), nil)
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.Positive(t, s.engine.load().kvUsage)
		leave()
		_ = resp.Body.Close()
		synctest.Wait()
		assert.Equal(t, load{}, s.engine.load())
	})
}

func TestConfigOfAProfile(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Profile: "tpu"})
	require.ErrorContains(t, err, strings.Join(batching.Profiles(), ", "))
	_, err = New(a10g(func(c *Config) { c.ForwardMS = 5; c.MaxModelLen = 1 << 20; c.TimeScale = -1 }))
	require.ErrorContains(t, err, "fixed latencies")
	require.ErrorContains(t, err, "does not fit")
	require.ErrorContains(t, err, "time-scale")
	_, err = New(Config{ByPriority: true})
	require.ErrorContains(t, err, "need a profile")
	small, err := New(Config{Profile: "h100-32b"})
	require.NoError(t, err)
	assert.Equal(t, 27_200, small.cfg.MaxModelLen, "the context is limited by the KV cache")
}
