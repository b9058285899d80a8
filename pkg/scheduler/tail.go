package scheduler

import (
	"cmp"
	"math"
	"slices"
)

// Tail describes a batch near its end and the workers that run it.
type Tail struct {
	Waiting int // unclaimed jobs; negative if unknown
	Here    Post
	Others  []Post // the other workers that claim jobs now
}

// Post is the state of one worker.
type Post struct {
	Slots int     // model calls at a time, which stands for the speed of its server
	Live  int     // agents alive
	Left  float64 // what is left of their work, in agents: two agents that are half done count as one
}

// free returns how many more slots than live agents a worker has.
func (p Post) free() int { return max(p.Slots-p.Live, 0) }

// level returns the work for each slot.
func (p Post) level() float64 { return p.Left / float64(max(p.Slots, 1)) }

// Share returns how many of limit jobs this worker may claim. Two rules keep the end of a batch short:
//
//   - No job queues here while it could start elsewhere at once.
//   - The waiting jobs belong to those workers that will be out of work first: all of them end at the same time if each gets what is
//     missing to a common level of work. Without this rule, the first worker whose agents end together takes what its server
//     holds but cannot compute sooner, and the others are idle at the end.
//
// What the other workers leave is shared again at the next claim.
func (t Tail) Share(limit int) int {
	if t.Waiting <= 0 { // expired leases may still be claimed
		return limit
	}
	elsewhere := 0
	for _, o := range t.Others {
		elsewhere += o.free()
	}
	missing := int(math.Ceil(t.levelled()*float64(max(t.Here.Slots, 1)) - t.Here.Left - 1e-9))
	return max(0, min(limit, max(t.Here.free(), t.Waiting-elsewhere), missing))
}

// levelled returns the level of work that the workers below it reach with all waiting jobs.
func (t Tail) levelled() float64 {
	all := append([]Post{t.Here}, t.Others...)
	slices.SortFunc(all, func(a, b Post) int { return cmp.Compare(a.level(), b.level()) })
	work, slots := float64(t.Waiting), 0.0
	for i, p := range all {
		if i > 0 && p.level() >= work/slots {
			break
		}
		work, slots = work+p.Left, slots+float64(max(p.Slots, 1))
	}
	return work / slots
}
