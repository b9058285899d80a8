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
	Slots int     // model calls at a time; a measure of its server's speed
	Live  int     // agents alive
	Left  float64 // their remaining work, in agents: two agents that are half done count as one
}

// free returns how many more slots than live agents a worker has.
func (p Post) free() int { return max(p.Slots-p.Live, 0) }

// level returns the work for each slot.
func (p Post) level() float64 { return p.Left / float64(max(p.Slots, 1)) }

// Share returns how many of limit jobs this worker may claim. Two rules keep the end of a batch short:
//
//   - No job queues here while it could start elsewhere at once.
//   - The waiting jobs belong to the workers with the least remaining work: all workers end at the same time if the jobs raise them to a
//     common level. Without this rule, the first worker with room in its KV cache takes more jobs than its server computes in the
//     remaining time, and the other workers are idle at the end.
//
// The next claim shares the remaining jobs again.
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
