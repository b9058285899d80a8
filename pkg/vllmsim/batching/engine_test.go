package batching

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// small is a profile with simple step times: 10 ms, and 1 ms per prompt token.
func small(blocks int) Profile {
	return Profile{
		Name: "small", Cost: Cost{Step: 10 * time.Millisecond, Prefill: time.Millisecond},
		BlockSize: 4, Blocks: blocks, BudgetTokens: 64, MaxSequences: 8,
	}
}

func newEngine(t testing.TB, p Profile) *Engine {
	t.Helper()
	e, err := New(p)
	require.NoError(t, err)
	return e
}

// request returns a request with shared leading blocks, followed by blocks that depend on own.
func request(shared, prompt, output int, own uint64) Request {
	return Request{PromptTokens: prompt, OutputTokens: output, Blocks: hashes(shared, prompt+output, own, 4)}
}

// play executes steps until the engine is idle, and returns their total duration.
func play(e *Engine) (took time.Duration) {
	for !e.Idle() {
		st := e.Begin()
		took += st.Duration
		e.End(st)
	}
	return took
}

func TestOneRequest(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(100))
	s := e.Add(request(0, 20, 3, 1))

	st := e.Begin()
	assert.Equal(t, Step{Duration: 30 * time.Millisecond, PrefillTokens: 20, planned: []*Sequence{s}}, st)
	assert.Equal(t, []*Sequence{s}, e.End(st), "the prompt's pass gives the first token")
	assert.Equal(t, 20*time.Millisecond, play(e), "each further token is a step")
	assert.Equal(t, 3, s.Generated)
	assert.True(t, s.Done)
	assert.Zero(t, e.Load().UsedBlocks)
	assert.Equal(t, Counters{Steps: 3, PromptTokens: 20, GeneratedTokens: 3, PrefilledTokens: 20, Busy: 50 * time.Millisecond}, e.Counters())
}

func TestLongPromptIsChunkedBesideDecoding(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(100))
	first := e.Add(request(0, 4, 10, 1))
	e.End(e.Begin())
	long := e.Add(request(0, 100, 1, 2))
	st := e.Begin()
	assert.Equal(t, 63, st.PrefillTokens, "decoding takes its token of the budget first")
	assert.Equal(t, 1, st.Decoding)
	assert.Equal(t, []*Sequence{first}, e.End(st))
	st = e.Begin()
	assert.Equal(t, 37, st.PrefillTokens)
	assert.Equal(t, []*Sequence{first, long}, e.End(st))
}

func TestSharedPrefixIsComputedAndStoredOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(100))
	for own := range uint64(3) {
		e.Add(request(16, 24, 1, own+1))
	}
	st := e.Begin()
	assert.Equal(t, 24+8+8, st.PrefillTokens, "sequences that join in the same step share blocks")
	assert.Equal(t, 4+3*2, e.Load().UsedBlocks)
	e.End(st)
	assert.Equal(t, 32, e.Counters().CachedTokens)

	again := e.Add(request(16, 24, 1, 1))
	st = e.Begin()
	assert.Equal(t, 4, st.PrefillTokens, "the last token is always computed, and so is its block")
	e.End(st)
	assert.Equal(t, 20, again.Cached)
}

func TestNoPrefixCacheSharesNothing(t *testing.T) {
	t.Parallel()
	p := small(100)
	p.NoPrefixCache = true
	e := newEngine(t, p)
	e.Add(request(16, 24, 1, 1))
	e.Add(request(16, 24, 1, 1))
	assert.Equal(t, 48, e.Begin().PrefillTokens)
}

func TestEvictionIsLRUAndEndBeforeStart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(10)) // 40 tokens
	old, recent := request(0, 16, 1, 1), request(0, 16, 1, 2)
	e.Add(old)
	play(e)
	e.Add(recent)
	play(e)
	e.Add(request(0, 11, 1, 3)) // takes three blocks: two unused ones, and the end of the oldest sequence
	play(e)

	again := e.Add(recent)
	play(e)
	assert.Equal(t, 12, again.Cached)
	again = e.Add(old)
	play(e)
	assert.Less(t, again.Cached, 12)
}

func TestMissingBlocksPreemptTheYoungest(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(8)) // 32 tokens
	first, second := e.Add(request(0, 12, 10, 1)), e.Add(request(0, 12, 10, 2))
	for e.Counters().Preemptions == 0 {
		e.End(e.Begin())
	}
	assert.Positive(t, first.Generated)
	assert.Equal(t, Load{Running: 1, Waiting: 1, UsedBlocks: first.tokens()/4 + 1, Blocks: 8}, e.Load())
	kept := second.Generated
	assert.Positive(t, kept)
	play(e)
	assert.Equal(t, 10, first.Generated)
	assert.Equal(t, 10, second.Generated, "it continues after the tokens it had generated")
	assert.Positive(t, second.Recomputed)
	assert.Zero(t, first.Recomputed)
	assert.Equal(t, second.Recomputed, e.Counters().RecomputedTokens)
}

func TestPriority(t *testing.T) {
	t.Parallel()
	order := func(byPriority bool) (out []int) {
		p := small(100)
		p.MaxSequences = 1
		e := newEngine(t, p)
		e.ByPriority = byPriority
		e.Add(request(0, 4, 1, 9))
		for _, priority := range []int{5, 0, -5} {
			r := request(0, 4, 1, uint64(10+priority))
			r.Priority = priority
			e.Add(r)
		}
		for !e.Idle() {
			for _, s := range e.End(e.Begin()) {
				out = append(out, s.Priority)
			}
		}
		return out
	}
	assert.Equal(t, []int{0, 5, 0, -5}, order(false), "arrival alone counts")
	assert.Equal(t, []int{-5, 0, 0, 5}, order(true), "lower is sooner")
}

func TestAbortFreesBlocksImmediately(t *testing.T) {
	t.Parallel()
	p := small(100)
	p.MaxSequences = 1
	e := newEngine(t, p)
	running, waiting := e.Add(request(0, 8, 5, 1)), e.Add(request(0, 8, 5, 2))
	st := e.Begin()
	e.Abort(waiting)
	e.Abort(running)
	assert.Equal(t, Load{Blocks: 100}, e.Load())
	assert.True(t, e.Idle())
	assert.Empty(t, e.End(st), "a sequence aborted during a step gives no token")
}

// check compares the pool with the blocks of the running sequences.
func (e *Engine) check() error {
	users := make([]int32, len(e.pool.blocks))
	for _, s := range e.running {
		if want := blocksFor(s.computed, e.profile.BlockSize); len(s.blocks) < want {
			return fmt.Errorf("a sequence has %d tokens computed in %d blocks", s.computed, len(s.blocks))
		}
		for _, b := range s.blocks {
			users[b]++
		}
	}
	free := 0
	for b, n := range users {
		if e.pool.blocks[b].users != n {
			return fmt.Errorf("block %d has %d users and counts %d", b, n, e.pool.blocks[b].users)
		}
		if n == 0 {
			free++
		}
	}
	listed := 0
	for b := e.pool.first; b != none; b = e.pool.blocks[b].next {
		listed++
	}
	if free != e.pool.free || free != listed {
		return fmt.Errorf("%d blocks are free, %d listed, %d counted", free, listed, e.pool.free)
	}
	for h, b := range e.pool.byHash {
		if e.pool.blocks[b].hash != h {
			return fmt.Errorf("block %d is stored under a hash that is not its own", b)
		}
	}
	return nil
}

func TestAnyTraffic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := small(rapid.IntRange(12, 60).Draw(rt, "blocks"))
		p.BudgetTokens = rapid.IntRange(1, 64).Draw(rt, "budget")
		p.MaxSequences = rapid.IntRange(1, 6).Draw(rt, "sequences")
		e, err := New(p)
		require.NoError(rt, err)
		e.ByPriority = rapid.Bool().Draw(rt, "by priority")
		var all []*Sequence
		aborted := map[*Sequence]bool{}
		for range rapid.IntRange(1, 60).Draw(rt, "operations") {
			switch rapid.SampledFrom([]string{"add", "add", "step", "step", "step", "abort"}).Draw(rt, "operation") {
			case "add":
				r := request(rapid.SampledFrom([]int{0, 8, 16}).Draw(rt, "shared"), rapid.IntRange(1, 30).Draw(rt, "prompt"),
					rapid.IntRange(1, 15).Draw(rt, "output"), uint64(rapid.IntRange(1, 6).Draw(rt, "own")))
				r.Priority = rapid.IntRange(-2, 2).Draw(rt, "priority")
				if e.Fits(r) {
					all = append(all, e.Add(r))
				}
			case "step":
				st := e.Begin()
				require.LessOrEqual(rt, st.PrefillTokens+st.Decoding, p.BudgetTokens)
				require.NoError(rt, e.check())
				e.End(st)
			case "abort":
				if len(all) > 0 {
					s := all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]
					aborted[s] = aborted[s] || !s.Done
					e.Abort(s)
				}
			}
			require.NoError(rt, e.check())
			require.LessOrEqual(rt, len(e.running), p.MaxSequences)
		}
		for steps := 0; !e.Idle(); steps++ {
			require.Less(rt, steps, 100_000, "the engine makes no progress")
			e.End(e.Begin())
		}
		require.NoError(rt, e.check())
		require.Equal(rt, p.Blocks, e.pool.free)
		for _, s := range all {
			require.True(rt, s.Done)
			if !aborted[s] {
				require.Equal(rt, s.OutputTokens, s.Generated)
			}
		}
	})
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"a10g-7b", "h100-32b"}, Profiles())
	for _, name := range Profiles() {
		p, err := LookupProfile(name)
		require.NoError(t, err)
		assert.Equal(t, name, p.Name)
		newEngine(t, p)
	}
	_, err := LookupProfile("tpu")
	require.ErrorContains(t, err, "a10g-7b, h100-32b")
	_, err = New(Profile{})
	require.Error(t, err)
}

// One op is one step with 64 sequences that decode with 4,000 tokens of context each.
func BenchmarkStep(b *testing.B) {
	p, err := LookupProfile("a10g-7b")
	require.NoError(b, err)
	p.Blocks, p.BudgetTokens = 100_000, 1<<20
	e := newEngine(b, p)
	for own := range uint64(64) {
		e.Add(Request{PromptTokens: 4_000, OutputTokens: 1 << 30, Blocks: hashes(2_000, 4_000, own+1, p.BlockSize)})
	}
	e.End(e.Begin())
	b.ReportAllocs()
	for b.Loop() {
		e.End(e.Begin())
	}
}

// A tier in the host's memory keeps what the cache lost. Loading it is cheaper than computing it.
func TestHostTierKeepsEvictedBlocks(t *testing.T) {
	t.Parallel()
	p := small(8)
	p.HostBlocks, p.Cost.Load = 100, 10*time.Microsecond
	e := newEngine(t, p)
	first := e.Add(request(0, 24, 1, 1))
	play(e)
	e.Add(request(0, 24, 1, 2)) // takes the blocks of the first
	play(e)
	again := e.Add(request(0, 24, 1, 1))
	st := e.Begin()
	assert.Equal(t, 4, st.PrefillTokens)
	e.End(st)
	play(e)
	assert.Equal(t, 20, again.Cached)
	assert.Positive(t, e.Counters().LoadedTokens)
	assert.Equal(t, first.Blocks, again.Blocks)
	require.NoError(t, e.check())
}

func TestKeptBlocksStayUntilResumedOrDropped(t *testing.T) {
	t.Parallel()
	e := newEngine(t, small(12)) // 48 tokens
	r := request(0, 20, 1, 1)
	r.Keep = true
	kept := e.Add(r)
	play(e)
	require.Equal(t, 5, e.Load().UsedBlocks)
	e.Add(request(0, 26, 1, 2)) // fits beside it
	play(e)
	next := request(0, 28, 1, 1)
	next.Resumes = kept
	resumed := e.Add(next)
	play(e)
	assert.Equal(t, 20, resumed.Cached)
	assert.Zero(t, e.Load().UsedBlocks)

	e.ByPriority = true
	r = request(0, 20, 1, 3)
	r.Keep, r.Priority = true, 2
	e.Add(r)
	play(e)
	large := request(0, 44, 1, 4)
	large.Priority = 1
	e.Add(large) // older, so the younger one loses its blocks
	play(e)
	assert.Zero(t, e.Load().UsedBlocks)
}
