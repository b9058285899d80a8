package main

import (
	"cmp"
	"slices"
	"time"
)

// noPolicy takes no part in what happens to agents.
type noPolicy struct{}

func (noPolicy) mayCall(*world, *agent) bool          { return true }
func (noPolicy) resume(*world) []*agent               { return nil }
func (noPolicy) began(*world)                         {}
func (noPolicy) acting(*world, *agent, time.Duration) {}
func (noPolicy) ended(*world, *agent, int, int, int)  {}
func (noPolicy) left(*world, *agent)                  {}

// fixed admits at most n live agents; 0 admits all.
type fixed struct {
	noPolicy
	n int
}

func (f fixed) admit(w *world, waiting int) int {
	if f.n == 0 {
		return waiting
	}
	return f.n - len(w.live)
}

// thunder pauses and resumes agents like ThunderAgent's router (arXiv 2602.13692, and its public source). Each agent's tokens
// count in full, including the prefix, plus 100 for its next output. Every five seconds, while the sum exceeds the capacity,
// agents that wait for a tool are paused, the smallest first. Then paused and new agents are admitted, the largest that fits
// first.
type thunder struct {
	noPolicy
	last   time.Duration
	paused map[*agent]bool
}

const (
	thunderEvery  = 5 * time.Second
	thunderBuffer = 100
)

func newThunder() *thunder { return &thunder{paused: map[*agent]bool{}} }

func (t *thunder) size(w *world, a *agent) int { return w.shared(a) + a.context + thunderBuffer }

func (t *thunder) used(w *world) (sum int) {
	for _, a := range w.live {
		if !t.paused[a] {
			sum += t.size(w, a)
		}
	}
	return sum
}

func (t *thunder) admit(w *world, waiting int) int {
	free, n := w.profile.Capacity()-t.used(w), 0
	for ; n < waiting; n++ {
		size := w.shared(w.waiting[n]) + w.waiting[n].script.turns[0].fresh + thunderBuffer
		if size > free && (n > 0 || len(w.live) > 0) {
			break
		}
		free -= size
	}
	return n
}

func (t *thunder) mayCall(_ *world, a *agent) bool { return !t.paused[a] }

func (t *thunder) resume(w *world) (out []*agent) {
	if w.now-t.last < thunderEvery && len(w.live) > len(t.paused) {
		return nil
	}
	t.last = w.now
	capacity := w.profile.Capacity()
	acting := slices.DeleteFunc(slices.Clone(w.live), func(a *agent) bool { return !a.acting || t.paused[a] })
	slices.SortFunc(acting, func(a, b *agent) int { return cmp.Compare(a.context, b.context) })
	for _, a := range acting {
		if t.used(w) <= capacity {
			break
		}
		t.paused[a] = true
	}
	held := slices.DeleteFunc(slices.Clone(w.live), func(a *agent) bool { return !t.paused[a] })
	slices.SortFunc(held, func(a, b *agent) int { return cmp.Compare(b.context, a.context) })
	for _, a := range held {
		if t.used(w)+t.size(w, a) <= capacity || len(held) == len(w.live) && len(out) == 0 {
			delete(t.paused, a)
			if a.paused {
				out = append(out, a)
			}
		}
	}
	return out
}
func (t *thunder) left(_ *world, a *agent) { delete(t.paused, a) }
