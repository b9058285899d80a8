package scheduler

import (
	"maps"
	"math"
	"sync"
	"time"
)

// LedgerConfig describes the KV cache of a server.
type LedgerConfig struct {
	Capacity  int // tokens of KV cache
	BlockSize int // tokens of one block. Defaults to 16.
}

const (
	defaultBlockSize = 16
	// firstGrowth is the assumed growth of an agent in tokens, before any agent has grown.
	firstGrowth = 500
	// lossSeen is a share of an agent's tokens. Smaller losses are rounding.
	lossSeen = 0.02
	// spread is the share of the cache that stays free of the predicted peak of agents with many turns; see headroom.
	spread = 0.2
	// doubt is a further share, while the length of a job is unknown.
	doubt = 0.22
	// occupancy is the share of the cache that agents of average size may fill.
	occupancy = 0.85
	// belief is the weight of an assumption, in agents.
	belief = 0.25
	// gain is how fast the ledger adapts the capacity.
	gain = 0.02
	// minCapacity is the lower limit of the learned capacity, as a share of the capacity that the server reported.
	minCapacity = 0.2
)

// Ledger tracks how much of one server's KV cache each live agent holds, and decides how many more agents may start. It learns
// only from the live agents and from the usage that their calls report. After a restart, [Ledger.Start] fills it again. Safe
// for concurrent use.
type Ledger struct {
	capacity float64
	block    int

	mu       sync.Mutex
	learned  float64             // learned capacity of the server, in tokens; guarded by mu
	classes  map[string]*class   // guarded by mu
	live     map[string]*account // guarded by mu
	order    uint64              // guarded by mu
	shocks   int                 // guarded by mu; how often others took a part of the cache
	full     bool                // guarded by mu; an agent did not fit since the last reading
	feedback                     // guarded by mu
	reload                       // guarded by mu
}

// class is the agents of one batch: they share a prefix and a pattern of growth.
type class struct {
	prefixBytes       int
	maxTurns          int
	guess             float64 // estimated own tokens of a new agent's first prompt
	line              line
	stages            []stage // by the number of model calls that have ended
	bytes, byteTokens float64 // of all requests
	holding           shelf   // agents that are not paused
	calling           shelf   // agents with a call in flight
	groups            groups
	// Sums over agents; see growth.
	steps, stepTokens     float64
	outputs, outputTokens float64
	finished, finishTurns float64
}

type account struct {
	Footprint
	class   *class
	arrival uint64
	seat    int           // in the class's line
	wait    chan struct{} // closed when the agent may be able to resume; nil unless it waits
	paused  bool          // its part of the cache is not reserved
	away    bool          // waiting for a tool, and therefore paused too
	left    bool          // was paused or away since its last call, so losses are expected and not counted
	sent    int           // own tokens of the call in flight; 0 without one
	marks   Marks
	common  int           // tokens of the first prompt after the prefix that another agent holds too, and that count there
	began   int           // bytes of the first prompt that others held at its start
	shocks  int           // of the ledger, at the last call
	ttft    time.Duration // of the call that ends next; 0 if unknown
	total   int           // tokens of the conversation after its last call, with the prefix; 0 before the first
}

// NewLedger returns an empty ledger.
func NewLedger(c LedgerConfig) *Ledger {
	if c.BlockSize <= 0 {
		c.BlockSize = defaultBlockSize
	}
	return &Ledger{
		capacity: float64(c.Capacity), learned: float64(c.Capacity), block: c.BlockSize,
		classes: map[string]*class{}, live: map[string]*account{},
	}
}

// Declare adds a batch: the bytes of its shared prefix, and the limit of model calls per job. The ledger learns the number of
// tokens per byte from the usage that calls report.
func (l *Ledger) Declare(batch string, prefixBytes, maxTurns int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[batch]
	if c == nil {
		c = &class{}
		l.classes[batch] = c
	}
	c.prefixBytes, c.maxTurns = prefixBytes, max(maxTurns, 1)
}

// Keep drops all batches that are not in the set and have no live agent.
func (l *Ledger) Keep(batches map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.classes, func(batch string, c *class) bool { return c.line.live == 0 && !batches[batch] })
}

// Start makes an agent live. ownBytes is the size of its prompt after the shared prefix, with the turns of its journal. turns
// is the number of model calls that it has made. marks are those of its first prompt; without them it shares the prefix only.
func (l *Ledger) Start(id, batch string, ownBytes, turns int, marks Marks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[batch]
	if c == nil {
		c = &class{maxTurns: 1}
		l.classes[batch] = c
	}
	if old := l.live[id]; old != nil {
		l.callEnded(old)
		old.leave()
	}
	l.order++
	a := &account{Footprint: Footprint{Own: c.tokens(ownBytes), Turns: turns}, class: c, arrival: l.order, shocks: l.shocks, marks: marks}
	l.live[id] = a
	c.line.join(a)
	c.stage(a).add(a, 1)
	a.began = c.holding.overlap(a)
	a.hold()
	if turns == 0 {
		c.groups.started(ownBytes, a.began)
	}
}

// Turn updates an agent's account with the usage that a model call reported: the bytes of the request, and tokens. cached is
// negative if the server does not report it. Turn returns the shortfall: tokens of the agent's previous turn that the server
// should still have held but evicted.
func (l *Ledger) Turn(id string, requestBytes, prompt, cached, completion int) (shortfall int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return 0
	}
	a.class.bytes += float64(requestBytes)
	a.class.byteTokens += float64(prompt)
	own := max(prompt-a.class.prefix(), 0)
	if a.Turns == 0 {
		a.class.groups.counted(own, a.class.tokens(a.began))
	}
	if a.total > 0 {
		a.class.steps++
		a.class.stepTokens += float64(max(prompt+completion-a.total, 0))
		if cached >= 0 && a.left {
			l.returned(a.total, cached)
		}
		if cached >= 0 && !a.left && a.shocks == l.shocks {
			shortfall = max(0, a.total/l.block*l.block-l.block-cached)
			l.learn(float64(shortfall) / float64(a.total))
		}
	}
	if cached >= 0 && !a.left {
		l.computed(prompt-cached, a.ttft)
	}
	a.class.outputs++
	a.class.outputTokens += float64(completion)
	a.left, a.shocks, a.ttft = false, l.shocks, 0
	a.total = prompt + completion
	l.callEnded(a)
	a.set(func() {
		a.sent = 0
		a.Turns++
		a.Own = own + completion
	})
	l.wakeOldest()
	return shortfall
}

// tokens estimates the number of tokens in so many bytes.
func (c *class) tokens(bytes int) int {
	const beliefBytes, beliefTokens = 4_000, 1_000
	return int(float64(bytes) * (beliefTokens + c.byteTokens) / (beliefBytes + c.bytes))
}

// prefix returns the length of the shared prefix in tokens.
func (c *class) prefix() int { return c.tokens(c.prefixBytes) }

// learn adapts the learned capacity to the loss that a call showed. A loss of tokens that should all fit means that the server
// holds less than assumed, so the capacity falls. It rises again while the cache is nearly full without losses, up to the
// reported capacity. Losses while too much is held come from admission alone and change nothing.
func (l *Ledger) learn(lost float64) {
	held := l.held()
	switch {
	case lost > lossSeen && l.foreign == 0 && held+l.queued() < l.budget():
		l.learned = max(l.learned*(1-gain*lost), minCapacity*l.capacity)
	case lost <= lossSeen && (l.full || held > 0.8*l.budget()):
		l.learned = max(l.learned, min(l.learned*(1+gain/10), l.limit()))
	}
}

// queued returns the tokens of the paused agents that are not away. The server may still hold them.
func (l *Ledger) queued() (tokens float64) {
	for _, c := range l.classes {
		for _, s := range c.stages {
			tokens += float64(s.queued.own)
		}
	}
	return tokens
}

// held returns the tokens that live agents hold now unless paused, plus the shared prefixes.
func (l *Ledger) held() float64 {
	sum := l.prefixes(nil)
	for _, c := range l.classes {
		sum += float64(c.line.total.own)
	}
	return sum
}

// End removes an agent. finished is true if its job has a result; the ledger then learns the number of turns from it.
func (l *Ledger) End(id string, finished bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return
	}
	delete(l.live, id)
	l.callEnded(a)
	a.leave()
	if finished {
		a.class.finished++
		a.class.finishTurns += float64(a.Turns)
	}
	l.wakeOldest()
}

// growth mixes the observed averages with two initial assumptions: a turn adds more tokens than a job starts with, and a job
// takes half of its allowed turns. The assumptions err towards few agents, which costs a moment.
func (c *class) growth() Growth {
	mean := func(guess, sum, n float64) float64 { return (belief*guess + sum) / (belief + n) }
	g := Growth{
		Start:  c.mean(c.guess, c.groups.opened, c.groups.joined),
		Output: mean(firstGrowth, c.outputTokens, c.outputs),
		Turns:  mean(float64(1+c.maxTurns)/2, c.finishTurns, c.finished),
	}
	g.Doubt = 1 / (1 + c.finished)
	g.PerTurn = mean(2*g.Start+firstGrowth, c.stepTokens, c.steps)
	return g
}

// Room returns how many more agents of a batch may start now, at most limit. startBytes is the size of a new agent's first
// prompt after the shared prefix.
//
// An agent may start while the peak of all live agents and itself, plus each shared prefix once, stays within the budget. One
// agent may always live, because a job larger than the cache must run too. Paused agents count like the others, because they
// resume before new ones start. Agents that are away do not count, because their part was freed for others.
func (l *Ledger) Room(batch string, startBytes, limit int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[batch]
	if c == nil {
		return min(limit, 1)
	}
	c.guess = float64(c.tokens(startBytes))
	g := c.growth()
	held, prefixes := l.projection(true), l.prefixes(c)
	peak := l.spared(g.headroom(l.budget()))*l.budget() - prefixes
	mean := l.spared(occupancy)*l.budget() - prefixes - l.means()
	if c.maxTurns == 1 {
		mean = math.Inf(1)
	} else if l.drain > 0 && l.present() {
		return 0
	}
	n := 0
	for ; n < limit; n++ {
		held.add(Footprint{Own: int(c.next(n))}, g)
		mean -= g.mean()
		if (held.peak() > peak || mean < 0) && (n > 0 || l.present()) {
			l.full = true
			break
		}
	}
	return n
}

// means returns the sum of the average sizes of all live agents that are not away.
func (l *Ledger) means() (sum float64) {
	for _, c := range l.classes {
		if n := c.line.total.present; n > 0 {
			sum += float64(n) * c.growth().mean()
		}
	}
	return sum
}

// projection predicts the tokens that the live agents will hold, each batch with its own growth. paused includes the paused
// agents, except those that are away.
func (l *Ledger) projection(paused bool) curve {
	var held curve
	for _, c := range l.classes {
		if c.line.live == 0 {
			continue
		}
		g := c.growth()
		for turns, s := range c.stages {
			if paused {
				s.running.own += s.queued.own
				s.running.agents += s.queued.agents
			}
			held.addAll(s.running.agents, s.running.own, turns, g)
		}
	}
	return held
}

// prefixes returns the sum of the shared prefixes in use, including that of c.
func (l *Ledger) prefixes(c *class) float64 {
	sum := 0
	for _, other := range l.classes {
		if other == c || other.line.live > 0 {
			sum += other.prefix()
		}
	}
	return float64(sum)
}

// State is the ledger's summary for people and metrics.
type State struct {
	Capacity, Budget int // tokens
	Held             int // tokens held now, shared prefixes included
	Live             int // agents
	Away             int // live agents that freed their part while they wait for a tool
}

// State returns the current totals.
func (l *Ledger) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Capacity: int(l.capacity), Budget: int(l.budget()), Held: int(l.held()), Live: len(l.live)}
	for _, c := range l.classes {
		s.Away += c.line.live - c.line.total.present
	}
	return s
}
