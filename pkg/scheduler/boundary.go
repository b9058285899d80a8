package scheduler

import "context"

// Await holds an agent at a turn boundary while its next turn would evict other agents. The longest-living agents that fit
// together continue. Await returns ctx's cause if ctx ends first.
func (l *Ledger) Await(ctx context.Context, id string) error {
	for {
		wait := l.boundary(id)
		if wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// boundary returns nil if the agent may continue. Otherwise it pauses the agent and returns the channel to wait for.
func (l *Ledger) boundary(id string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return nil
	}
	l.callEnded(a)
	a.set(func() { a.away, a.sent = false, 0 })
	if a.paused && l.mayResume(a) {
		a.set(func() { a.paused = false })
		a.hold()
		l.wakeOldest() // the next one may fit, too
		return nil
	}
	if !a.paused {
		if !l.mustPause(a) {
			return nil
		}
		a.set(func() { a.paused = true })
		a.drop()
	}
	a.left, l.full = true, true
	if a.wait == nil {
		a.wait = make(chan struct{})
	}
	return a.wait
}

// wakeOldest wakes the oldest agent that waits to resume: no younger one may resume before it. The caller holds mu.
func (l *Ledger) wakeOldest() {
	var oldest *account
	for _, c := range l.classes {
		if a := c.line.firstQueued(); a != nil && (oldest == nil || a.arrival < oldest.arrival) {
			oldest = a
		}
	}
	if oldest != nil {
		oldest.wake()
	}
}

func (a *account) wake() {
	if a.wait != nil {
		close(a.wait)
		a.wait = nil
	}
}

// mustPause reports whether the agent and all older ones that are not paused exceed the cache, each with one more turn. The
// oldest agent that is not away never pauses.
func (l *Ledger) mustPause(a *account) bool {
	room, present := l.budget()-l.prefixes(nil), 0
	for _, c := range l.classes {
		s := c.line.until(a.arrival)
		present += s.present
		if s.running > 0 {
			g := c.growth()
			room -= float64(s.own) + float64(s.fresh)*g.next(0) + float64(s.running-s.fresh)*g.PerTurn
		}
	}
	return room < 0 && present > 1
}

// mayResume reports whether a paused agent fits beside the running ones, and no older agent is waiting to resume. The oldest
// agent that is not away always resumes.
func (l *Ledger) mayResume(a *account) bool {
	older := l.olderThan(a)
	if older.queued > 0 {
		return false
	}
	a.shares(a.class.holding.overlap(a))
	held := l.projection(false)
	g := a.class.growth()
	held.add(Footprint{Own: a.counted(), Turns: a.Turns}, g)
	return older.present == 0 || held.peak() <= l.spared(g.headroom(l.budget()))*l.budget()-l.prefixes(nil)
}

// olderThan sums over the agents of all classes that arrived before a.
func (l *Ledger) olderThan(a *account) (s sums) {
	for _, c := range l.classes {
		s = s.plus(c.line.until(a.arrival - 1))
	}
	return s
}
