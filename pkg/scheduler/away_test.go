package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLeaveAfter(t *testing.T) {
	t.Parallel()
	for expected, want := range map[time.Duration]time.Duration{
		0: worthLeaving, time.Second: worthLeaving, worthLeaving - 1: worthLeaving,
		worthLeaving: leaveGrace, time.Hour: leaveGrace, -time.Second: worthLeaving,
	} {
		assert.Equal(t, want, LeaveAfter(expected, 1), expected)
	}
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
