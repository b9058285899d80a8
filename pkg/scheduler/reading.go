package scheduler

import "slices"

// Reading is the state of a server's cache as the server reports it.
type Reading struct {
	Usage       float64 // share of the cache that running requests of all clients use, 0..1; negative if it is not reported
	Running     int     // requests; negative if not reported
	Waiting     int     // requests; negative if not reported
	Preemptions int64   // counter; negative if not reported
	Tier        bool    // a second tier keeps what the cache evicts
}

const (
	// full is the use of the cache from which the next call preempts others.
	full = 0.95
	// foreignSeen is a share of the cache. Smaller differences between the use and the ledger's own count are rounding.
	foreignSeen = 0.1
	// readingsKept is how many of the last readings the ledger compares. Their median is the other clients' part.
	readingsKept = 3
	// fading is the weight of all earlier readings relative to the last one, for the cost of a token.
	fading = 0.97
	// readingsNeeded is how many readings the cost of a token needs.
	readingsNeeded = 10
	// maxCapacity is the upper limit of the learned capacity, as a multiple of the capacity that the server reported.
	maxCapacity = 4
	// raise is how fast the learned capacity rises while the engine uses less than the ledger counts.
	raise = 0.02
	// cheap is the cost of a token, relative to the reported one, below which the capacity may exceed the reported one.
	cheap = 0.85
)

// feedback corrects the ledger by the server's readings. Admission by the ledger comes first: a full cache shows only after the
// harm is done.
type feedback struct {
	parts       []float64 // the last parts that the ledger cannot explain, in tokens
	foreign     float64   // tokens that other clients hold now
	used        float64   // tokens in use while the ledger could explain them all, fading
	counted     float64   // the same as the ledger counts them
	readings    int       // in used and counted
	preemptions int64
	known       bool // preemptions was read before
	tier        bool // the server has a second tier
	drain       int  // calls that must end before another agent starts
}

// Observe corrects the ledger by a reading of the server.
//
//   - Use that the ledger cannot explain is that of other clients. Their part is not there for the agents, until they leave.
//   - If the engine preempts, or its cache is full while requests wait, no agent starts until as many calls have ended as run now.
//   - If the server has a second tier, returns are assumed to cost nothing until they show otherwise.
//   - If the calls use clearly less than the ledger counts for them, a token costs less than reported (as with sliding windows), and
//     the learned capacity rises.
func (l *Ledger) Observe(r Reading) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Tier && !l.tier {
		l.tier, l.kept = true, 1
	}
	calls, sent := l.inFlight()
	if r.Usage >= 0 {
		l.split(r, calls, sent)
	}
	preempted := r.Preemptions >= 0 && l.known && r.Preemptions > l.preemptions
	if r.Preemptions >= 0 {
		l.preemptions, l.known = r.Preemptions, true
	}
	if (preempted || r.Usage > full && r.Waiting > 0) && l.drain == 0 {
		l.drain = calls
	}
	l.wakeOldest()
}

// inFlight returns the number of calls in flight, and the tokens that they hold with the shared prefixes.
func (l *Ledger) inFlight() (calls int, tokens float64) {
	tokens = l.prefixes(nil)
	for _, c := range l.classes {
		if s := c.line.total; s.calls > 0 {
			calls += s.calls
			tokens += float64(max(s.sent-c.tokens(c.calling.shared), 0)) + float64(s.calls)*c.growth().Output/2
		}
	}
	return calls, tokens
}

// split divides the use of the cache between the ledger's own calls and other clients.
func (l *Ledger) split(r Reading, calls int, sent float64) {
	if r.Waiting > 0 && r.Running >= 0 { // calls that wait hold nothing yet
		sent *= float64(r.Running) / float64(r.Running+r.Waiting)
	}
	used := r.Usage * l.capacity
	if len(l.parts) == readingsKept {
		l.parts = slices.Delete(l.parts, 0, 1)
	}
	l.parts = append(l.parts, used-sent)
	part := slices.Sorted(slices.Values(l.parts))[len(l.parts)/2]
	if part < foreignSeen*l.capacity {
		part = 0
	}
	if part > l.foreign+foreignSeen*l.capacity {
		l.shocks++ // what agents lose now is not a lesson about the capacity
	}
	l.foreign = part
	// Some servers update their figures only now and then. A figure that misses our calls is stale.
	if calls > 0 && r.Usage > 0 && r.Running >= calls && r.Waiting == 0 && part == 0 {
		l.used, l.counted = fading*l.used+used, fading*l.counted+sent
		l.readings++
		if l.full && used < cheap*sent {
			l.learned = min(l.learned*(1+raise), l.limit())
		}
	}
	l.full = false
}

// limit returns the upper limit of the learned capacity.
func (l *Ledger) limit() float64 {
	if l.readings < readingsNeeded || l.used >= cheap*l.counted {
		return l.capacity
	}
	return min(l.capacity*l.counted/max(l.used, 1), maxCapacity*l.capacity)
}

// budget returns the tokens that the agents may hold now.
func (l *Ledger) budget() float64 {
	return max(l.learned-l.foreign, minCapacity*l.capacity)
}

// Call records that an agent's model call begins. requestBytes is the size of its request.
func (l *Ledger) Call(id string, requestBytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return
	}
	sent := max(a.class.tokens(requestBytes)-a.class.prefix(), 1)
	a.set(func() { a.sent = sent })
	a.class.calling.put(a)
}

// Failed records that an agent's model call ended without an answer.
func (l *Ledger) Failed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.live[id]; a != nil {
		l.callEnded(a)
		a.set(func() { a.sent = 0 })
	}
}

// callEnded counts the end of an agent's call, if one is in flight, against the calls that must end before another agent starts.
func (l *Ledger) callEnded(a *account) {
	if a.sent > 0 {
		l.drain = max(l.drain-1, 0)
		a.class.calling.take(a)
	}
}

// Rank returns how many live agents are older than this one. It is the order of the agents inside of the server: the older an
// agent, the sooner it frees its part of the cache.
func (l *Ledger) Rank(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return 0
	}
	return l.olderThan(a).present
}
