package toolpool

import (
	"context"
	"errors"
	"time"
)

// flight is one shared execution and its waiting callers.
type flight struct {
	cancel context.CancelFunc
	begun  chan struct{} // closed when the execution's timeout starts, here or in another process
	done   chan struct{} // closed once landed is set
	landed landing

	// Guarded by Pool.mu.
	waiters  int
	counted  bool // one caller was already credited with the result's source
	isBegun  bool
	rank     int       // the lowest of its callers
	onRaised func(int) // moves it in the queue of a limit; nil if it is in no queue
}

// landing is a result and its source.
type landing struct {
	out  outcome
	from origin
	keep time.Duration // how long it may be kept; negative without limit
	// ended is when the execution ended, if that was before the landing.
	ended time.Time
}

type origin int

const (
	executedHere origin = iota
	sharedCluster
	cachedCluster
	notExecuted
)

// share returns the cached result, or joins a running flight, or starts a new one, in this order.
func (p *Pool) share(ctx context.Context, r *request) (outcome, bool, error) {
	for {
		out, executed, late, err := p.shareOnce(ctx, r)
		if !late {
			return out, executed, err
		}
	}
}

func (p *Pool) shareOnce(ctx context.Context, r *request) (out outcome, executed, late bool, err error) {
	p.mu.Lock()
	if content, ok := p.cache.get(r.key, time.Now()); ok {
		r.entry.stats.Cached++
		p.mu.Unlock()
		return outcome{content: content, source: FromCache}, false, false, nil
	}
	f, joined := p.flights[r.key]
	if joined {
		f.waiters++
		f.raise(r.rank)
	} else {
		f = p.start(ctx, r)
	}
	p.mu.Unlock()
	came := time.Now()

	// A caller that joins has its own timeout. The first caller's timeout is the execution's.
	var patience <-chan time.Time
	begun := f.begun
	if !joined {
		begun = nil
	}
	for {
		select {
		case <-begun:
			begun = nil
			timer := time.NewTimer(r.timeout)
			defer timer.Stop()
			patience = timer.C
			continue
		case <-f.done:
			if joined && f.tooOld(came, r) {
				return outcome{}, false, true, nil
			}
			out = f.landed.out
			out.source = p.credit(f, r)
			return out, out.source == FromTool, false, nil
		case <-patience:
			p.leave(f, r.key)
			return timedOut(r.tool.Name, r.timeout), false, false, nil
		case <-ctx.Done():
			p.leave(f, r.key)
			return outcome{}, false, false, callError(ctx, r.tool.Name)
		}
	}
}

// tooOld reports whether the execution ended too long before the caller came, by the caller's window. A flight lands
// a moment after its execution ends.
func (f *flight) tooOld(came time.Time, r *request) bool {
	return !f.landed.ended.IsZero() && r.share != Pure && came.After(f.landed.ended.Add(r.ttl))
}

// start begins a flight that belongs to no caller. The flight keeps the values of the first caller's context but not
// its cancellation. The caller of start holds mu and is the first waiter.
func (p *Pool) start(ctx context.Context, r *request) *flight {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{cancel: cancel, begun: make(chan struct{}), done: make(chan struct{}), waiters: 1, rank: r.rank}
	p.flights[r.key] = f
	go func() {
		defer cancel()
		landed := p.fly(own, f, r)

		p.mu.Lock()
		if p.flights[r.key] == f {
			delete(p.flights, r.key)
		}
		if !landed.out.failed {
			p.remember(r.key, landed)
		}
		f.landed = landed
		p.mu.Unlock()
		close(f.done)
	}()
	return f
}

// fly gets the result from the cluster, or runs the tool for the cluster. While the cluster is unreachable, fly runs
// the tool for this process alone.
func (p *Pool) fly(ctx context.Context, f *flight, r *request) landing {
	if p.cluster == nil {
		return p.runHere(ctx, f, r)
	}
	w := Window{Key: r.key, Share: r.share, TTL: r.ttl}
	if r.entry.gate == nil {
		w.Patience = r.timeout
		p.begin(f)
	}
	joined, err := p.cluster.Join(ctx, w)
	switch {
	case ctx.Err() != nil:
		if joined.Lead != nil {
			joined.Lead.Abandon(context.WithoutCancel(ctx))
		}
		return landing{out: failure("%s was stopped.", r.tool.Name), from: notExecuted}
	case errors.Is(err, ErrPatience):
		return landing{out: timedOut(r.tool.Name, r.timeout), from: sharedCluster}
	case err != nil:
		p.count(r.entry, func(s *Stats) { s.Unshared++ })
		return p.runHere(ctx, f, r)
	case joined.Lead == nil:
		from := cachedCluster
		if joined.Waited {
			from = sharedCluster
		}
		return landing{out: outcome{content: joined.Outcome.Content, failed: joined.Outcome.Failed, by: joined.By}, from: from, keep: joined.Keep, ended: joined.Ended}
	}
	landed := p.runHere(ctx, f, r)
	landed.ended = time.Now()
	if ctx.Err() != nil { // all callers in this process have left
		joined.Lead.Abandon(context.WithoutCancel(ctx))
		return landed
	}
	joined.Lead.Publish(ctx, Shared{Content: landed.out.content, Failed: landed.out.failed}, landed.keep != 0)
	return landed
}

// runHere runs the tool and sets how long its result may be kept.
func (p *Pool) runHere(ctx context.Context, f *flight, r *request) landing {
	landed := landing{out: p.work(ctx, f, r), from: executedHere}
	if landed.out.failed {
		return landed
	}
	switch r.share {
	case Pure:
		landed.keep = -1
	case ForTTL:
		landed.keep = r.ttl
	}
	// The tool's key changed while it ran, so later callers must not get this result.
	if landed.keep != 0 && r.tool.Key != nil {
		if extra, err := p.extraKey(ctx, r.entry, r.args, r.timeout); err != nil || extra != r.extra {
			landed.keep = 0
		}
	}
	return landed
}

// remember caches a successful result for its allowed time. The caller holds mu.
func (p *Pool) remember(k key, l landing) {
	switch {
	case l.keep < 0:
		p.cache.add(k, l.out.content, time.Time{})
	case l.keep > 0:
		since := time.Now()
		if !l.ended.IsZero() {
			since = l.ended
		}
		p.cache.add(k, l.out.content, since.Add(l.keep))
	}
}

// begin marks the start of the execution's timeout.
func (p *Pool) begin(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !f.isBegun && f.begun != nil {
		f.isBegun = true
		close(f.begun)
	}
}

// raise makes the flight as urgent as its most urgent caller. The caller holds Pool.mu.
func (f *flight) raise(rank int) {
	if rank >= f.rank {
		return
	}
	f.rank = rank
	if f.onRaised != nil {
		f.onRaised(rank)
	}
}

// leave removes one waiter. Without waiters the flight ends, and the next caller starts another.
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

// credit counts and returns the source of a caller's result. Of the callers of an execution in this process, exactly
// one gets FromTool.
func (p *Pool) credit(f *flight, r *request) Source {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !f.counted
	f.counted = true
	stats := &r.entry.stats
	switch {
	case !first:
		stats.SharedProcess++
		return FromProcess
	case f.landed.from == sharedCluster:
		stats.SharedCluster++
		return FromCluster
	case f.landed.from == cachedCluster:
		stats.Cached++
		return FromCache
	case f.landed.from == executedHere:
		return FromTool
	default:
		return ""
	}
}
