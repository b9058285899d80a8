package scheduler

import "time"

const (
	// worthLeaving is how long a wait for a tool must be for the agent to give up its part of the cache. Coming back costs the
	// agent a prefill of its whole conversation, a second or a few. From this length on, the work of other agents in the
	// meantime is worth more. On the engine model 10 s to 60 s differ little, and 5 s loses.
	worthLeaving = 20 * time.Second
	// leaveGrace gives a call that is answered from a cache time to return.
	leaveGrace = time.Second
)

// LeaveAfter returns how long an agent that waits for a tool keeps its part of the cache. expected is the remaining time of the
// tool, or 0 if it is unknown. A long expected wait frees the part almost at once. Otherwise the agent leaves when it has
// waited for as long as leaving would have cost. That costs at most twice the optimum (ski rental, Karlin et al., 1988).
func LeaveAfter(expected time.Duration) time.Duration {
	if expected >= worthLeaving {
		return leaveGrace
	}
	return worthLeaving
}

// Leave frees an agent's part of the cache for other agents while the agent waits for a tool. The agent queues again at its
// next turn boundary, in [Ledger.Await]. Tokens that the server evicts in the meantime do not count as a shortfall. Leave
// reports whether the agent had a part to free.
func (l *Ledger) Leave(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil || a.away {
		return false
	}
	a.left = true
	a.set(func() { a.away, a.paused = true, true })
	l.wakeOldest()
	return true
}

// present reports whether any live agent is not away.
func (l *Ledger) present() bool {
	for _, c := range l.classes {
		if c.line.total.present > 0 {
			return true
		}
	}
	return false
}
