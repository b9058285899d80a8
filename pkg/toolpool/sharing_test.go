package toolpool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// slow returns a tool with the given sharing that takes two seconds and counts its runs.
func slow(share Share, runs *int, ended *error) Tool {
	var mu sync.Mutex
	return tool(share, func(ctx context.Context, _ json.RawMessage) (string, error) {
		mu.Lock()
		*runs++
		n := *runs
		mu.Unlock()
		select {
		case <-time.After(2 * time.Second):
			return fmt.Sprintf("run %d", n), nil
		case <-ctx.Done():
			if ended != nil {
				*ended = context.Cause(ctx)
			}
			return "", ctx.Err()
		}
	})
}

func TestOverlappingEqualCallsRunOnce(t *testing.T) {
	for _, share := range []Share{Pure, ForTTL, Inflight} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			p := newPool(t, slow(share, &runs, nil))
			var mu sync.Mutex
			var results []Result
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					r := call(t, p, "t", []string{`{"a":1,"b":2}`, `{"b":2,  "a":1}`}[i%2])
					mu.Lock()
					results = append(results, r)
					mu.Unlock()
				})
			}
			wg.Wait()
			executed := 0
			for _, r := range results {
				assert.Equal(t, "run 1", r.Content)
				if r.Executed {
					executed++
				}
			}
			assert.Equal(t, 1, runs)
			assert.Equal(t, 1, executed, "exactly one caller is credited with the execution")
			s := p.Stats()["t"]
			assert.InEpsilon(t, 2*time.Second, s.P50, 0.02)
			assert.Equal(t, Stats{Asked: 50, Executed: 1, SharedProcess: 49}, withoutTimes(s))
		})
	}
}

func TestEffectIsNeverShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		p := newPool(t, slow(Effect, &runs, nil))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { assert.True(t, call(t, p, "t", `{}`).Executed) })
		}
		wg.Wait()
		assert.Equal(t, 5, runs)
	})
}

func TestResultIsReusedWithinItsWindow(t *testing.T) {
	for _, c := range []struct {
		share Share
		after time.Duration
		runs  int
	}{
		{Pure, 1000 * time.Hour, 1},
		{ForTTL, time.Minute - 1, 1},
		{ForTTL, time.Minute, 2},
		{Inflight, 0, 2},
		{Effect, 0, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			p := newPool(t, slow(c.share, &runs, nil))
			call(t, p, "t", `{}`)
			time.Sleep(c.after)
			second := call(t, p, "t", `{}`)
			assert.Equal(t, c.runs, runs, "%s after %s", c.share, c.after)
			assert.Equal(t, c.runs == 2, second.Executed)
			assert.Equal(t, int64(2-c.runs), p.Stats()["t"].Cached)
		})
	}
}

func TestKeySeparatesCalls(t *testing.T) {
	t.Parallel()
	version, runs := "1", 0
	tl := tool(Pure, func(context.Context, json.RawMessage) (string, error) { runs++; return "x", nil })
	tl.Key = func(context.Context, json.RawMessage) (string, error) { return version, nil }
	p := newPool(t, tl)
	call(t, p, "t", `{}`)
	call(t, p, "t", `{}`)
	assert.Equal(t, 1, runs)
	version = "2"
	call(t, p, "t", `{}`)
	assert.Equal(t, 2, runs)
	// Numbers beyond the precision of a float are different numbers.
	call(t, p, "t", `{"id":12345678901234567890}`)
	call(t, p, "t", `{"id":12345678901234567891}`)
	assert.Equal(t, 4, runs)
}

func TestKeyPartsDoNotRunTogether(t *testing.T) {
	t.Parallel()
	assert.NotEqual(t, keyOf("ab", "c"), keyOf("a", "bc"))
	assert.NotEqual(t, keyOf("a", ""), keyOf("", "a"))
}

func TestErrorsAreNotCached(t *testing.T) {
	t.Parallel()
	runs := 0
	p := newPool(t, tool(Pure, func(context.Context, json.RawMessage) (string, error) {
		if runs++; runs == 1 {
			return "", errors.New("not now")
		}
		return "fine", nil
	}))
	assert.True(t, call(t, p, "t", `{}`).Failed)
	assert.Equal(t, "fine", call(t, p, "t", `{}`).Content)
}

func TestLeavingWaiterDoesNotEndTheExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		var ended error
		p := newPool(t, slow(Pure, &runs, &ended))
		fenced := errors.New("fenced")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // the one that starts the execution
			_, err := p.Call(ctx, Call{Name: "t"})
			assert.ErrorIs(t, err, fenced)
		})
		synctest.Wait()
		var r Result
		wg.Go(func() { r = call(t, p, "t", "") })
		time.Sleep(time.Second)
		cancel(fenced)
		wg.Wait()
		assert.Equal(t, Result{Content: "run 1", Executed: true, Source: FromTool}, r)
		assert.NoError(t, ended)
		_, err := p.Call(ctx, Call{Name: "t"})
		assert.ErrorIs(t, err, fenced)
	})
}

func TestLastLeavingWaiterEndsTheExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		var ended error
		p := newPool(t, slow(Inflight, &runs, &ended))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := p.Call(ctx, Call{Name: "t"})
				assert.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		synctest.Wait()
		assert.ErrorIs(t, ended, context.Canceled)
		assert.Equal(t, "run 2", call(t, p, "t", "").Content, "the next caller starts a new execution")
	})
}

func TestTimeouts(t *testing.T) {
	hangs := tool(Inflight, func(ctx context.Context, _ json.RawMessage) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})
	for _, c := range []struct {
		name           string
		tool, caller   time.Duration
		share          Share
		after          time.Duration
		ignoresContext bool
	}{
		{name: "the default", after: time.Minute},
		{name: "the caller's", caller: time.Second, after: time.Second},
		{name: "the tool's", tool: 5 * time.Second, caller: time.Second, after: 5 * time.Second},
		{name: "effect", share: Effect, caller: time.Second, after: time.Second},
		{name: "a tool that ignores its context", caller: time.Second, after: 2 * time.Second, ignoresContext: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			p, err := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			tl := hangs
			tl.Timeout, tl.Share = c.tool, c.share
			if c.ignoresContext {
				tl.Run = func(context.Context, json.RawMessage) (string, error) { time.Sleep(time.Hour); return "late", nil }
			}
			require.NoError(t, p.Register(tl))
			began := time.Now()
			r, err := p.Call(t.Context(), Call{Name: "t", Timeout: c.caller})
			require.NoError(t, err)
			assert.True(t, r.Failed)
			assert.Contains(t, r.Content, "t gave no answer within", c.name)
			assert.Equal(t, c.after, time.Since(began), c.name)
			assert.Equal(t, c.ignoresContext, bytes.Contains(log.Bytes(), []byte("left behind")))
			time.Sleep(time.Hour)
		})
	}
}

func TestJoinerHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		p := newPool(t, slow(Inflight, &runs, nil))
		var wg sync.WaitGroup
		wg.Go(func() { assert.Equal(t, "run 1", call(t, p, "t", "").Content) })
		synctest.Wait()
		r, err := p.Call(t.Context(), Call{Name: "t", Timeout: time.Second})
		require.NoError(t, err)
		assert.True(t, r.Failed)
		assert.Contains(t, r.Content, "within 1s")
		wg.Wait()
	})
}

func TestEffectStopsWhenItsCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		var ended error
		p := newPool(t, slow(Effect, &runs, &ended))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Call(ctx, Call{Name: "t"})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, ended, context.DeadlineExceeded)
	})
}

func TestPanicIsLoggedAndFailsAllWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p, err := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, p.Register(tool(Pure, func(context.Context, json.RawMessage) (string, error) {
			time.Sleep(time.Second)
			panic("nil map")
		})))
		exits := tool(Pure, func(context.Context, json.RawMessage) (string, error) { runtime.Goexit(); return "", nil })
		exits.Name = "exits"
		require.NoError(t, p.Register(exits))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.Contains(t, call(t, p, "t", "").Content, "broke down") })
		}
		wg.Wait()
		assert.Contains(t, log.String(), "nil map")
		assert.Contains(t, log.String(), "sharing_test.go")
		assert.Contains(t, call(t, p, "exits", "").Content, "broke down")
	})
}

func TestCacheLimitsEntriesAndBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		entries := rapid.IntRange(1, 10).Draw(rt, "entries")
		limit := rapid.IntRange(400, 5000).Draw(rt, "bytes")
		c, err := newCache(entries, limit)
		require.NoError(rt, err)
		now := time.Time{}.Add(time.Hour)
		latest := map[key]string{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 2000), 1, 60).Draw(rt, "adds") {
			k := keyOf(fmt.Sprint(n % 13))
			content := string(bytes.Repeat([]byte("x"), n))
			expires := time.Time{}
			if n%2 == 0 {
				expires = now.Add(time.Duration(n%5) * time.Second)
			}
			c.add(k, content, expires)
			latest[k] = content
			if n%3 == 0 {
				now = now.Add(time.Second)
			}
			if got, ok := c.get(k, now); ok {
				require.Equal(rt, latest[k], got)
			}
			held := 0
			for _, v := range c.lru.Values() {
				held += size(v)
			}
			require.Equal(rt, held, c.bytes, "the byte count is exact")
			require.LessOrEqual(rt, held, limit)
			require.LessOrEqual(rt, c.lru.Len(), entries)
		}
	})
}

// Executions of one key never overlap while a caller waits for the first (I6), and each result credits exactly one
// caller with its execution.
func TestExecutionsOfOneKeyDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = overlap(t, seed) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func overlap(t *testing.T, seed uint64) (fault string) {
	var mu sync.Mutex
	running, executions, told := map[string]int{}, 0, 0
	p := newPool(t, tool(Inflight, func(ctx context.Context, args json.RawMessage) (string, error) {
		mu.Lock()
		executions++
		running[string(args)]++
		if running[string(args)] > 1 {
			fault = "two executions of " + string(args)
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			running[string(args)]--
			mu.Unlock()
		}()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return "x", nil
	}))
	var wg sync.WaitGroup
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 30 {
		start := time.Duration(rng.IntN(5000)) * time.Millisecond
		// No caller comes in the very instant in which another leaves: an abandoned execution may not have ended yet then.
		patience := time.Duration(rng.IntN(3000))*time.Millisecond + time.Microsecond
		arg := fmt.Sprintf(`{"n":%d}`, rng.IntN(3))
		wg.Go(func() {
			time.Sleep(start)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r, err := p.Call(ctx, Call{Name: "t", Arguments: arg})
			mu.Lock()
			defer mu.Unlock()
			if err == nil && r.Executed {
				told++
			}
		})
	}
	wg.Wait()
	if told > executions {
		return fmt.Sprintf("%d callers are told that they ran %d executions", told, executions)
	}
	return fault
}

func BenchmarkCall(b *testing.B) {
	for _, share := range []Share{Pure, Inflight, Effect} {
		b.Run("share="+string(share), func(b *testing.B) {
			p, err := New(Config{})
			require.NoError(b, err)
			require.NoError(b, p.Register(tool(share, says("hello"))))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Call(b.Context(), Call{Name: "t", Arguments: `{"path":"a/b.go"}`}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
