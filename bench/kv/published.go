package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// window lets a number of agents be active, the oldest first. The others wait at their turn boundary.
type window struct {
	noPolicy
	size float64

	load     batching.Load
	counters batching.Counters
	looked   time.Duration
}

func (v *window) active(w *world) []*agent { return w.live[:min(len(w.live), max(1, int(v.size)))] }

func (v *window) admit(w *world, waiting int) int {
	return min(waiting, max(1, int(v.size))-len(w.live))
}

func (v *window) mayCall(w *world, a *agent) bool { return slices.Contains(v.active(w), a) }

func (v *window) resume(w *world) (out []*agent) {
	for _, a := range v.active(w) {
		if a.paused {
			out = append(out, a)
		}
	}
	return out
}

// due reports whether a second has passed since the last reading of the server, and reads it. before is the earlier counters.
func (v *window) due(w *world) (before batching.Counters, ok bool) {
	if w.now-v.looked < time.Second {
		return before, false
	}
	before, v.looked = v.counters, w.now
	v.load, v.counters = w.engine.Load(), w.engine.Counters()
	return before, true
}

func (v *window) usage() float64 { return float64(v.load.UsedBlocks) / float64(v.load.Blocks) }

// concur is CONCUR (arXiv 2601.22705): the number of active agents follows the use of the cache and its hit rate like a congestion
// window. Every second it adds an agent while the use is under low. It halves the window when the use is over high and the hit
// rate is under floor. It starts with a doubling per second, as TCP does, until the use first exceeds low. The authors' best
// thresholds are 0.2 and 0.5.
type concur struct {
	window
	low, high, floor float64
	started          bool // the first growth is over
}

func newConcur(low, high, floor float64) *concur {
	return &concur{low: low, high: high, floor: floor, window: window{size: 2}}
}

func (c *concur) resume(w *world) []*agent {
	if before, ok := c.due(w); ok {
		hit := 1.0
		if asked := c.counters.PromptTokens - before.PromptTokens; asked > 0 {
			hit = float64(c.counters.CachedTokens-before.CachedTokens) / float64(asked)
		}
		c.started = c.started || c.usage() > c.low
		switch {
		case c.usage() > c.high && hit < c.floor:
			c.size = max(c.size/2, 1)
		case c.usage() <= c.low && int(c.size) <= len(w.live):
			if c.size++; !c.started {
				c.size = 2*c.size - 2
			}
		}
	}
	return c.window.resume(w)
}

// primeRL is the admission of prime-rl (src/prime_rl/orchestrator/concurrency.py, August 2026). The first limit of live agents is
// the cache divided by the longest context. It grows by a quarter after each turnover, that is, after as many agents have ended as
// live, while the use of the cache is under 0.6. No agent starts while the use is over soft. Over hard the youngest is cancelled
// and starts again later. A preemption or a queue for want of cache cuts the limit, and stops all starts for one turnover.
type primeRL struct {
	window
	soft, hard, cut float64
	ended_          int // since the limit last changed
	drain           int // agents that must end before another starts
}

func newPrimeRL(w workload, p batching.Profile, soft, hard, cut float64) *primeRL {
	longest := 1
	for _, s := range w.agents {
		size := w.prefix + w.document(s)
		for _, t := range s.turns {
			size += t.fresh + t.output
		}
		longest = max(longest, size)
	}
	return &primeRL{soft: soft, hard: hard, cut: cut, window: window{size: max(1, float64(p.Capacity()/longest))}}
}

func (p *primeRL) mayCall(*world, *agent) bool { return true }
func (p *primeRL) resume(*world) []*agent      { return nil }

func (p *primeRL) admit(w *world, waiting int) int {
	if len(w.live) > 0 && (p.drain > 0 || p.usage() > p.soft) {
		return 0
	}
	return p.window.admit(w, waiting)
}

func (p *primeRL) cancel(w *world) []*agent {
	before, ok := p.due(w)
	if !ok {
		return nil
	}
	full := p.load.Waiting > 0 && p.usage() > p.hard
	switch {
	case p.drain == 0 && (p.counters.Preemptions > before.Preemptions || full):
		p.size = max(1, p.size*p.cut)
		p.drain, p.ended_ = min(len(w.live), int(p.size)), 0
	case p.ended_ >= int(p.size) && p.usage() < 0.6:
		p.size, p.ended_ = p.size*1.25+0.01, 0
	}
	if p.usage() > p.hard && len(w.live) > 1 {
		return []*agent{slices.MaxFunc(w.live, func(a, b *agent) int { return cmp.Compare(a.index, b.index) })}
	}
	return nil
}

func (p *primeRL) left(*world, *agent) {
	p.ended_++
	p.drain = max(p.drain-1, 0)
}

// cacheTTL is CacheTTL (Continuum, arXiv 2511.02230), with the change of the engine that it needs. All agents live at once. The
// engine serves the oldest first. The blocks of an agent stay pinned for ttl while its tool runs, unless an older agent needs them.
// The public code pins for 2 s if the mean duration of the tool is shorter; longer times are the paper's, which follow the price
// of a reload.
type cacheTTL struct {
	noPolicy
	ttl time.Duration
}

func (c *cacheTTL) admit(_ *world, waiting int) int { return waiting }
func (c *cacheTTL) mayCall(*world, *agent) bool     { return true }

func (c *cacheTTL) shape(w *world, a *agent, r *batching.Request) {
	w.engine.ByPriority = true
	r.Priority, r.Keep, r.Resumes = a.index, a.turn < len(a.script.turns)-1, a.last
}

func (c *cacheTTL) acting(w *world, a *agent, _ time.Duration) {
	s := a.last
	w.after(c.ttl, func() {
		if a.acting && a.last == s {
			w.engine.Drop(s)
		}
	})
}
