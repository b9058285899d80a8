package toolpool

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// onceFor is how long the outcome of an execution is kept for later callers of Join.
const onceFor = 24 * time.Hour

// Key returns the key of an execution that its caller runs itself, for [Pool.Join]. It differs from the keys of all tool calls.
func Key(parts ...string) [sha256.Size]byte { return keyOf(append([]string{"own"}, parts...)...) }

// Join waits until an execution with this key has an outcome, or until the caller may run it. The caller then ends Joined.Lead. If
// the execution failed, a waiting caller gets a failed outcome, and a later one may run it again. Callers in other processes of
// the cluster are included. While the cluster is unreachable, they are not.
//
// Join returns an error that wraps context.Cause(ctx) when ctx is done.
func (p *Pool) Join(ctx context.Context, k [sha256.Size]byte) (Joined, error) {
	for {
		p.mu.Lock()
		if content, ok := p.cache.get(k, time.Now()); ok {
			p.mu.Unlock()
			return Joined{Outcome: Shared{Content: content}}, nil
		}
		running := p.owns[k]
		if running == nil {
			running = &own{pool: p, key: k, done: make(chan struct{})}
			p.owns[k] = running
			p.mu.Unlock()
			return running.join(ctx)
		}
		p.mu.Unlock()
		select {
		case <-running.done:
			if running.outcome != nil {
				return Joined{Outcome: *running.outcome, Waited: true}, nil
			}
		case <-ctx.Done():
			return Joined{}, context.Cause(ctx)
		}
	}
}

// own is an execution that one caller of this process runs, or waits for in the cluster.
type own struct {
	pool    *Pool
	key     key
	cluster Lead // nil without a cluster
	done    chan struct{}
	once    sync.Once
	outcome *Shared // set before done is closed; nil if another caller may run it
}

// join waits for the cluster on behalf of all callers of this process.
func (o *own) join(ctx context.Context) (Joined, error) {
	if o.pool.cluster == nil {
		return Joined{Lead: o}, nil
	}
	joined, err := o.pool.cluster.Join(ctx, Window{Key: o.key, Share: ForTTL, TTL: onceFor})
	switch {
	case ctx.Err() != nil:
		if joined.Lead != nil {
			joined.Lead.Abandon(context.WithoutCancel(ctx))
		}
		o.end(nil, 0)
		return Joined{}, context.Cause(ctx)
	case err != nil: // the cluster is away: this process runs it for itself
		return Joined{Lead: o}, nil
	case joined.Lead != nil:
		o.cluster = joined.Lead
		return Joined{Lead: o}, nil
	}
	o.end(&joined.Outcome, joined.Keep)
	return joined, nil
}

// Publish implements [Lead].
func (o *own) Publish(ctx context.Context, s Shared, keep bool) {
	if o.cluster != nil {
		o.cluster.Publish(ctx, s, keep)
	}
	duration := time.Duration(0)
	if keep && !s.Failed {
		duration = onceFor
	}
	o.end(&s, duration)
}

// Abandon implements [Lead].
func (o *own) Abandon(ctx context.Context) {
	if o.cluster != nil {
		o.cluster.Abandon(ctx)
	}
	o.end(nil, 0)
}

// end wakes the waiting callers of this process. keep is how long later ones get the outcome.
func (o *own) end(s *Shared, keep time.Duration) {
	o.once.Do(func() {
		p := o.pool
		p.mu.Lock()
		defer p.mu.Unlock()
		if s != nil && keep > 0 && !s.Failed {
			p.cache.add(o.key, s.Content, time.Now().Add(keep))
		}
		o.outcome = s
		delete(p.owns, o.key)
		close(o.done)
	})
}
