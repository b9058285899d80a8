package scheduler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The walk functions decide like the ledger, from each live agent instead of from sums.

// walkRoom returns the tokens left after the agent and all older ones have had one more turn, and whether the agent is the
// oldest that is not away.
func walkRoom(l *Ledger, a *account) (room float64, oldest bool) {
	room, oldest = l.budget()-l.prefixes(nil), true
	for _, b := range l.live {
		if b.arrival <= a.arrival && !b.paused {
			room -= float64(b.counted()) + b.class.growth().next(b.Turns)
		}
		oldest = oldest && (b.arrival >= a.arrival || b.away)
	}
	return room, oldest
}

func walkProjection(l *Ledger, paused bool) (held curve) {
	for _, a := range l.live {
		if !a.paused || paused && !a.away {
			held.add(Footprint{Own: a.counted(), Turns: a.Turns}, a.class.growth())
		}
	}
	return held
}

// walkResume returns the tokens left at the peak if a paused agent resumes. waits is true if an older one waits.
func walkResume(l *Ledger, a *account) (room float64, oldest, waits bool) {
	oldest = true
	for _, b := range l.live {
		waits = waits || b.paused && !b.away && b.arrival < a.arrival
		oldest = oldest && (b.arrival >= a.arrival || b.away)
	}
	held, g := walkProjection(l, false), a.class.growth()
	own := a.Own - a.class.tokens(a.class.holding.overlap(a))
	held.add(Footprint{Own: max(own, 0), Turns: a.Turns}, g)
	return g.headroom(l.budget())*l.budget() - l.prefixes(nil) - held.peak(), oldest, waits
}

// walkBoundary returns whether the agent pauses at its turn boundary. The decision is open if rounding decides.
func walkBoundary(l *Ledger, id string) (pauses, open bool) {
	a := l.live[id]
	away := a.away
	a.away = false
	defer func() { a.away = away }()
	if a.paused {
		room, oldest, waits := walkResume(l, a)
		return waits || !oldest && room < 0, !waits && !oldest && nearZero(room)
	}
	room, oldest := walkRoom(l, a)
	return room < 0 && !oldest, !oldest && nearZero(room)
}

func nearZero(tokens float64) bool { return tokens > -1e-6 && tokens < 1e-6 }

// checkSums compares the ledger's sums with a walk over its agents.
func checkSums(rt require.TestingT, l *Ledger) {
	held, means, present, away := l.prefixes(nil), 0.0, false, 0
	var oldest *account
	for _, a := range l.live {
		if !a.paused {
			held += float64(a.counted())
		}
		if a.away {
			away++
		} else {
			present = true
			means += a.class.growth().mean()
		}
		if a.paused && !a.away && (oldest == nil || a.arrival < oldest.arrival) {
			oldest = a
		}
	}
	for _, c := range l.classes {
		pieces, all := 0, map[string]bool{}
		for _, a := range c.holding.agents {
			require.False(rt, a.paused)
			pieces += len(a.marks)
			for i := range a.marks {
				all[fmt.Sprint(a.marks[:i+1])] = true
			}
		}
		require.Equal(rt, (pieces-len(all))*markBytes, c.holding.shared, "each shared text counts once")
	}
	require.InDelta(rt, held, l.held(), 1e-6)
	require.InDelta(rt, means, l.means(), 1e-6)
	require.Equal(rt, present, l.present())
	require.Equal(rt, away, l.State().Away)
	var first *account
	for _, c := range l.classes {
		if a := c.line.firstQueued(); a != nil && (first == nil || a.arrival < first.arrival) {
			first = a
		}
	}
	require.Same(rt, oldest, first)
	for _, paused := range []bool{false, true} {
		require.InDeltaSlice(rt, []float64(walkProjection(l, paused)), []float64(l.projection(paused)), 1e-6)
	}
}

// drawMarks draws marks of texts that nest.
func drawMarks(rt *rapid.T) Marks {
	return rapid.SliceOfN(rapid.Uint64Range(0, 2), 0, 6).Draw(rt, "marks")
}

func TestSumsDecideLikeAWalkOverAllAgents(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	rapid.Check(t, func(rt *rapid.T) {
		l := NewLedger(LedgerConfig{Capacity: rapid.IntRange(500, 20_000).Draw(rt, "capacity")})
		batches := []string{"a", "b", "undeclared"}
		l.Declare("a", rapid.IntRange(0, 2_000).Draw(rt, "prefix"), 8)
		l.Declare("b", 0, 3)
		totals := map[string]int{}
		started := 0
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			ids := slices.Sorted(maps.Keys(l.live))
			op := rapid.IntRange(0, 9).Draw(rt, "operation")
			if op < 3 || len(ids) == 0 {
				id := fmt.Sprint(started)
				started++
				if len(ids) > 0 && op == 0 && rapid.IntRange(0, 9).Draw(rt, "again") == 0 {
					id = ids[0]
				}
				delete(totals, id)
				l.Start(id, rapid.SampledFrom(batches).Draw(rt, "batch"), rapid.IntRange(0, 4_000).Draw(rt, "bytes"), rapid.IntRange(0, 2).Draw(rt, "turns"),
					drawMarks(rt))
				checkSums(rt, l)
				continue
			}
			id := rapid.SampledFrom(ids).Draw(rt, "who")
			switch op {
			case 3, 4, 5:
				pauses, open := walkBoundary(l, id)
				if err := l.Await(over, id); !open {
					require.Equal(rt, pauses, err != nil)
				}
			case 6, 7:
				totals[id] += rapid.IntRange(10, 900).Draw(rt, "growth")
				l.Turn(id, 4*totals[id], totals[id], rapid.IntRange(-1, totals[id]).Draw(rt, "cached"), 5)
			case 8:
				l.Leave(id)
			case 9:
				l.End(id, rapid.Bool().Draw(rt, "finished"))
			}
			checkSums(rt, l)
		}
	})
}

// Seats of ended agents do not accumulate.
func TestLineStaysAsShortAsItsAgents(t *testing.T) {
	t.Parallel()
	l := ledgerWith(1_000_000)
	for i := range 100_000 {
		l.Start(fmt.Sprint(i), "b", 400, 0, nil)
		if i >= 100 {
			l.End(fmt.Sprint(i-100), true)
		}
	}
	assert.Equal(t, 100, l.State().Live)
	assert.LessOrEqual(t, cap(l.classes["b"].line.seats), 1_000)
}

// One op is a turn boundary of one of the live agents: its call ends, and it may make the next one.
func BenchmarkBoundary(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := ledgerWith(n * 1_000)
			ids := make([]string, n)
			for i := range ids {
				ids[i] = fmt.Sprint(i)
				l.Start(ids[i], "b", 400, i%4, nil)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.Turn(ids[i%n], 1_600, 400, 300, 10)
				l.boundary(ids[i%n])
			}
		})
	}
}

// One op is a call that ends while half of the agents wait to resume.
func BenchmarkBoundaryWithPausedAgents(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := ledgerWith(n * 200)
			ids := make([]string, n)
			for i := range ids {
				ids[i] = fmt.Sprint(i)
				l.Start(ids[i], "b", 1_600, i%4, nil)
			}
			for _, id := range ids {
				l.boundary(id)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.Turn(ids[i%100], 1_600, 400, 300, 10)
				l.boundary(ids[n/2+i%(n/2)])
			}
		})
	}
}
