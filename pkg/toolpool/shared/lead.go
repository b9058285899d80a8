package shared

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// lead implements [toolpool.Lead].
type lead struct {
	*joining
	s *Sharer
}

// Publish publishes the outcome. It waits a short time for the write, so that later callers in this process find the outcome.
func (l *lead) Publish(ctx context.Context, o toolpool.Shared, keep bool) {
	over := time.Now()
	l.end(ctx, func(ctx context.Context) { l.s.publish(ctx, l.joining, o, keep, over) })
}

// Abandon releases the lead.
func (l *lead) Abandon(ctx context.Context) {
	l.end(ctx, func(ctx context.Context) { l.s.finish(ctx, l.joining, ended{over: time.Now()}) })
}

func (l *lead) end(ctx context.Context, do func(context.Context)) {
	done := make(chan struct{})
	l.s.goes(func() {
		defer close(done)
		defer l.s.keeper.drop(l.token)
		ctx, cancel := context.WithTimeout(l.s.life, 2*l.s.cfg.Lease)
		defer cancel()
		do(ctx)
	})
	moment := time.NewTimer(l.s.cfg.Lease / 10)
	defer moment.Stop()
	select {
	case <-done:
	case <-moment.C:
	case <-ctx.Done():
	}
}

// publish encodes an outcome and ends the execution with it. over is when the tool returned.
func (s *Sharer) publish(ctx context.Context, j *joining, o toolpool.Shared, keep bool, over time.Time) {
	e := ended{short: outcomeFor, over: over}
	if keep && !o.Failed {
		e.keep = pureFor
		if j.window.Share == toolpool.ForTTL {
			e.keep = j.window.TTL
		}
	}
	text, body := s.codec.encode(o, j.token)
	if e.keep > outcomeFor && !s.budget.admit(len(text)+len(body), e.keep) {
		e.keep = outcomeFor
	}
	if body != nil {
		err := s.until(ctx, func(ctx context.Context) error {
			return s.cfg.Commands.Set(ctx, j.keys.blob(j.token), body, max(e.keep, e.short)+s.cfg.Lease).Err()
		})
		if err != nil {
			return // the lead expires, and another process runs the call
		}
	}
	e.text = text
	s.finish(ctx, j, e)
}

// ended describes the end of an execution.
type ended struct {
	text  string        // encoded outcome; "" releases the lead
	keep  time.Duration // lifetime of the call's value, from over
	short time.Duration // lifetime for waiting processes
	over  time.Time     // when the tool returned
}

// finish ends an execution and notifies the waiting processes. It retries until ctx is done.
func (s *Sharer) finish(ctx context.Context, j *joining, e ended) {
	var inboxes []string
	err := s.until(ctx, func(ctx context.Context) error {
		v, err := s.scripts.finish.Run(ctx, s.cfg.Commands, j.keys.all(j.token), j.token, e.text, max(0, e.keep-time.Since(e.over)).Milliseconds(), e.short.Milliseconds(),
			s.cfg.Lease.Milliseconds(), bit(j.window.Share == toolpool.Pure), time.Since(e.over).Microseconds()).Slice()
		if err != nil {
			return err
		}
		inboxes = inboxes[:0]
		for _, name := range v[1:] {
			if text, ok := name.(string); ok {
				inboxes = append(inboxes, text)
			}
		}
		return nil
	})
	if err == nil {
		err = s.until(ctx, func(ctx context.Context) error { return s.tell(ctx, j.window.Key, inboxes) })
	}
	if err != nil {
		s.log.Debug("could not announce the end of a tool call; other processes find it when its lease ends", "error", err)
	}
}

// until repeats do until it succeeds or ctx is done. It stops on errors that a retry cannot fix.
func (s *Sharer) until(ctx context.Context, do func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, askTimeout)
		err := do(try)
		cancel()
		if err == nil {
			s.link.worked()
			return nil
		}
		if ctx.Err() == nil {
			s.link.failed(err)
		}
		if refused(err) {
			s.log.Warn("Redis refuses to store the result of a tool call; other workers will run the call themselves", "error", err)
			return err
		}
		if sleep.For(ctx, s.cfg.Lease/50) != nil {
			return err
		}
	}
}

// keeper renews all leads of this process together, three times per lease.
type keeper struct {
	s *Sharer

	mu   sync.Mutex
	held map[string]*joining // guarded by mu, by token
}

func newKeeper(s *Sharer) *keeper { return &keeper{s: s, held: map[string]*joining{}} }

func (k *keeper) lead(j *joining) *lead {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[j.token] = j
	return &lead{joining: j, s: k.s}
}

func (k *keeper) drop(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, token)
}

func (k *keeper) list() []*joining {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*joining, 0, len(k.held))
	for _, j := range k.held {
		out = append(out, j)
	}
	return out
}

func (k *keeper) renewLeads(ctx context.Context) {
	wait := k.s.cfg.Lease / 3
	for sleep.For(ctx, wait) == nil {
		wait = k.s.cfg.Lease / 3
		if held := k.list(); len(held) > 0 {
			if err := k.renew(ctx, held); err != nil {
				k.s.link.failed(err)
				wait /= 8 // an expired lead goes to another process
			}
		}
	}
}

func (k *keeper) renew(ctx context.Context, held []*joining) error {
	ctx, cancel := context.WithTimeout(ctx, k.s.cfg.Lease/3)
	defer cancel()
	script, lease := k.s.scripts.renew, k.s.cfg.Lease.Milliseconds()
	answers := make([]*redis.Cmd, len(held))
	_, err := k.s.cfg.Commands.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, j := range held {
			answers[i] = p.EvalSha(ctx, script.Hash(), j.keys.all(j.token)[:3], j.token, lease)
		}
		return nil
	})
	for i, j := range held {
		code, e := answers[i].Int64()
		if redis.HasErrorPrefix(e, "NOSCRIPT") { // a pipeline does not send the script's text by itself
			code, e = script.Run(ctx, k.s.cfg.Commands, j.keys.all(j.token)[:3], j.token, lease).Int64()
			err = e
		}
		switch {
		case e != nil:
			err = e
		case code < 0:
			k.drop(j.token)
			k.s.log.Warn("a tool call took longer than this process could keep its lead; another process may run it again")
		}
	}
	if err != nil {
		return fmt.Errorf("renew the leads of %d tool calls: %w", len(held), err)
	}
	k.s.link.worked()
	return nil
}
