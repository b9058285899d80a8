package scheduler

import "time"

const (
	// maxWorth limits [Ledger.Worth], and is assumed before the first long prompt was computed. The first prompts are computed together,
	// so their pace is too slow.
	maxWorth = 20 * time.Second
	// leaveGrace gives a call that is answered from a cache time to return.
	leaveGrace = time.Second
	// spare is how much longer a call may take than those before it.
	spare = 1.25
	// longPrompt is a number of computed tokens. The time of shorter ones shows the server's other work.
	longPrompt = 1_024
	// loaded is the share of the cache by which the predicted peak may exceed it, if evicted conversations are loaded and not computed. On
	// the engine model 0.15 to 0.5 differ by 1 %.
	loaded = 0.3
	// returnFading is the weight of all earlier returns relative to the last one.
	returnFading = 0.9
	// quickly and slowly are the weights of the earlier paces relative to a faster and to a slower one.
	quickly, slowly = 0.5, 0.98
)

// Took is a number of executions of a tool with the same duration.
type Took struct {
	Duration time.Duration
	Count    float64
}

// LeaveAfter returns for how much longer an agent that waits for a tool keeps its part of the cache. tool has the earlier executions,
// the shortest first. The agent has waited for some time already. worth is the wait that costs as much as a return; see [Ledger.Worth].
//
// It returns the time with the least expected cost, in seconds of an occupied part: the wait until then, and a return if the call
// lasts longer. One unknown execution takes just as long as a return is worth. So an agent of an unknown tool leaves then, which
// costs at most twice the optimum (ski rental, Karlin et al., 1988).
func LeaveAfter(tool []Took, waited, worth time.Duration) time.Duration {
	left := 0.0 // executions that take longer than the wait so far
	for _, t := range tool {
		if t.Duration > waited {
			left += t.Count
		}
	}
	unknown := worth > waited
	if unknown {
		left++
	}
	best, until, now := worth.Seconds()*left, waited, waited
	area := 0.0
	pass := func(at time.Duration, count float64, keep time.Duration) {
		area += left * (at - now).Seconds()
		left, now = left-count, at
		if cost := area + worth.Seconds()*left; cost <= best {
			best, until = cost, keep
		}
	}
	for _, t := range tool {
		if unknown && t.Duration >= worth {
			pass(worth, 1, worth)
			unknown = false
		}
		if t.Duration > waited {
			pass(t.Duration, t.Count, time.Duration(spare*float64(t.Duration)))
		}
	}
	if unknown {
		pass(worth, 1, worth)
	}
	return max(until-waited, min(leaveGrace, worth))
}

// reload is the price of a return.
type reload struct {
	pace float64 // seconds to compute a token
	kept float64 // share of its conversation that a returning agent finds in the cache
}

// computed records the time in which the server computed the tokens of a first prompt, with the wait in front of it. So the fastest
// prompts show the pace.
func (r *reload) computed(tokens int, ttft time.Duration) {
	if tokens < longPrompt || ttft <= 0 {
		return
	}
	pace, fading := ttft.Seconds()/float64(tokens), slowly
	switch {
	case r.pace == 0:
		fading = 0
	case pace < r.pace:
		fading = quickly
	}
	r.pace = fading*r.pace + (1-fading)*pace
}

// Worth returns how long a part of the cache must be occupied to cost as much as a return of its agent. A return keeps the whole server
// busy, so this is the time in which the server computes as many tokens as its cache holds, less the share that returning agents find there. A
// second tier of cache, in the host's memory or on disks, loads conversations, so returns are worth little there.
func (l *Ledger) Worth() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := maxWorth.Seconds()
	if l.pace > 0 {
		full = min(full, l.pace*l.budget())
	}
	return time.Duration(full * (1 - l.kept) * float64(time.Second))
}

// spared returns the share of the cache that agents may fill. share is for a server that computes again what it evicts. A server with a
// second tier loads the kept part of it, so the predicted peak may exceed the cache.
func (l *Ledger) spared(share float64) float64 {
	if l.tier {
		return 1 - (1-share)*(1-l.kept) + loaded*l.kept
	}
	return share
}

// Began records the time to the first token of the agent's call, before [Ledger.Turn].
func (l *Ledger) Began(id string, ttft time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.live[id]; a != nil {
		a.ttft = ttft
	}
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
