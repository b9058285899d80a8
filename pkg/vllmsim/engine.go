package vllmsim

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/sleep"
)

// errQueueFull is returned for a request that exceeds the queue limit. The request was not queued.
var errQueueFull = errors.New("the queue is full")

// engine decides when tokens are ready. It is safe for concurrent use.
type engine interface {
	// admit queues a request, or returns errQueueFull. The caller must run an admitted sequence.
	admit(p pass) (sequence, error)
	load() load
}

// sequence is one admitted request.
type sequence interface {
	// generate calls emit on its own goroutine when more tokens are ready, until all are. It returns early with ctx's cause or emit's
	// error. In all cases the request has left the engine when run returns.
	generate(ctx context.Context, emit func(step) error) error
}

// pass is one model call in the engine's terms.
type pass struct {
	promptTokens int
	prompt       []uint64 // block hashes of the prompt
	outputTokens int      // at least 1
	whole        []uint64 // block hashes of prompt and output; nil if no later request can contain the output
	delay        time.Duration
	priority     int // lower runs sooner, if the engine uses it
}

// step is the progress of a sequence.
type step struct {
	tokens  int // output tokens so far
	cached  int // prompt tokens that were in the prefix cache
	created int // prompt tokens that this request added to it
}

// load is the state of an engine.
type load struct {
	running, waiting int
	kvUsage          float64 // 0..1, blocks of running requests
	preemptions      int     // total
}

func newEngine(c Config) (engine, error) {
	if c.Profile != "" {
		return newBatchedEngine(c)
	}
	return newFixedEngine(c)
}

// fixedEngine gives every model call the same duration, however many run concurrently.
type fixedEngine struct {
	forward, token        time.Duration
	maxRunning, maxQueued int
	blocks                int

	mu      sync.Mutex
	running int          // guarded by mu
	used    int          // blocks of running requests; guarded by mu
	queue   *list.List   // of *fixedSequence; guarded by mu
	cache   *prefixCache // guarded by mu
}

func newFixedEngine(c Config) (*fixedEngine, error) {
	cache, err := newPrefixCache(c.KVBlocks)
	if err != nil {
		return nil, err
	}
	return &fixedEngine{
		forward: milliseconds(c.ForwardMS), token: milliseconds(c.TokenMS),
		maxRunning: c.MaxRunning, maxQueued: c.MaxQueued, blocks: c.KVBlocks,
		queue: list.New(), cache: cache,
	}, nil
}

func (e *fixedEngine) admit(p pass) (sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.maxQueued > 0 && e.running+e.queue.Len() >= e.maxQueued {
		return nil, errQueueFull
	}
	s := &fixedSequence{engine: e, pass: p}
	if e.maxRunning == 0 || e.running < e.maxRunning {
		e.start(s)
	} else {
		s.turn = make(chan struct{})
		s.place = e.queue.PushBack(s)
	}
	return s, nil
}

func (e *fixedEngine) load() load {
	e.mu.Lock()
	defer e.mu.Unlock()
	return load{running: e.running, waiting: e.queue.Len(), kvUsage: min(1, float64(e.used)/float64(e.blocks))}
}

// start moves a sequence into the running batch. The caller holds mu.
func (e *fixedEngine) start(s *fixedSequence) {
	e.running++
	e.used += s.pass.size()
	usable := s.pass.prompt
	// The last token is always computed, so a block at the end of the prompt is not reused.
	if n := (s.pass.promptTokens - 1) / blockSize; len(usable) > n {
		usable = usable[:n]
	}
	hits := e.cache.lookup(usable)
	e.cache.insert(usable[:hits])
	s.progress.cached = hits * blockSize
	s.progress.created = (len(s.pass.prompt) - hits) * blockSize
}

func (p *pass) size() int {
	return (p.promptTokens + p.outputTokens + blockSize - 1) / blockSize
}

// leave removes a waiting or running sequence and starts the next one.
func (e *fixedEngine) leave(s *fixedSequence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.place != nil {
		e.queue.Remove(s.place)
		return
	}
	e.running--
	e.used -= s.pass.size()
	if front := e.queue.Front(); front != nil {
		next := e.queue.Remove(front).(*fixedSequence) //nolint:forcetypeassert // the queue holds nothing else
		next.place = nil
		e.start(next)
		close(next.turn)
	}
}

func (e *fixedEngine) remember(blocks []uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cache.insert(blocks)
}

type fixedSequence struct {
	engine   *fixedEngine
	pass     pass
	progress step          // cached and created are set at the start
	turn     chan struct{} // closed when it starts; nil if it started at once
	place    *list.Element // in the queue; nil outside of it; guarded by engine.mu
}

func (s *fixedSequence) generate(ctx context.Context, emit func(step) error) error {
	defer s.engine.leave(s)
	if s.turn != nil {
		select {
		case <-s.turn:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := sleep.For(ctx, s.engine.forward+s.pass.delay); err != nil {
		return err
	}
	s.engine.remember(s.pass.prompt)
	first, perToken := time.Now(), s.engine.token
	for {
		s.progress.tokens = s.pass.outputTokens
		if perToken > 0 {
			s.progress.tokens = min(s.pass.outputTokens, 1+int(time.Since(first)/perToken))
		}
		if err := emit(s.progress); err != nil {
			return err
		}
		if s.progress.tokens == s.pass.outputTokens {
			s.engine.remember(s.pass.whole)
			return nil
		}
		if err := sleep.For(ctx, time.Until(first.Add(time.Duration(s.progress.tokens)*perToken))); err != nil {
			return err
		}
	}
}
