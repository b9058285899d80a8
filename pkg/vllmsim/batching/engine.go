package batching

import (
	"fmt"
	"slices"
	"time"
)

// Request is one model call in the engine's terms.
type Request struct {
	PromptTokens int
	OutputTokens int // at least 1
	// Blocks are the hashes of the full blocks of prompt and output. Each hash covers everything up to its block's end. Blocks
	// without a hash cannot be reused by other requests.
	Blocks   []uint64
	Priority int // lower runs sooner; only with [Engine.ByPriority]
	// Keep makes the sequence hold its blocks after its end, until a sequence that resumes it starts, or until [Engine.Drop].
	Keep    bool
	Resumes *Sequence // its blocks are released when this sequence starts
}

// Sequence is a request in the engine.
type Sequence struct {
	Request

	// Generated is the number of output tokens so far.
	Generated int
	// Cached is the number of prompt tokens in the cache when the sequence first started to run.
	Cached int
	// Recomputed is the number of tokens computed again after preemptions.
	Recomputed int
	// Done is set when all tokens are generated, or after an abort.
	Done bool

	arrival  uint64
	computed int // tokens with computed KV
	peak     int // maximum of computed so far
	blocks   []int32
	running  bool
	started  bool
	kept     bool // ended, and still holds its blocks
	loads    int  // tokens loaded when it joined, not yet in a step
	planned  int  // tokens in the current step
}

// tokens is the length of the sequence so far.
func (s *Sequence) tokens() int { return s.PromptTokens + s.Generated }

// Step is one step of the engine.
type Step struct {
	Duration      time.Duration
	PrefillTokens int
	Decoding      int // sequences

	planned []*Sequence
}

// Counters are totals since the engine was created.
type Counters struct {
	Steps, Preemptions                          int
	PromptTokens, CachedTokens, GeneratedTokens int // of sequences that started
	PrefilledTokens                             int // computed, not taken from the cache
	RecomputedTokens                            int // the part of PrefilledTokens that a preemption had dropped
	LoadedTokens                                int // from the host's memory
	Busy                                        time.Duration
}

// Load is the engine's state.
type Load struct {
	Running, Waiting int
	UsedBlocks       int // by running sequences
	Blocks           int
}

// Engine is the model of an inference engine. The zero value is not usable.
type Engine struct {
	// ByPriority orders requests by Request.Priority, then by arrival. Defaults to arrival only.
	ByPriority bool

	profile  Profile
	pool     *pool
	waiting  []*Sequence // in the order of their start
	running  []*Sequence // in the order of their start
	kept     []*Sequence // ended sequences that hold their blocks
	arrivals uint64
	counters Counters
}

// New returns an idle engine.
func New(p Profile) (*Engine, error) {
	if p.BlockSize < 1 || p.Blocks < 1 || p.BudgetTokens < 1 || p.MaxSequences < 1 {
		return nil, fmt.Errorf("engine profile %q: block size, blocks, token budget and sequences must be at least 1", p.Name)
	}
	return &Engine{profile: p, pool: newPool(p.Blocks, !p.NoPrefixCache, p.HostBlocks)}, nil
}

// Fits reports whether a request can ever run, that is, whether its tokens fit into the whole cache.
func (e *Engine) Fits(r Request) bool {
	return blocksFor(r.PromptTokens+r.OutputTokens, e.profile.BlockSize) <= e.profile.Blocks
}

// Add queues a request. The request must fit.
func (e *Engine) Add(r Request) *Sequence {
	e.arrivals++
	s := &Sequence{Request: r, arrival: e.arrivals}
	e.enqueue(s)
	return s
}

// Abort removes a waiting or running sequence. It ignores a sequence that is done.
func (e *Engine) Abort(s *Sequence) {
	if s.Done {
		return
	}
	s.Done = true
	if s.running {
		e.leave(s)
		return
	}
	e.waiting = remove(e.waiting, s)
}

// Drop releases the blocks that an ended sequence kept.
func (e *Engine) Drop(s *Sequence) {
	if s == nil || !s.kept {
		return
	}
	s.kept = false
	e.kept = remove(e.kept, s)
	e.pool.release(s.blocks)
	s.blocks = s.blocks[:0]
}

// Idle reports whether the engine has no sequences.
func (e *Engine) Idle() bool { return len(e.running) == 0 && len(e.waiting) == 0 }

// Load returns the current state.
func (e *Engine) Load() Load {
	return Load{
		Running: len(e.running), Waiting: len(e.waiting),
		UsedBlocks: e.profile.Blocks - e.pool.free, Blocks: e.profile.Blocks,
	}
}

// Counters returns the totals so far.
func (e *Engine) Counters() Counters { return e.counters }

// Begin plans the next step. The caller waits for its duration and then calls [Engine.End]. Requests may be added and aborted in
// between.
func (e *Engine) Begin() Step {
	var st Step
	var cost costSum
	budget, preempted := e.profile.BudgetTokens, false

	for i := 0; i < len(e.running) && budget > 0; i++ {
		s := e.running[i]
		n := min(s.tokens()-s.computed, budget)
		ok, lost := e.grow(s, n)
		preempted = preempted || lost
		if !ok {
			break // s itself was preempted, and so was everything behind it
		}
		budget -= e.plan(&st, &cost, s, n)
	}
	// After a preemption no block is free for waiting sequences.
	for !preempted && len(e.waiting) > 0 && budget > 0 && len(e.running) < e.profile.MaxSequences {
		s := e.waiting[0]
		n, ok := e.join(s, budget)
		for !ok && e.dropFor(s) {
			n, ok = e.join(s, budget)
		}
		if !ok {
			break
		}
		e.waiting = e.waiting[1:]
		budget -= e.plan(&st, &cost, s, n)
	}
	st.Duration = e.profile.Cost.of(cost)
	st.PrefillTokens, st.Decoding = cost.prefill, cost.decoding
	e.counters.Steps++
	e.counters.PrefilledTokens += cost.prefill
	e.counters.Busy += st.Duration
	return st
}

// End applies a step. It returns the sequences with a new token, including those that ended with it.
func (e *Engine) End(st Step) []*Sequence {
	out := st.planned[:0]
	for _, s := range st.planned {
		n := s.planned
		s.planned = 0
		if s.Done || !s.running || n == 0 {
			continue // aborted during the step
		}
		s.computed += n
		if again := min(s.computed, s.peak) - (s.computed - n); again > 0 {
			s.Recomputed += again
			e.counters.RecomputedTokens += again
		}
		s.peak = max(s.peak, s.computed)
		if s.computed < s.tokens() {
			continue // its prompt is not complete
		}
		if e.profile.LateReuse {
			from := s.computed - n
			if s.Generated == 0 || n > 1 {
				from = 0 // include its earlier chunks
			}
			e.name(s, from, s.computed)
		}
		s.Generated++
		e.counters.GeneratedTokens++
		if s.Generated == s.OutputTokens {
			s.Done = true
			e.end(s)
		}
		out = append(out, s)
	}
	return out
}

// plan adds n tokens of a sequence to the step.
func (e *Engine) plan(st *Step, cost *costSum, s *Sequence, n int) int {
	s.planned = n
	cost.loads += s.loads
	s.loads = 0
	st.planned = append(st.planned, s)
	if n == 1 && s.Generated > 0 {
		cost.decode(s.computed)
	} else {
		cost.chunk(n, s.computed)
	}
	// As in vLLM, blocks can be reused once their computation is scheduled. A sequence that joins in the same step reads them
	// after they were written.
	if !e.profile.LateReuse {
		e.name(s, s.computed, s.computed+n)
	}
	return n
}

// name makes the full blocks between two lengths of a sequence reusable.
func (e *Engine) name(s *Sequence, from, to int) {
	for i := from / e.profile.BlockSize; i < to/e.profile.BlockSize && i < len(s.Blocks); i++ {
		e.pool.name(s.blocks[i], s.Blocks[i])
	}
}

// grow allocates blocks for n more tokens of a running sequence. It preempts others if necessary. ok is false if s itself was
// preempted.
func (e *Engine) grow(s *Sequence, n int) (ok, preempted bool) {
	need := blocksFor(s.computed+n, e.profile.BlockSize) - len(s.blocks)
	for need > e.pool.free {
		if len(e.kept) > 0 {
			e.Drop(e.lastKept())
			continue
		}
		victim := e.victim()
		e.preempt(victim)
		preempted = true
		if victim == s {
			return false, true
		}
	}
	s.blocks = e.pool.take(s.blocks, max(need, 0))
	return true, preempted
}

// dropFor makes the last sequence that kept its blocks release them for s. If something runs, only one that would start after s
// does. It reports whether there was one.
func (e *Engine) dropFor(s *Sequence) bool {
	var last *Sequence
	for _, k := range e.kept {
		if k != s.Resumes && (last == nil || e.before(last, k)) {
			last = k
		}
	}
	if last == nil || e.before(last, s) && len(e.running) > 0 {
		return false
	}
	e.Drop(last)
	return true
}

// lastKept returns the sequence of least priority that kept its blocks.
func (e *Engine) lastKept() *Sequence {
	last := e.kept[0]
	for _, s := range e.kept[1:] {
		if e.before(last, s) {
			last = s
		}
	}
	return last
}

// victim returns the running sequence to preempt first.
func (e *Engine) victim() *Sequence {
	worst := e.running[len(e.running)-1]
	if e.ByPriority {
		for _, s := range e.running {
			if s.planned == 0 && e.before(worst, s) {
				worst = s
			}
		}
	}
	return worst
}

// preempt takes all blocks from a running sequence and queues it again.
func (e *Engine) preempt(s *Sequence) {
	e.counters.Preemptions++
	e.leave(s)
	s.computed = 0
	e.enqueue(s)
}

// join starts a waiting sequence if its first chunk fits.
func (e *Engine) join(s *Sequence, budget int) (n int, ok bool) {
	size := e.profile.BlockSize
	// The last token is always computed, because its output is needed.
	held := e.pool.held(s.Blocks[:min(len(s.Blocks), (s.tokens()-1)/size)])
	hits := held.blocks
	n = min(s.tokens()-hits*size, budget)
	need := blocksFor(hits*size+n, size) - hits
	if need+held.free+held.loads > e.pool.free {
		return 0, false
	}
	s.blocks = e.pool.take(e.pool.use(s.blocks[:0], s.Blocks[:hits]), need)
	e.Drop(s.Resumes)
	s.computed = hits * size
	s.loads = held.loads * size
	e.counters.LoadedTokens += s.loads
	s.running = true
	e.running = append(e.running, s)
	if !s.started {
		s.started = true
		s.Cached = min(hits*size, s.PromptTokens)
		e.counters.PromptTokens += s.PromptTokens
		e.counters.CachedTokens += s.Cached
	}
	return n, true
}

// end removes a sequence with all its tokens from the running batch.
func (e *Engine) end(s *Sequence) {
	if !s.Keep {
		e.leave(s)
		return
	}
	s.running, s.kept, s.planned = false, true, 0
	e.running = remove(e.running, s)
	e.kept = append(e.kept, s)
}

// leave removes a sequence from the running batch. Its blocks stay reusable until they are taken.
func (e *Engine) leave(s *Sequence) {
	s.running, s.planned = false, 0
	e.running = remove(e.running, s)
	e.pool.release(s.blocks)
	s.blocks = s.blocks[:0]
}

// enqueue inserts a sequence by priority and arrival. A preempted sequence goes before all that never ran.
func (e *Engine) enqueue(s *Sequence) {
	i, _ := slices.BinarySearchFunc(e.waiting, s, func(a, b *Sequence) int {
		if e.before(a, b) {
			return -1
		}
		return 1
	})
	e.waiting = slices.Insert(e.waiting, i, s)
}

func (e *Engine) before(a, b *Sequence) bool {
	if e.ByPriority && a.Priority != b.Priority {
		return a.Priority < b.Priority
	}
	return a.arrival < b.arrival
}

func remove(from []*Sequence, s *Sequence) []*Sequence {
	if i := slices.Index(from, s); i >= 0 {
		return slices.Delete(from, i, i+1)
	}
	return from
}

func blocksFor(tokens, size int) int { return (tokens + size - 1) / size }

// costSum adds up the work of a step.
type costSum struct {
	prefill, decoding  int
	loads              int
	attention, context float64 // in thousands of tokens
}

func (c *costSum) chunk(n, before int) {
	c.prefill += n
	c.attention += float64(n) * (float64(before) + float64(n)/2) / 1_000
}

func (c *costSum) decode(before int) {
	c.decoding++
	c.context += float64(before) / 1_000
}

func (c Cost) of(s costSum) time.Duration {
	return c.Step +
		time.Duration(s.prefill)*c.Prefill + time.Duration(s.attention*float64(c.Attention)) +
		time.Duration(s.decoding)*c.Decode + time.Duration(s.context*float64(c.Context)) + time.Duration(s.loads)*c.Load
}
