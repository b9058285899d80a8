package scheduler

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// post is a worker whose agents have just begun.
func post(slots, live int) Post { return Post{Slots: slots, Live: live, Left: float64(live)} }

func TestTailShare(t *testing.T) {
	t.Parallel()
	ending := Post{Slots: 256, Live: 104, Left: 1} // all its agents are about to end
	for _, c := range []struct {
		name  string
		tail  Tail
		limit int
		want  int
	}{
		{"far from the end", Tail{Waiting: 10_000, Here: post(8, 0), Others: []Post{post(24, 0)}}, 64, 64},
		{"no other worker", Tail{Waiting: 5, Here: post(8, 0)}, 64, 5},
		{"the number of waiting jobs is unknown", Tail{Waiting: -1, Here: post(8, 0), Others: []Post{post(24, 0)}}, 64, 64},
		{"no job waits, but leases may have expired", Tail{Waiting: 0, Here: post(8, 0), Others: []Post{post(24, 0)}}, 64, 64},
		{"equal workers", Tail{Waiting: 16, Here: post(8, 0), Others: []Post{post(8, 0)}}, 64, 8},
		{"fewer jobs than slots", Tail{Waiting: 8, Here: post(8, 0), Others: []Post{post(24, 0)}}, 64, 2},
		{"one job", Tail{Waiting: 1, Here: post(1, 0), Others: []Post{post(100, 0)}}, 64, 1},
		{"no free slot here, enough elsewhere", Tail{Waiting: 8, Here: post(8, 8), Others: []Post{post(24, 0)}}, 64, 0},
		{"no free slot here, too few elsewhere", Tail{Waiting: 30, Here: post(8, 8), Others: []Post{post(24, 0)}}, 64, 2},
		{"no free slot anywhere", Tail{Waiting: 8, Here: post(8, 8)}, 64, 8},
		{"over full", Tail{Waiting: 8, Here: post(8, 11), Others: []Post{post(8, 12)}}, 64, 5},
		{"little room", Tail{Waiting: 100, Here: post(8, 0), Others: []Post{post(8, 0)}}, 3, 3},
		{"the others are about to end, too", Tail{Waiting: 400, Here: post(256, 0), Others: []Post{ending, ending, ending}}, 256, 101},
		{"the others have just begun", Tail{Waiting: 104, Here: post(256, 0), Others: []Post{post(256, 104), post(256, 104)}}, 256, 104},
		{"this worker has more than its share", Tail{Waiting: 40, Here: post(256, 100), Others: []Post{post(256, 50)}}, 256, 0},
		{"no worker has slots", Tail{Waiting: 4, Here: Post{}, Others: []Post{{}}}, 256, 2},
	} {
		assert.Equal(t, c.want, c.tail.Share(c.limit), c.name)
	}
}

// Workers claim in any order, as often as they like. One of them may always claim a job. No worker queues a job while another one has a
// free slot, and none of those that claimed ends more than a job later than the others.
func TestTailSharesEverythingAndHoardsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		slots := rapid.IntRange(1, 40).Draw(rt, "slots")
		workers := make([]Post, rapid.IntRange(1, 6).Draw(rt, "workers"))
		for i := range workers {
			workers[i] = post(slots, rapid.IntRange(0, slots).Draw(rt, "live"))
		}
		waiting := rapid.IntRange(1, 300).Draw(rt, "waiting")
		claimed := make([]int, len(workers))
		for waiting > 0 {
			got := 0
			for _, i := range rapid.Permutation(indexes(len(workers))).Draw(rt, "order") {
				p := &workers[i]
				others := slices.Concat(workers[:i:i], workers[i+1:])
				elsewhere := 0
				for _, o := range others {
					elsewhere += o.free()
				}
				n := min(Tail{Waiting: waiting, Here: *p, Others: others}.Share(64), waiting)
				if queued := n - p.free(); queued > 0 {
					assert.LessOrEqual(rt, queued, max(waiting-elsewhere-p.free(), 0), "a job queues although a slot is free elsewhere")
				}
				p.Live, p.Left = p.Live+n, p.Left+float64(n)
				claimed[i] += n
				got += n
				waiting -= n
			}
			if got == 0 {
				rt.Fatalf("no worker may claim one of %d jobs: %+v", waiting, workers)
			}
		}
		for i, a := range workers {
			for _, b := range workers {
				if claimed[i] > 0 && a.Left > b.Left+1 {
					rt.Fatalf("a worker that claimed %d jobs has %v, another one has %v", claimed[i], a.Left, b.Left)
				}
			}
		}
	})
}

func indexes(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}
