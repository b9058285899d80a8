package scheduler

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
)

// Footprint is what one live agent holds of a server's KV cache.
type Footprint struct {
	Own   int // tokens of its conversation beyond the prefix that all agents of its batch share
	Turns int // model calls that have ended
}

// Growth is what is known of how a batch's agents grow, on average.
type Growth struct {
	Start   float64 // own tokens of a new agent: its first prompt
	Output  float64 // tokens that a model call writes
	PerTurn float64 // own tokens that a further turn adds: what tools returned, and an answer
	Turns   float64 // model calls of a whole job
}

// mean is what an agent holds on average over its turns.
func (g Growth) mean() float64 { return g.Start + g.Output + max(g.Turns-1, 0)/2*g.PerTurn }

// headroom is the share of the cache that the foreseen peak of such agents may fill. How far each grows, and when it is through, differs
// from the mean in every turn that is still to come, so the peak of agents with more turns can come out higher above what was foreseen.
// An agent of a single turn leaves nothing behind that could be evicted before it comes back, and may fill all of it. The form is a
// choice: on the engine model a fixed share of 0.95 loses a tenth with ten turns, and one of 0.85 two percent with two.
func (g Growth) headroom() float64 {
	toCome := 1 - 1/max(g.Turns, 1)
	return 1 - spread*toCome*toCome
}

// curve is what agents hold together at each step from now; a step is everybody's next model call. Agents take their
// turns at the same pace and leave when they are through. Counting what is held now instead would admit agents that all
// grow together; counting everybody's last size would leave the cache half empty.
type curve []float64

// add puts an agent on the curve. Of an agent with 2.3 turns to go, 0.3 count at the third step.
func (c *curve) add(f Footprint, g Growth) {
	left := max(g.Turns-float64(f.Turns), 1)
	size := float64(f.Own) + g.PerTurn
	if f.Turns == 0 {
		size = float64(f.Own) + g.Output
	}
	for k := 0; left > 0; k++ {
		if k == len(*c) {
			*c = append(*c, 0)
		}
		(*c)[k] += size * min(left, 1)
		size += g.PerTurn
		left--
	}
}

func (c curve) peak() float64 {
	if len(c) == 0 {
		return 0
	}
	return slices.Max(c)
}

// LedgerConfig describes the server whose KV cache is kept account of.
type LedgerConfig struct {
	Capacity  int // tokens of KV cache
	BlockSize int // tokens of one block. Defaults to 16.
}

const (
	defaultBlockSize = 16
	// firstGrowth, in tokens, is believed of an agent before any has grown.
	firstGrowth = 500
	// lossSeen is a share of an agent's tokens; less is a matter of rounding.
	lossSeen = 0.02
	// spread is the share of the cache that is kept free of the foreseen peak of agents that live long; see headroom.
	spread = 0.17
	// occupancy is the share of the cache that agents of average size may fill.
	occupancy = 0.85
	// gain is how fast the capacity is learned.
	gain = 0.02
	// minCapacity bounds what is learned, as a share of what the server said.
	minCapacity = 0.2
)

// Ledger keeps account of who holds how much of one server's KV cache, and says how many more agents may start. All it
// knows follows from the live agents and what their calls reported; after a restart it is filled again by [Ledger.Start].
// Safe for concurrent use.
type Ledger struct {
	capacity float64
	block    int

	mu      sync.Mutex
	learned float64             // tokens that the server holds, as far as is known; guarded by mu
	classes map[string]*class   // guarded by mu
	live    map[string]*account // guarded by mu
	order   uint64              // guarded by mu
	change  chan struct{}       // guarded by mu; closed when something may have become possible
}

// class is a batch: agents with one prefix and one way to grow.
type class struct {
	prefixBytes       int
	maxTurns          int
	guess             float64 // of a new agent's first prompt, in tokens
	live              int
	bytes, byteTokens float64 // of all requests
	// Sums over agents; see growth.
	starts, startTokens   float64
	steps, stepTokens     float64
	outputs, outputTokens float64
	finished, finishTurns float64
}

type account struct {
	Footprint
	class   *class
	arrival uint64
	paused  bool // its part of the cache is not reserved
	away    bool // it waits for a tool; then it is paused too
	left    bool // it was paused or away since its last call, and what the server held of it is nobody's to keep
	total   int  // tokens of the conversation after its last call, the prefix included; 0 before the first
}

// NewLedger makes an empty ledger.
func NewLedger(c LedgerConfig) *Ledger {
	if c.BlockSize <= 0 {
		c.BlockSize = defaultBlockSize
	}
	return &Ledger{
		capacity: float64(c.Capacity), learned: float64(c.Capacity), block: c.BlockSize,
		classes: map[string]*class{}, live: map[string]*account{}, change: make(chan struct{}),
	}
}

// Declare makes a batch known: the bytes of its shared prefix, and the most model calls that one job may make. How many
// tokens a byte makes is learned from what calls report.
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
	maps.DeleteFunc(l.classes, func(batch string, c *class) bool { return c.live == 0 && !batches[batch] })
}

// Start makes an agent live. ownBytes is the size of its prompt beyond the shared prefix, with what its journal holds; turns
// is how many model calls are behind it.
func (l *Ledger) Start(id, batch string, ownBytes, turns int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[batch]
	if c == nil {
		c = &class{maxTurns: 1}
		l.classes[batch] = c
	}
	if old := l.live[id]; old != nil {
		old.class.live--
	}
	l.order++
	c.live++
	l.live[id] = &account{Footprint: Footprint{Own: c.tokens(ownBytes), Turns: turns}, class: c, arrival: l.order}
}

// Turn corrects an agent's account by what its model call reported: the bytes of the request, and tokens. cached is negative
// if the server does not say. It returns the shortfall: tokens that the server should still have held of the agent's
// previous turn, and had evicted.
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
		a.class.starts++
		a.class.startTokens += float64(own)
	}
	if a.total > 0 {
		a.class.steps++
		a.class.stepTokens += float64(max(prompt+completion-a.total, 0))
		if cached >= 0 && !a.left {
			shortfall = max(0, a.total/l.block*l.block-l.block-cached)
			l.learn(float64(shortfall) / float64(a.total))
		}
	}
	a.class.outputs++
	a.class.outputTokens += float64(completion)
	a.Turns++
	a.left = false
	a.total = prompt + completion
	a.Own = own + completion
	l.changed()
	return shortfall
}

// tokens is how many tokens so many bytes make, as far as is known.
func (c *class) tokens(bytes int) int {
	const beliefBytes, beliefTokens = 4_000, 1_000
	return int(float64(bytes) * (beliefTokens + c.byteTokens) / (beliefBytes + c.bytes))
}

// prefix is the shared prefix in tokens.
func (c *class) prefix() int { return c.tokens(c.prefixBytes) }

// learn corrects the capacity by what a call showed. Tokens that were lost although all that is held should fit say that
// the server holds less than it was believed to. While nothing is lost and the cache is nearly full, the belief rises
// again, up to what the server says. Losses while too much is held say nothing about the server, only about admission.
func (l *Ledger) learn(lost float64) {
	held := l.held()
	switch {
	case lost > lossSeen && held < l.learned:
		l.learned = max(l.learned*(1-gain*lost), minCapacity*l.capacity)
	case lost <= lossSeen && held > 0.8*l.learned:
		l.learned = min(l.learned*(1+gain/10), l.capacity)
	}
}

// held is what the live agents that are not paused hold now, and the shared prefixes.
func (l *Ledger) held() float64 {
	sum := l.prefixes(nil)
	for _, a := range l.live {
		if !a.paused {
			sum += float64(a.Own)
		}
	}
	return sum
}

// End takes an agent out. finished says that its job has a result, so that its siblings' length can be learned from it.
func (l *Ledger) End(id string, finished bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return
	}
	delete(l.live, id)
	a.class.live--
	if finished {
		a.class.finished++
		a.class.finishTurns += float64(a.Turns)
	}
	l.changed()
}

// growth mixes what was seen with what is believed before: that a turn adds more than what a job starts with, and that jobs
// take half of the turns that they may. They err towards few agents, which costs a moment, and weigh as much as a
// quarter of an agent.
func (c *class) growth() Growth {
	const weight = 0.25
	mean := func(belief, sum, n float64) float64 { return (weight*belief + sum) / (weight + n) }
	g := Growth{
		Start:  mean(c.guess, c.startTokens, c.starts),
		Output: mean(firstGrowth, c.outputTokens, c.outputs),
		Turns:  mean(float64(1+c.maxTurns)/2, c.finishTurns, c.finished),
	}
	g.PerTurn = mean(2*g.Start+firstGrowth, c.stepTokens, c.steps)
	return g
}

// Room is how many more agents of a batch may start now, at most limit. startBytes is the size of the first prompt of a
// new one beyond the shared prefix.
//
// An agent may start while the peak of all live agents and itself, plus each shared prefix once, stays within the budget.
// One may always live: a job that is larger than the cache must run all the same. Agents that pause count as if they did
// not, because they come back first; those that are away do not count, because others were to have their part.
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
	peak := g.headroom()*l.learned - prefixes
	mean := occupancy*l.learned - prefixes - l.means()
	if c.maxTurns == 1 {
		mean = math.Inf(1)
	}
	n := 0
	for ; n < limit; n++ {
		held.add(Footprint{Own: int(g.Start)}, g)
		mean -= g.mean()
		if (held.peak() > peak || mean < 0) && (n > 0 || l.present()) {
			break
		}
	}
	return n
}

// means is the average size over their lives of the live agents that are not away, summed up.
func (l *Ledger) means() (sum float64) {
	for _, a := range l.live {
		if !a.away {
			sum += a.class.growth().mean()
		}
	}
	return sum
}

// Await holds an agent that stands at a turn boundary for as long as it would only evict others: those that live longest
// and together fit go on. It returns ctx's cause if ctx ends first.
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

// boundary lets an agent go on, or returns what to wait for.
func (l *Ledger) boundary(id string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.live[id]
	if a == nil {
		return nil
	}
	a.away = false
	if a.paused {
		a.paused = !l.mayResume(a)
	} else {
		a.paused = l.mustPause(a)
	}
	if a.paused {
		a.left = true
		return l.change
	}
	return nil
}

// changed wakes those that are paused. The caller holds mu.
func (l *Ledger) changed() {
	close(l.change)
	l.change = make(chan struct{})
}

// mustPause reports whether an agent and all that have lived longer, each with one more turn, exceed the cache.
func (l *Ledger) mustPause(a *account) bool {
	room, oldest := l.learned-l.prefixes(nil), true
	for _, b := range l.live {
		if b.arrival <= a.arrival && !b.paused {
			room -= float64(b.Own) + b.class.growth().PerTurn
		}
		oldest = oldest && (b.arrival >= a.arrival || b.away)
	}
	return room < 0 && !oldest
}

// mayResume reports whether a paused agent fits beside those that go on, and no older one waits too. Whoever lives longest
// goes on in any case.
func (l *Ledger) mayResume(a *account) bool {
	oldest := true
	for _, b := range l.live {
		if b.paused && !b.away && b.arrival < a.arrival {
			return false
		}
		oldest = oldest && (b.arrival >= a.arrival || b.away)
	}
	held := l.projection(false)
	g := a.class.growth()
	held.add(a.Footprint, g)
	return oldest || held.peak() <= g.headroom()*l.learned-l.prefixes(nil)
}

// projection is what the live agents will hold, each batch by its own growth, with those that pause or without. Those that are away
// are never in it.
func (l *Ledger) projection(paused bool) curve {
	var held curve
	for _, a := range l.live {
		if !a.paused || paused && !a.away {
			held.add(a.Footprint, a.class.growth())
		}
	}
	return held
}

// prefixes is the sum of the shared prefixes that are in use, that of c included.
func (l *Ledger) prefixes(c *class) float64 {
	sum := 0
	for _, other := range l.classes {
		if other == c || other.live > 0 {
			sum += other.prefix()
		}
	}
	return float64(sum)
}

// State is the ledger for people and metrics.
type State struct {
	Capacity, Budget int // tokens
	Held             int // tokens held now, shared prefixes included
	Live             int // agents
	Away             int // of those, agents whose part went to others while they wait for a tool
}

// State tells how things stand.
func (l *Ledger) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Capacity: int(l.capacity), Budget: int(l.learned), Held: int(l.held()), Live: len(l.live)}
	for _, a := range l.live {
		if a.away {
			s.Away++
		}
	}
	return s
}
