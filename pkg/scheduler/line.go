package scheduler

import "sort"

// sums are totals over some of the live agents of a class.
type sums struct {
	own     int // tokens of the agents that are not paused
	running int // agents that are not paused
	fresh   int // agents that are not paused and have made no model call
	present int // agents that are not away
	queued  int // agents that are paused and not away
	calls   int // agents with a call in flight
	sent    int // tokens of these calls
}

func (s sums) plus(o sums) sums {
	return sums{s.own + o.own, s.running + o.running, s.fresh + o.fresh, s.present + o.present, s.queued + o.queued, s.calls + o.calls, s.sent + o.sent}
}

func (s sums) minus(o sums) sums {
	return sums{s.own - o.own, s.running - o.running, s.fresh - o.fresh, s.present - o.present, s.queued - o.queued, s.calls - o.calls, s.sent - o.sent}
}

// sums returns the account's own part.
func (a *account) sums() (s sums) {
	if !a.paused {
		s.own, s.running = a.counted(), 1
		if a.Turns == 0 {
			s.fresh = 1
		}
	}
	if !a.away {
		s.present = 1
		if a.paused {
			s.queued = 1
		}
	}
	if a.sent > 0 {
		s.calls, s.sent = 1, a.sent
	}
	return s
}

// stage is the live agents of a class that have made the same number of model calls.
type stage struct{ running, queued group }

type group struct{ agents, own int }

// add adds an agent, or removes it if sign is -1. Agents that are away have no part of the cache and do not count.
func (s *stage) add(a *account, sign int) {
	into := &s.running
	switch {
	case a.away:
		return
	case a.paused:
		into = &s.queued
	}
	into.agents += sign
	into.own += sign * a.counted()
}

func (c *class) stage(a *account) *stage {
	for len(c.stages) <= a.Turns {
		c.stages = append(c.stages, stage{})
	}
	return &c.stages[a.Turns]
}

// set changes an account and keeps the sums over the accounts.
func (a *account) set(change func()) {
	before := a.sums()
	a.class.stage(a).add(a, -1)
	change()
	a.class.stage(a).add(a, 1)
	a.class.line.add(a.seat, a.sums().minus(before))
}

// leave removes the account from the sums and ends its wait.
func (a *account) leave() {
	a.drop()
	a.class.stage(a).add(a, -1)
	a.class.line.leave(a)
	a.wake()
}

// counted returns the agent's own tokens without those that count for another agent.
func (a *account) counted() int { return max(a.Own-a.common, 0) }

// hold counts the agent's part of the cache. Texts that others hold count there.
func (a *account) hold() {
	below, next, above := a.class.holding.put(a)
	a.shares(below)
	if next != nil {
		next.shares(above)
	}
}

// drop gives the agent's part up, except for the texts that others hold.
func (a *account) drop() {
	next, common := a.class.holding.take(a)
	if next != nil {
		next.shares(common)
	}
	a.shares(a.class.holding.overlap(a))
}

// shares sets how many bytes of the first prompt another account counts.
func (a *account) shares(bytes int) {
	if common := a.class.tokens(bytes); common != a.common {
		a.set(func() { a.common = common })
	}
}

// line is the live agents of a class in the order of their arrival. It returns sums over the oldest agents in O(log n): a
// Fenwick tree over seats. New agents take the last seat. Seats of ended agents stay empty until half of them are.
type line struct {
	seats    []*account // nil where an agent ended
	arrivals []uint64   // by seat
	tree     []sums     // tree[i] covers the seats i-lowbit(i)+1 to i, counted from 1; tree[0] is unused
	total    sums       // over all agents
	live     int
}

// minSeats is the number of seats below which empty ones stay.
const minSeats = 32

func lowbit(i int) int { return i & -i }

// join adds an agent that arrived after all others.
func (l *line) join(a *account) {
	if len(l.seats) >= minSeats && l.live < len(l.seats)/2 {
		old := l.seats
		*l = line{}
		for _, b := range old {
			if b != nil {
				l.append(b)
			}
		}
	}
	l.append(a)
}

func (l *line) append(a *account) {
	if len(l.tree) == 0 {
		l.tree = append(l.tree, sums{})
	}
	i, s := len(l.tree), a.sums()
	l.total = l.total.plus(s)
	for j := i - 1; j > i-lowbit(i); j -= lowbit(j) {
		s = s.plus(l.tree[j])
	}
	l.tree = append(l.tree, s)
	l.seats, l.arrivals = append(l.seats, a), append(l.arrivals, a.arrival)
	a.seat = i
	l.live++
}

// leave removes an agent.
func (l *line) leave(a *account) {
	l.add(a.seat, sums{}.minus(a.sums()))
	l.seats[a.seat-1] = nil
	l.live--
}

func (l *line) add(seat int, s sums) {
	l.total = l.total.plus(s)
	for i := seat; i < len(l.tree); i += lowbit(i) {
		l.tree[i] = l.tree[i].plus(s)
	}
}

// until sums over the agents that arrived no later than arrival.
func (l *line) until(arrival uint64) (s sums) {
	i := sort.Search(len(l.arrivals), func(i int) bool { return l.arrivals[i] > arrival })
	for ; i > 0; i -= lowbit(i) {
		s = s.plus(l.tree[i])
	}
	return s
}

// firstQueued returns the oldest agent that is paused and not away, or nil.
func (l *line) firstQueued() *account {
	step := 1
	for 2*step < len(l.tree) {
		step *= 2
	}
	before := 0 // seats without a queued agent
	for ; step > 0; step /= 2 {
		if next := before + step; next < len(l.tree) && l.tree[next].queued == 0 {
			before = next
		}
	}
	if before >= len(l.seats) {
		return nil
	}
	return l.seats[before]
}
