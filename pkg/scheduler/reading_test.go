package scheduler

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharedCache is a server with a ledger in front of it, other clients behind it, and tokens that may cost more or less than reported.
type sharedCache struct {
	*Ledger
	capacity    float64 // real tokens of cache
	others      float64 // tokens of other clients
	cost        float64 // of one of our tokens, in tokens
	preemptions int64
	calls       map[string]int // tokens of each call in flight
}

// sharedServer returns a server with a cache of 10,000 tokens. Its ledger was created with a capacity of told tokens. Its agents
// have four turns of 100 tokens.
func sharedServer(told int) *sharedCache {
	return &sharedCache{Ledger: ledgerWith(told), capacity: 10_000, cost: 1, calls: map[string]int{}}
}

// call starts an agent with a call of so many tokens.
func (s *sharedCache) call(id string, tokens int) {
	s.Start(id, "b", 4*tokens, 1, nil)
	s.Call(id, 4*tokens)
	s.calls[id] = tokens
}

// read passes readings to the ledger.
func (s *sharedCache) read(times int) {
	for range times {
		used := s.others
		for _, tokens := range s.calls {
			used += s.cost * float64(tokens)
		}
		s.Observe(Reading{Usage: min(used/s.capacity, 1), Running: len(s.calls), Preemptions: s.preemptions})
	}
}

func TestOtherClientsPartIsNotAdmitted(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	s.call("a", 1_000)
	s.read(5)
	room := s.Room("b", 360, 1_000)
	require.Equal(t, 10_000, s.State().Budget)

	s.others = 5_000
	s.read(1)
	assert.Equal(t, 10_000, s.State().Budget, "a single reading may be wrong")
	s.read(2)
	assert.InDelta(t, 5_000, s.State().Budget, 100)
	assert.InDelta(t, float64(room)/2, s.Room("b", 360, 1_000), 3)
	s.Turn("a", 4_000, 1_000, 0, 0)
	s.Turn("a", 4_000, 1_000, 0, 0) // a loss: it says nothing about the capacity now

	s.others = 0
	delete(s.calls, "a")
	s.read(3)
	assert.Equal(t, 10_000, s.State().Budget, "what they give back is there at once")
}

func TestTooLargeCapacityIsCorrectedWhileTheCacheFills(t *testing.T) {
	t.Parallel()
	s := sharedServer(15_000)
	for i := range 8 {
		s.call(fmt.Sprint(i), 1_000)
	}
	s.read(5)
	assert.InDelta(t, 10_000, s.State().Budget, 1_100)
}

// A capacity that is too small, and tokens that cost less than reported (sliding windows, state-space layers), look the same.
func TestCapacityRisesWhenTokensCostLess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		told int
		cost float64
		want float64
	}{
		"too small a capacity":                {6_000, 1, 10_000},
		"tokens of half the price":            {10_000, 0.5, 20_000},
		"at most four times the reported":     {10_000, 0.1, 40_000},
		"differences of rounding are no sign": {10_000, 0.9, 10_000},
	} {
		s := sharedServer(c.told)
		s.cost = c.cost
		for i := 0; i < 500; i++ {
			for range s.Room("b", 360, 1_000) {
				s.call(fmt.Sprint(s.State().Live), 300)
			}
			s.read(1)
		}
		assert.InDelta(t, c.want, s.State().Budget, 0.05*c.want, name)
	}
}

func TestCapacityStaysWhileTheLedgerHasRoom(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	s.cost = 0.5
	s.call("a", 300)
	s.read(500)
	assert.Equal(t, 10_000, s.State().Budget)
}

func TestPreemptionStopsAdmissionForOneTurnover(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	s.Declare("single", 0, 1)
	for i := range 3 {
		s.call(fmt.Sprint(i), 300)
	}
	s.read(2)
	require.Positive(t, s.Room("b", 360, 5))
	s.preemptions = 1
	s.read(2)
	for i := range 3 {
		require.Zero(t, s.Room("b", 360, 5), i)
		require.Positive(t, s.Room("single", 360, 5), "agents of one turn lose nothing")
		s.Turn(fmt.Sprint(i), 1_200, 300, 300, 10)
	}
	assert.Positive(t, s.Room("b", 360, 5))
	s.preemptions = 2
	s.calls = map[string]int{}
	s.read(1)
	assert.Positive(t, s.Room("b", 360, 5), "no call of ours runs")
}

func TestMissingReadingsChangeNothing(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	s.call("a", 300)
	for range 100 {
		s.Observe(Reading{Usage: -1, Running: -1, Waiting: -1, Preemptions: -1})
	}
	assert.Equal(t, 10_000, s.State().Budget)
	assert.Positive(t, s.Room("b", 360, 5))
}

func TestWorthFollowsReturns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ kept, want float64 }{"computed again": {0, 20}, "loaded": {1, 0}} {
		l := ledgerWith(100_000)
		require.InDelta(t, 20, l.Worth().Seconds(), 1e-9, name)
		l.Start("a", "b", 4_000, 0, nil)
		l.Turn("a", 4_000, 1_000, 0, 0)
		for range 60 {
			l.Leave("a")
			require.Nil(t, l.boundary("a"))
			l.Turn("a", 4_000, 1_000, int(c.kept*1_000), 0)
		}
		assert.InDelta(t, c.want, l.Worth().Seconds(), 0.5, name)
	}
}

// Calls that fail, and calls of agents that end, have ended too. Otherwise one preemption could stop admission while agents live.
func TestFailedCallsEndTheDrainAfterAPreemption(t *testing.T) {
	t.Parallel()
	s := sharedServer(10_000)
	s.call("a", 1_000)
	s.call("c", 1_000)
	s.read(1)
	s.preemptions++
	s.read(1)
	require.Zero(t, s.Room("b", 360, 10))
	s.Failed("a")
	s.Failed("a") // only one call ended
	require.Zero(t, s.Room("b", 360, 10))
	s.End("c", false)
	assert.Positive(t, s.Room("b", 360, 10))
}
