package scheduler

import "time"

const (
	// worthLeaving is how long an agent's wait for a tool must be for its part of the cache to go to others. Coming back costs it a
	// prefill of its whole conversation, a second or a few; what others do meanwhile is worth more from here on. On the engine
	// model 10 s to 60 s differ little, and 5 s loses.
	worthLeaving = 20 * time.Second
	// leaveGrace lets a call that is answered from a cache come back.
	leaveGrace = time.Second
)

// LeaveAfter is how long an agent that waits for a tool keeps its part of the cache. expected is how much longer the tool is
// expected to take, 0 if nothing is known. Where that is long the part goes at once. Else it goes when the wait has been
// long: whoever pays for waiting as long as leaving would have cost pays at most twice what was best (ski rental, Karlin et al., 1988).
func LeaveAfter(expected time.Duration) time.Duration {
	if expected >= worthLeaving {
		return leaveGrace
	}
	return worthLeaving
}

// Leave gives an agent's part of the cache to others while it waits for a tool. It stands in line again at its next turn boundary,
// [Ledger.Await], and its loss of what the server held says nothing of the server. It reports whether the part was free to give.
func (l *Ledger) Leave(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil || a.away {
		return false
	}
	a.away, a.paused, a.left = true, true, true
	l.changed()
	return true
}

// present reports whether any agent lives that is not away.
func (l *Ledger) present() bool {
	for _, a := range l.live {
		if !a.away {
			return true
		}
	}
	return false
}
