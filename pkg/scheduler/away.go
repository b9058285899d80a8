package scheduler

import "time"

const (
	// worthLeaving is how long a wait for a tool must be for the agent to give up its part of the cache. Coming back costs the
	// agent a prefill of its whole conversation, a second or a few. From this length on, the work of other agents in the
	// meantime is worth more. On the engine model 10 s to 60 s differ little, and 5 s loses.
	worthLeaving = 20 * time.Second
	// leaveGrace gives a call that is answered from a cache time to return.
	leaveGrace = time.Second
	// returnFading is the weight of all earlier returns relative to the last one.
	returnFading = 0.9
)

// LeaveAfter returns how long an agent that waits for a tool keeps its part of the cache. expected is the remaining time of the
// tool, or 0 if it is unknown. price is the share of its conversation that a returning agent computes again, 0..1; see
// [Ledger.Price]. A long expected wait frees the part almost at once. Otherwise the agent leaves when it has waited for as long as
// leaving would have cost. That costs at most twice the optimum (ski rental, Karlin et al., 1988).
func LeaveAfter(expected time.Duration, price float64) time.Duration {
	worth := time.Duration(price * float64(worthLeaving))
	if expected >= worth {
		return min(leaveGrace, worth)
	}
	return worth
}

// Price returns the share of its conversation that an agent computed again after it had given up its part of the cache: the
// average of the last returns, and 1 before the first. A server with a second tier of cache, in the host's memory or on disks,
// loads it instead, so the price is low.
func (l *Ledger) Price() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 1 - l.kept
}

// returned records the return of an agent that had given up its part.
func (l *Ledger) returned(total, cached int) {
	share := min(float64(cached+l.block)/float64(total), 1)
	l.kept = returnFading*l.kept + (1-returnFading)*share
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
	a.drop()
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
