package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLeaveAfter(t *testing.T) {
	t.Parallel()
	const worth = 20 * time.Second
	quick := []Took{{500 * time.Millisecond, 80}, {800 * time.Millisecond, 20}}
	slow := []Took{{time.Minute, 5}, {3 * time.Minute, 5}}
	mixed := append(slices.Clone(quick), slow...)
	for name, c := range map[string]struct {
		tool   []Took
		waited time.Duration
		worth  time.Duration
		want   time.Duration
	}{
		"an unknown tool":                         {nil, 0, worth, worth},
		"an unknown tool, half of the time":       {nil, worth / 2, worth, worth / 2},
		"an unknown tool, later":                  {nil, time.Hour, worth, leaveGrace},
		"a tool that is always slow":              {slow, 0, worth, leaveGrace},
		"a slow tool, nearly done":                {[]Took{{time.Minute, 10}}, 55 * time.Second, worth, 20 * time.Second},
		"mostly quick: until it is a slow call":   {mixed, 0, worth, leaveGrace},
		"it is a slow call":                       {mixed, 2 * time.Second, worth, leaveGrace},
		"returns cost nothing":                    {quick, 0, 0, 0},
		"returns cost little":                     {nil, 0, time.Second / 2, time.Second / 2},
		"slow calls, but returns cost still more": {slow, 0, time.Hour, time.Hour},
	} {
		assert.Equal(t, c.want, LeaveAfter(c.tool, c.waited, c.worth), name)
	}
}

// No other time to leave has a lower expected cost than the one returned, unless a short call may still return.
func TestLeaveAfterCostsLeast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		worth := time.Duration(rapid.IntRange(0, 60_000).Draw(rt, "worth")) * time.Millisecond
		waited := time.Duration(rapid.IntRange(0, 30_000).Draw(rt, "waited")) * time.Millisecond
		var tool []Took
		at := time.Duration(0)
		for range rapid.IntRange(0, 12).Draw(rt, "durations") {
			at += time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "step")) * time.Millisecond
			tool = append(tool, Took{at, float64(rapid.IntRange(1, 9).Draw(rt, "count"))})
		}
		calls := append([]Took{{worth, 1}}, tool...) // one unknown call
		cost := func(leave time.Duration) (sum float64) {
			for _, c := range calls {
				switch {
				case c.Duration <= waited:
				case c.Duration <= leave:
					sum += c.Count * (c.Duration - waited).Seconds()
				default:
					sum += c.Count * ((leave - waited) + worth).Seconds()
				}
			}
			return sum
		}
		got := LeaveAfter(tool, waited, worth)
		require.GreaterOrEqual(rt, got, min(leaveGrace, worth))
		if got <= leaveGrace {
			return
		}
		// The agent waits a little longer than the call that it waits for.
		until := waited
		for _, c := range calls {
			if d := time.Duration(spare * float64(c.Duration)); c.Duration == worth && waited+got == worth || d == waited+got {
				until = c.Duration
			}
		}
		require.Greater(rt, until, waited)
		for _, c := range calls {
			require.LessOrEqual(rt, cost(until), cost(max(c.Duration, waited))+1e-6)
		}
		require.LessOrEqual(rt, cost(until), cost(waited)+1e-6)
	})
}

// A second tier keeps what the cache evicts, so more agents may live as long as returning agents find their conversations.
func TestSecondTierAdmitsMore(t *testing.T) {
	t.Parallel()
	tiered, plain := ledgerWith(10_000), ledgerWith(10_000)
	tiered.Observe(Reading{Usage: -1, Running: -1, Waiting: -1, Preemptions: -1, Tier: true})
	before, room := plain.Room("b", 360, 1_000), tiered.Room("b", 360, 1_000)
	assert.InEpsilon(t, 1.35, float64(room)/float64(before), 0.1)
	for _, l := range []*Ledger{tiered, plain} {
		l.Start("a", "b", 4_000, 0, nil)
		l.Turn("a", 4_000, 1_000, 0, 0)
		for range 60 {
			l.Leave("a")
			require.Nil(t, l.boundary("a"))
			l.Turn("a", 4_000, 1_000, 0, 0)
		}
		l.End("a", false)
	}
	assert.InDelta(t, plain.Room("b", 360, 1_000), tiered.Room("b", 360, 1_000), 1, "the tier is too small")
}

func TestWorthFollowsPaceAndReturns(t *testing.T) {
	t.Parallel()
	l := ledgerWith(100_000)
	require.Equal(t, maxWorth, l.Worth())
	first := func(id string, ttft time.Duration) {
		l.Start(id, "b", 8_000, 0, nil)
		l.Began(id, ttft)
		l.Turn(id, 8_000, 2_000, 0, 0)
	}
	first("slow", time.Minute)
	require.Equal(t, maxWorth, l.Worth(), "the prompt waited")
	for i := range 20 {
		first(fmt.Sprint(i), 200*time.Millisecond)
	}
	require.InDelta(t, 10, l.Worth().Seconds(), 0.1, "100,000 tokens at 10,000 a second")
	l.Start("short", "b", 400, 0, nil)
	l.Began("short", time.Minute)
	l.Turn("short", 400, 100, 0, 0)
	require.InDelta(t, 10, l.Worth().Seconds(), 0.1)
	l.Observe(Reading{Usage: -1, Running: -1, Waiting: -1, Preemptions: -1, Tier: true})
	assert.Zero(t, l.Worth(), "a second tier keeps conversations")
}

func TestLeaveFreesRoomAndQueuesAgentAgain(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 2_000})
	l.Declare("b", 0, 4)
	grown := func(id string) {
		l.Start(id, "b", 400, 0, nil)
		l.Turn(id, 3_200, 800, 0, 50)
	}
	grown("old")
	grown("young")
	require.Zero(t, l.Room("b", 400, 1), "both fill the cache")
	budget := l.State().Budget

	require.True(t, l.Leave("old"))
	assert.False(t, l.Leave("old"), "once")
	assert.False(t, l.Leave("nobody"))
	assert.Equal(t, State{Capacity: 2_000, Budget: budget, Held: 850, Live: 2, Away: 1}, l.State())
	assert.Nil(t, l.boundary("young"), "an agent that is away does not pause others")

	require.NoError(t, l.Await(t.Context(), "old"), "the oldest agent continues when it is back")
	assert.Zero(t, l.State().Away)
	assert.Zero(t, l.Turn("old", 3_600, 900, 0, 50), "tokens lost while away are no shortfall")
	assert.Equal(t, budget, l.State().Budget, "and do not change the learned capacity")

	require.True(t, l.Leave("young"))
	wait := l.boundary("young")
	require.NotNil(t, wait, "the old agent took the room")
	l.End("old", true)
	<-wait
	assert.Nil(t, l.boundary("young"))
}

func TestLeaveMakesRoomForNewAgents(t *testing.T) {
	t.Parallel()
	l := NewLedger(LedgerConfig{Capacity: 10_000})
	l.Declare("b", 0, 4)
	ids := []string{}
	for l.Room("b", 400, 1) > 0 {
		ids = append(ids, fmt.Sprint(len(ids)))
		l.Start(ids[len(ids)-1], "b", 400, 0, nil)
		l.Turn(ids[len(ids)-1], 3_200, 800, 0, 50)
	}
	require.Greater(t, len(ids), 2)
	for _, id := range ids[1:] {
		require.True(t, l.Leave(id))
	}
	assert.Equal(t, len(ids)-1, l.Room("b", 400, 100), "as many as left")
}

// After any sequence of events, the oldest agent that is not away may continue.
func TestOldestPresentAgentAlwaysContinues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l := NewLedger(LedgerConfig{Capacity: rapid.IntRange(100, 5_000).Draw(rt, "capacity")})
		l.Declare("b", 0, 8)
		var present, away []string // oldest first
		drop := func(from []string, i int) []string { return append(append([]string{}, from[:i]...), from[i+1:]...) }
		for step := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			pick := rapid.IntRange(0, 1_000).Draw(rt, "pick")
			switch op := rapid.IntRange(0, 4).Draw(rt, "op"); {
			case op == 0 || len(present) == 0 && len(away) == 0:
				id := fmt.Sprintf("%03d", step)
				l.Start(id, "b", 4*pick, 0, nil)
				present = append(present, id)
			case op == 1 && len(present) > 0:
				l.Turn(present[pick%len(present)], 4*pick, pick, 0, 20)
			case op == 2 && len(present) > 0:
				i := pick % len(present)
				require.True(rt, l.Leave(present[i]))
				away = append(away, present[i])
				present = drop(present, i)
			case op == 3 && len(away) > 0:
				i := pick % len(away)
				l.boundary(away[i])
				k := 0
				for k < len(present) && present[k] < away[i] {
					k++
				}
				present = append(present[:k:k], append([]string{away[i]}, present[k:]...)...)
				away = drop(away, i)
			case op == 4 && len(present) > 0:
				i := pick % len(present)
				l.End(present[i], true)
				present = drop(present, i)
			}
			assert.Equal(rt, len(away), l.State().Away)
			if len(present) > 0 {
				assert.Nil(rt, l.boundary(present[0]), "the oldest of %v waits", present)
			} else {
				assert.Positive(rt, l.Room("b", 40_000, 1), "one agent may always live")
			}
		}
	})
}
