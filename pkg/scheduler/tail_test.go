package scheduler

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestTailShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		tail  Tail
		limit int
		want  int
	}{
		{"far from the end", Tail{Waiting: 10_000, Free: 8, OthersFree: 24}, 64, 64},
		{"no other worker", Tail{Waiting: 5, Free: 8}, 64, 5},
		{"the number of waiting jobs is unknown", Tail{Waiting: -1, Free: 8, OthersFree: 24}, 64, 64},
		{"no job waits, but leases may have expired", Tail{Waiting: 0, Free: 8, OthersFree: 24}, 64, 64},
		{"equal workers", Tail{Waiting: 16, Free: 8, OthersFree: 8}, 64, 8},
		{"fewer jobs than slots", Tail{Waiting: 8, Free: 8, OthersFree: 24}, 64, 2},
		{"one job", Tail{Waiting: 1, Free: 1, OthersFree: 100}, 64, 1},
		{"no free slot here, enough elsewhere", Tail{Waiting: 8, Free: 0, OthersFree: 24}, 64, 0},
		{"no free slot here, too few elsewhere", Tail{Waiting: 30, Free: 0, OthersFree: 24}, 64, 6},
		{"no free slot anywhere", Tail{Waiting: 8}, 64, 8},
		{"over full", Tail{Waiting: 8, Free: -3, OthersFree: -4}, 64, 8},
		{"little room", Tail{Waiting: 100, Free: 8, OthersFree: 8}, 3, 3},
	} {
		assert.Equal(t, c.want, c.tail.Share(c.limit), c.name)
	}
}

// Workers claim in any order, as often as they like. They leave no slot free while a job waits. None of them queues a job while
// another worker has a free slot.
func TestTailSharesEverythingAndHoardsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		free := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 6).Draw(rt, "free")
		waiting := rapid.IntRange(1, 300).Draw(rt, "waiting")
		for rounds := 0; waiting > 0; rounds++ {
			total := 0
			for _, f := range free {
				total += max(f, 0)
			}
			if total == 0 {
				return
			}
			assert.Less(rt, rounds, 300)
			i := rapid.IntRange(0, len(free)-1).Draw(rt, "who")
			mine := max(free[i], 0)
			n := Tail{Waiting: waiting, Free: mine, OthersFree: total - mine}.Share(64)
			if mine > 0 {
				assert.Positive(rt, n)
			}
			if queued := n - mine; queued > 0 {
				assert.LessOrEqual(rt, queued, waiting-total, "a job queues although a slot is free elsewhere")
			}
			free[i] -= n
			waiting -= n
			if n == 0 { // another worker's turn
				for k := range free {
					if free[k] > 0 {
						free[k]--
						waiting--
						break
					}
				}
			}
		}
	})
}
