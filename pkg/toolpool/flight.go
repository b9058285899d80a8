package toolpool

import (
	"context"
	"encoding/json"
	"time"
)

// flight is one shared execution and those who wait for it.
type flight struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed once out is set
	out     outcome
	waiters int  // guarded by Pool.mu
	counted bool // guarded by Pool.mu; one caller has taken Result.Executed
}

// share answers from the cache, from an execution under way, or from a fresh one, in this order.
func (p *Pool) share(ctx context.Context, e *entry, args json.RawMessage, k key, timeout time.Duration) (outcome, bool, error) {
	p.mu.Lock()
	if content, ok := p.cache.get(k, time.Now()); ok {
		e.stats.Cached++
		p.mu.Unlock()
		return outcome{content: content}, false, nil
	}
	f, joined := p.flights[k]
	if joined {
		e.stats.Shared++
		f.waiters++
	} else {
		f = p.start(ctx, e, args, k, timeout)
	}
	p.mu.Unlock()

	// Whoever joined brings a patience of its own; the first caller's is the execution's.
	var patience <-chan time.Time
	if joined {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-f.done:
		return f.out, p.takeExecuted(f), nil
	case <-patience:
		p.leave(f, k)
		return timedOut(e, timeout), false, nil
	case <-ctx.Done():
		p.leave(f, k)
		return outcome{}, false, callError(ctx, e.tool.Name)
	}
}

// start begins an execution that belongs to no caller: it keeps the first caller's values but not its end. The caller
// of start holds mu and is its first waiter.
func (p *Pool) start(ctx context.Context, e *entry, args json.RawMessage, k key, timeout time.Duration) *flight {
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	f := &flight{cancel: cancel, done: make(chan struct{}), waiters: 1}
	p.flights[k] = f
	go func() {
		defer cancel()
		out := p.execute(run, e, args, timeout)

		p.mu.Lock()
		if p.flights[k] == f {
			delete(p.flights, k)
		}
		if !out.failed {
			p.remember(e.tool, k, out.content)
		}
		f.out = out
		p.mu.Unlock()
		close(f.done)
	}()
	return f
}

// remember keeps a good result as long as the tool allows. The caller holds mu.
func (p *Pool) remember(t Tool, k key, content string) {
	switch t.Share {
	case Pure:
		p.cache.add(k, content, time.Time{})
	case ForTTL:
		p.cache.add(k, content, time.Now().Add(t.TTL))
	}
}

// leave takes one waiter away. The last one to go ends the execution, and whoever asks next starts another.
func (p *Pool) leave(f *flight, k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.waiters--
	if f.waiters > 0 {
		return
	}
	if p.flights[k] == f {
		delete(p.flights, k)
	}
	f.cancel()
}

// takeExecuted is true for exactly one of the callers that get the result.
func (p *Pool) takeExecuted(f *flight) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !f.counted
	f.counted = true
	return first
}
