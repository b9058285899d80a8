package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func peakOf(agents []Footprint, g Growth) int {
	var held curve
	for _, a := range agents {
		held.add(a, g)
	}
	return int(math.Ceil(held.peak()))
}

func TestPeakIsReachedWhenAllGrowTogether(t *testing.T) {
	t.Parallel()
	g := Growth{Start: 100, Output: 10, PerTurn: 50, Turns: 4}
	for name, c := range map[string]struct {
		agents []Footprint
		want   int
	}{
		"nobody":                         {nil, 0},
		"one new agent grows to its end": {[]Footprint{{Own: 100}}, 110 + 3*50},
		"two start together":             {[]Footprint{{Own: 100}, {Own: 100}}, 2 * (110 + 3*50)},
		// The old agent has one turn to go: it holds 310 + 50 now and leaves. The new one then grows alone.
		"staggered agents peak at different times": {[]Footprint{{Own: 310, Turns: 3}, {Own: 100}}, 310 + 50 + 110},
		"an agent beyond the expected length":      {[]Footprint{{Own: 500, Turns: 9}}, 550},
	} {
		assert.Equal(t, c.want, peakOf(c.agents, g), name)
	}
	half := Growth{Output: 10, PerTurn: 50, Turns: 1.5}
	assert.Equal(t, 110, peakOf([]Footprint{{Own: 100}}, half), "half an agent at 160 is less than a whole one at 110")
}

// ledgerWith returns a ledger with one batch without a shared prefix. Its agents take four turns of 100 tokens, learned from
// four finished agents.
func ledgerWith(capacity int) *Ledger {
	l := NewLedger(LedgerConfig{Capacity: capacity, BlockSize: 16})
	l.Declare("b", 0, 8)
	for i := range 40 {
		id := fmt.Sprint("gone ", i)
		l.Start(id, "b", 400, 0, nil)
		total := 0
		for range 4 {
			total += 90
			l.Turn(id, total*4, total, max(0, total-106), 10)
			total += 10
		}
		l.End(id, true)
	}
	return l
}

func TestRoomReservesFutureGrowth(t *testing.T) {
	t.Parallel()
	l := ledgerWith(10_000)
	n := l.Room("b", 360, 1_000)
	// An agent ends at 400 tokens and holds 250 on average.
	assert.InDelta(t, 9_500/400, n, 3)
	for i := range n {
		l.Start(fmt.Sprint("a", i), "b", 360, 0, nil)
	}
	assert.Zero(t, l.Room("b", 360, 1_000), "admitted agents count at once")
	assert.Equal(t, n, l.State().Live)
}

// The only turn of an agent adds an answer, and no result of a tool.
func TestAgentsOfOneTurnDoNotPause(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 10_000, BlockSize: 16})
	l.Declare("b", 0, 1)
	for i := range 40 {
		id := fmt.Sprint("gone ", i)
		l.Start(id, "b", 360, 0, nil)
		l.Turn(id, 360, 90, 0, 10)
		l.End(id, true)
	}
	n := l.Room("b", 360, 1_000)
	assert.InDelta(t, 10_000/100, n, 5)
	for i := range n {
		l.Start(fmt.Sprint("a", i), "b", 360, 0, nil)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range n {
		assert.NoError(t, l.Await(over, fmt.Sprint("a", i)), "agent %d of %d", i, n)
	}
}

// Paused agents will resume, so they leave no room for new ones. Otherwise the new ones would pause too, until this worker had
// claimed far more jobs than it can run and kept them from other workers.
func TestPausedAgentsLeaveNoRoom(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 10_000})
	l.Declare("b", 0, 2)
	first := func(id string) { l.Turn(id, 400, 100, 0, 10) }
	for i := range 40 { // two turns; the second adds 1,000 tokens
		id := fmt.Sprint("gone ", i)
		l.Start(id, "b", 400, 0, nil)
		first(id)
		l.Turn(id, 4_400, 1_100, 100, 10)
		l.End(id, true)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	admit := func(limit int) {
		for range l.Room("b", 400, limit) {
			id := fmt.Sprint(l.State().Live)
			l.Start(id, "b", 400, 0, nil)
			require.NoError(t, l.Await(over, id), "the first turn adds little")
		}
	}
	admit(6)
	for i := range 6 {
		first(fmt.Sprint(i))
	}
	admit(100)
	live, paused := l.State().Live, 0
	for i := 6; i < live; i++ {
		first(fmt.Sprint(i))
	}
	for i := range live {
		if l.Await(over, fmt.Sprint(i)) != nil {
			paused++
		}
	}
	require.Positive(t, paused)
	for i := range 3 {
		l.End(fmt.Sprint(i), true)
	}
	assert.Zero(t, l.Room("b", 400, 100), "the paused agents resume first")
}

func TestASharedPrefixCountsOnce(t *testing.T) {
	t.Parallel()
	room := func(prefixBytes int) int {
		l := ledgerWith(10_000)
		l.Declare("b", prefixBytes, 8)
		return l.Room("b", 360, 1_000)
	}
	assert.InDelta(t, room(0)-2_000/400, room(8_000), 3, "2,000 tokens of prefix take the room of five agents, not of all")
}

func TestOneAgentMayAlwaysLive(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 100})
	l.Declare("b", 0, 8)
	assert.Equal(t, 1, l.Room("b", 1_000_000, 50), "a job larger than the cache must run too")
	l.Start("a", "b", 1_000_000, 0, nil)
	assert.Zero(t, l.Room("b", 1_000_000, 50))
	require.NoError(t, l.Await(t.Context(), "a"))
	assert.Equal(t, 1, l.Room("unknown", 10, 50))
}

func TestShortfallCountsEvictedTokens(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 10_000, BlockSize: 16})
	l.Declare("b", 0, 8)
	l.Start("a", "b", 400, 0, nil)
	assert.Zero(t, l.Turn("a", 4_000, 1_000, 0, 24), "the first turn has no shortfall")
	assert.Zero(t, l.Turn("a", 5_200, 1_300, 1_024, 24), "the whole previous turn, rounded down to blocks")
	assert.Equal(t, 1_312-512, l.Turn("a", 6_000, 1_500, 512, 24)+16, "the block of the last token does not count")
	assert.Zero(t, l.Turn("a", 7_000, 1_800, -1, 24), "the server does not report cached tokens")
	assert.Zero(t, l.Turn("nobody", 1, 1, 0, 1))
}

// Losses while too many tokens are held do not change the learned capacity. Losses without that reason lower it. A full cache
// without losses raises it again, up to the reported capacity.
func TestCapacityIsLearnedFromUnexplainedLosses(t *testing.T) {
	t.Parallel()
	lose := func(l *Ledger, id string, total int) {
		l.Turn(id, 4*total, total, 0, 0)
		l.Turn(id, 4*total, total, 0, 0)
	}
	l := NewLedger(LedgerConfig{Capacity: 10_000})
	l.Declare("b", 0, 8)
	l.Start("a", "b", 0, 0, nil)
	for range 10 {
		lose(l, "a", 1_000)
	}
	low := l.State().Budget
	assert.Less(t, low, 9_000)

	over := NewLedger(LedgerConfig{Capacity: 10_000})
	over.Declare("b", 0, 8)
	over.Start("a", "b", 0, 0, nil)
	for range 10 {
		lose(over, "a", 12_000)
	}
	assert.Equal(t, 10_000, over.State().Budget)

	for range 10_000 {
		l.Turn("a", 4*9_500, 9_500, 9_500, 0)
	}
	assert.Equal(t, 10_000, l.State().Budget)
}

// 20,000 ended batches would otherwise slow down each decision.
func TestKeepDropsEndedBatches(t *testing.T) {
	t.Parallel()
	l := ledgerWith(1_000)
	for i := range 20_000 {
		name := fmt.Sprint(i)
		l.Declare(name, 10, 1)
		l.Start(name+"/0", name, 10, 0, nil)
		l.End(name+"/0", true)
		l.Keep(map[string]bool{name: true})
		assert.LessOrEqual(t, len(l.classes), 1)
	}
	l.Keep(nil)
	assert.Empty(t, l.classes)
}

func TestKeepSparesLiveAgents(t *testing.T) {
	t.Parallel()
	l := ledgerWith(1_000)
	l.Start("a", "b", 10, 0, nil)
	l.Keep(nil)
	l.Start("again", "b", 10, 0, nil)
	l.End("a", true)
	l.End("again", false)
	l.Keep(nil)
	assert.Empty(t, l.classes)
	l.End("nobody", true)
}

// For any traffic: admitted agents stay within the predicted peak, the oldest agent is never held, and all held agents continue
// once the calls end.
func TestEveryHeldAgentContinues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := NewLedger(LedgerConfig{Capacity: rapid.IntRange(200, 5_000).Draw(rt, "capacity")})
		l.Declare("b", rapid.IntRange(0, 400).Draw(rt, "prefix"), 8)
		over, cancel := context.WithCancel(context.Background())
		cancel()
		type agent struct {
			id    string
			total int
		}
		var live []*agent
		started := 0
		for range rapid.IntRange(5, 80).Draw(rt, "steps") {
			switch {
			case len(live) == 0 || rapid.Bool().Draw(rt, "admit"):
				for range l.Room("b", 200, rapid.IntRange(1, 5).Draw(rt, "limit")) {
					a := &agent{id: fmt.Sprint(started)}
					started++
					l.Start(a.id, "b", 200, 0, nil)
					live = append(live, a)
				}
			default:
				i := rapid.IntRange(0, len(live)-1).Draw(rt, "who")
				a := live[i]
				if err := l.Await(over, a.id); err != nil {
					require.True(rt, errors.Is(err, context.Canceled))
					require.NotEqual(rt, live[0], a, "the oldest was held")
					continue
				}
				a.total += rapid.IntRange(10, 600).Draw(rt, "growth")
				l.Turn(a.id, 4*a.total, a.total, rapid.IntRange(-1, a.total).Draw(rt, "cached"), 5)
				a.total += 5
				if rapid.IntRange(0, 5).Draw(rt, "ends") == 0 {
					l.End(a.id, true)
					live = append(live[:i], live[i+1:]...)
				}
			}
			s := l.State()
			require.Equal(rt, len(live), s.Live)
			require.GreaterOrEqual(rt, s.Budget, s.Capacity/5)
			require.LessOrEqual(rt, s.Budget, s.Capacity)
		}
		for len(live) > 0 {
			require.NoError(rt, l.Await(over, live[0].id))
			l.End(live[0].id, true)
			live = live[1:]
		}
		require.Zero(rt, l.State().Live)
	})
}

func TestAwaitWakesWhenAnAgentEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(LedgerConfig{Capacity: 1_000})
		l.Declare("b", 0, 8)
		var order []string
		for _, id := range []string{"old", "middle", "young"} {
			l.Start(id, "b", 0, 0, nil)
			l.Turn(id, 2_400, 600, 0, 10)
		}
		done := make(chan string, 3)
		for _, id := range []string{"young", "middle", "old"} {
			go func() {
				if assert.NoError(t, l.Await(t.Context(), id)) {
					done <- id
				}
			}()
			synctest.Wait()
		}
		for range 3 {
			id := <-done
			order = append(order, id)
			l.End(id, true)
			synctest.Wait()
		}
		assert.Equal(t, []string{"old", "middle", "young"}, order)
	})
}

// One op is one decision with 200 live agents.
func BenchmarkRoom(b *testing.B) {
	l := ledgerWith(1_000_000)
	for i := range 200 {
		l.Start(fmt.Sprint(i), "b", 400, i%4, nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Room("b", 360, 64)
	}
}

func TestHeadroomDependsOnTurns(t *testing.T) {
	t.Parallel()
	for turns, want := range map[float64]float64{0: 1, 1: 1, 2: 1 - spread/8, 10: 1 - spread*0.729} {
		assert.InDelta(t, want, Growth{Turns: turns}.headroom(1e6), 1e-9, turns)
	}
	large := Growth{Start: 100, Turns: 10}
	assert.InDelta(t, 1-(spread-0.05)*0.729, large.headroom(1_000), 1e-9, "half of an agent is a twentieth of the cache")
	assert.InDelta(t, 1, large.headroom(200), 1e-9)
}

// A paused agent loses its part of the cache to others. The loss is no shortfall and does not change the learned capacity.
func TestLossAfterPauseKeepsCapacity(t *testing.T) {
	t.Parallel()
	for name, paused := range map[string]bool{"paused": true, "continued": false} {
		l := NewLedger(LedgerConfig{Capacity: 2_000})
		l.Declare("b", 0, 4)
		for _, id := range []string{"old", "young"} {
			l.Start(id, "b", 400, 0, nil)
			l.Turn(id, 3_200, 800, 0, 50)
		}
		if paused {
			require.NotNil(t, l.boundary("young"), "another turn of both exceeds the cache")
			l.End("old", true)
			require.Nil(t, l.boundary("young"))
		} else {
			l.End("old", true)
		}
		l.Turn("young", 3_600, 900, 0, 50)
		if paused {
			assert.Equal(t, 2_000, l.State().Budget, name)
		} else {
			assert.Less(t, l.State().Budget, 2_000, name)
		}
	}
}
