package shared

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const askTimeout = 2 * time.Second

// joining is the state of one Join.
type joining struct {
	window toolpool.Window
	keys   callKeys
	token  string // of this join
	leader string // token of the awaited execution; "" before the first
	broken string // an encoded outcome whose body is missing
	came   int64  // Redis' time at the first request, microseconds
}

// answer is a reply of join.lua.
type answer struct {
	asked time.Time // this process' clock before the request
	now   int64     // Redis' time, microseconds
	kind  string    // outcome, value, lead or wait
	raw   string    // the text as stored
	text  string    // encoded outcome, or the leader's token
	ended int64     // when the execution of an outcome ended, by Redis' time
	ttl   time.Duration
}

// Join implements [toolpool.Cluster].
func (s *Sharer) Join(ctx context.Context, w toolpool.Window) (toolpool.Joined, error) {
	if s.link.away() {
		return toolpool.Joined{}, toolpool.ErrAway
	}
	j := &joining{window: w, keys: keysOf(w.Key), token: s.cfg.Name + "." + rand.Text()}
	// Registered before the first request, so that no note is missed.
	note, forget := s.inbox.expect(w.Key)
	defer forget()
	wait := waiting{note: note, lease: s.cfg.Lease, window: w}
	var failing time.Time // the first failure since the last reply
	for {
		a, err := s.ask(ctx, j)
		switch {
		case err != nil && ctx.Err() != nil:
			s.handBack(j) // the lost reply may have granted the lead
			return toolpool.Joined{}, ctx.Err()
		case err != nil:
			s.link.failed(err)
			if failing.IsZero() {
				failing = time.Now()
			}
			if refused(err) || s.link.away() || time.Since(failing) >= s.cfg.Lease {
				return toolpool.Joined{}, fmt.Errorf("%w: %w", toolpool.ErrAway, err)
			}
			if sleep.For(ctx, s.cfg.Lease/50+mathrand.N(s.cfg.Lease/50)) != nil {
				s.handBack(j)
				return toolpool.Joined{}, ctx.Err()
			}
			continue
		}
		s.link.worked()
		failing = time.Time{}
		if j.came == 0 {
			j.came = a.now
		}
		switch {
		case a.kind == "lead":
			return toolpool.Joined{Lead: s.keeper.lead(j)}, nil
		case a.kind == "wait":
			j.leader = a.text
			if err := wait.next(ctx, a); err != nil {
				return toolpool.Joined{}, err
			}
			continue
		case a.kind == "outcome" && j.tooOld(a):
			j.leader = ""
			continue
		}
		o, err := s.decode(ctx, j.keys, a.text)
		switch {
		case errors.Is(err, errGone):
			j.broken = a.raw
			continue
		case err != nil && ctx.Err() != nil:
			return toolpool.Joined{}, ctx.Err()
		case err != nil:
			return toolpool.Joined{}, fmt.Errorf("%w: %w", toolpool.ErrAway, err)
		}
		joined := toolpool.Joined{Outcome: o, Waited: j.leader != "", By: processOf(j.leader), Keep: keepHere(w, a)}
		if a.kind == "outcome" {
			joined.Ended = a.asked.Add(-time.Duration(a.now-a.ended) * time.Microsecond)
		}
		return joined, nil
	}
}

// processOf returns the [Config.Name] of the process that created a token.
func processOf(token string) string {
	return token[:max(strings.LastIndexByte(token, '.'), 0)]
}

// tooOld reports whether the execution ended too long before this process' first request, by the window. That happens
// when the leader published late.
func (j *joining) tooOld(a answer) bool {
	if j.window.Share == toolpool.Pure {
		return false
	}
	return j.came > a.ended+j.window.TTL.Microseconds()
}

// keepHere returns how long this process may cache a result.
func keepHere(w toolpool.Window, a answer) time.Duration {
	switch {
	case a.kind != "value":
		return 0
	case w.Share == toolpool.Pure:
		return -1
	default:
		return max(0, a.ttl)
	}
}

func (s *Sharer) ask(ctx context.Context, j *joining) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	waited := j.leader
	if waited == "" {
		waited = j.token // a key that does not exist
	}
	a := answer{asked: time.Now()}
	v, err := s.scripts.join.Run(ctx, s.cfg.Commands, j.keys.all(waited), j.token, s.cfg.Lease.Milliseconds(), s.cfg.Name, j.leader,
		bit(j.window.Share != toolpool.Inflight), bit(s.link.mayLead()), j.broken).Slice()
	if err != nil {
		return a, fmt.Errorf("join a tool call: %w", err)
	}
	text := func(i int) string {
		if i >= len(v) {
			return ""
		}
		t, _ := v[i].(string)
		return t
	}
	a.now, err = strconv.ParseInt(text(0), 10, 64)
	if err != nil {
		return a, fmt.Errorf("join a tool call: parse Redis' time: %w", err)
	}
	a.kind, a.raw = text(1), text(2)
	a.text = a.raw
	if a.kind == "outcome" {
		ended, rest, _ := strings.Cut(a.raw, " ")
		a.text = rest
		if a.ended, err = strconv.ParseInt(ended, 10, 64); err != nil {
			return a, fmt.Errorf("join a tool call: parse the end of the execution: %w", err)
		}
	}
	if len(v) > 3 {
		ms, _ := v[3].(int64)
		a.ttl = time.Duration(ms) * time.Millisecond
	}
	return a, nil
}

// handBack releases a lead that a request without a reply may have obtained.
func (s *Sharer) handBack(j *joining) {
	s.goes(func() {
		ctx, cancel := context.WithTimeout(s.life, askTimeout)
		defer cancel()
		s.finish(ctx, j, ended{over: time.Now()})
	})
}

// waiting is the wait of one Join for executions by other processes.
type waiting struct {
	note   <-chan struct{}
	lease  time.Duration
	window toolpool.Window

	leader   string
	deadline time.Time // for the execution by leader; zero without patience
}

// next waits until a new request is useful.
func (w *waiting) next(ctx context.Context, a answer) error {
	if a.text != w.leader {
		w.leader, w.deadline = a.text, time.Time{}
		if w.window.Patience > 0 {
			// The leader's own timeout started no later than this. It gets one lease more to publish.
			w.deadline = time.Now().Add(w.window.Patience + w.lease)
		}
	}
	d := max(a.ttl, 0) + w.lease/50 + mathrand.N(w.lease/50)
	if a.text == "" {
		d = w.lease / 20
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	var late <-chan time.Time
	if !w.deadline.IsZero() {
		limit := time.NewTimer(time.Until(w.deadline))
		defer limit.Stop()
		late = limit.C
	}
	select {
	case <-w.note:
	case <-timer.C:
	case <-late:
		return toolpool.ErrPatience
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// refused reports whether err is a reply that a retry will not change soon, such as missing memory or permission.
func refused(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, passing := range []string{"LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "READONLY ", "TRYAGAIN ", "BUSY ", "NOREPLICAS ", "MOVED ", "ASK "} {
		if strings.HasPrefix(answer.Error(), passing) {
			return false
		}
	}
	return true
}

// isNil reports whether err means that a key does not exist.
func isNil(err error) bool { return errors.Is(err, redis.Nil) }
