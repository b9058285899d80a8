package batching

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrQueueFull refuses a request before it is queued.
var ErrQueueFull = errors.New("the queue is full")

// ErrTooLong refuses a request that could never run.
var ErrTooLong = errors.New("the request is longer than the whole KV cache")

// Driver lets an engine's time pass, for real or in a synctest bubble. Safe for concurrent use. It runs one goroutine
// while requests are in flight and none otherwise.
type Driver struct {
	scale     float64 // engine seconds per second
	overhead  time.Duration
	maxQueued int

	mu      sync.Mutex
	engine  *Engine            // guarded by mu
	tickets map[*Sequence]*Run // guarded by mu
	arrived int                // requests whose overhead has not passed; guarded by mu
	driving bool               // guarded by mu
	idle    chan struct{}      // capacity 1: the last request has left in the middle of a step
}

// DriverConfig says how an engine is driven.
type DriverConfig struct {
	Profile    Profile
	TimeScale  float64 // engine seconds per second. Defaults to 1.
	ByPriority bool    // order by priority
	MaxQueued  int     // requests waiting and running; more are refused. Defaults to no limit.
}

// NewDriver makes an idle driver.
func NewDriver(c DriverConfig) (*Driver, error) {
	e, err := New(c.Profile)
	if err != nil {
		return nil, err
	}
	if c.TimeScale == 0 {
		c.TimeScale = 1
	}
	if c.TimeScale < 0 || c.MaxQueued < 0 {
		return nil, fmt.Errorf("engine driver: time scale %g and queue limit %d must not be negative", c.TimeScale, c.MaxQueued)
	}
	e.ByPriority = c.ByPriority
	return &Driver{
		scale: c.TimeScale, overhead: c.Profile.Overhead, maxQueued: c.MaxQueued, engine: e, tickets: map[*Sequence]*Run{},
		idle: make(chan struct{}, 1),
	}, nil
}

// Run is one admitted request. [Run.Wait] must be called.
type Run struct {
	driver *Driver
	req    Request
	news   chan struct{} // capacity 1
	now    Progress      // guarded by Driver.mu
}

// Progress is how far a run is.
type Progress struct {
	Generated  int // output tokens that are out
	Cached     int // prompt tokens found in the cache
	Recomputed int // tokens computed again after preemptions
}

// Admit takes a request in, or refuses it at once with [ErrQueueFull] or [ErrTooLong].
func (d *Driver) Admit(r Request) (*Run, error) {
	if r.OutputTokens < 1 {
		return nil, fmt.Errorf("a request asks for %d output tokens; at least one is needed", r.OutputTokens)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.engine.Fits(r) {
		return nil, ErrTooLong
	}
	if l := d.engine.Load(); d.maxQueued > 0 && d.arrived+l.Waiting+l.Running >= d.maxQueued {
		return nil, ErrQueueFull
	}
	d.arrived++
	return &Run{driver: d, req: r, news: make(chan struct{}, 1)}, nil
}

// Load tells the engine's state now. A request whose overhead has not passed counts as waiting.
func (d *Driver) Load() Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.engine.Load()
	l.Waiting += d.arrived
	return l
}

// Counters tells what the engine has done.
func (d *Driver) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine.Counters()
}

// Wait lets the request run, after a delay on top of the profile's overhead, and calls emit, on its own goroutine, whenever more tokens are out, until all are. It returns
// early with ctx's cause or emit's error. Either way the request has left the engine when Wait returns.
func (r *Run) Wait(ctx context.Context, delay time.Duration, emit func(Progress) error) error {
	d := r.driver
	err := d.sleep(ctx, d.overhead+delay)
	d.mu.Lock()
	d.arrived--
	if err != nil {
		d.mu.Unlock()
		return err
	}
	s := d.engine.Add(r.req)
	d.tickets[s] = r
	if !d.driving {
		d.driving = true
		go d.drive()
	}
	d.mu.Unlock()
	defer d.leave(s)
	for {
		select {
		case <-r.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d.mu.Lock()
		now := r.now
		d.mu.Unlock()
		if err := emit(now); err != nil {
			return err
		}
		if now.Generated == r.req.OutputTokens {
			return nil
		}
	}
}

func (d *Driver) leave(s *Sequence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.engine.Abort(s)
	delete(d.tickets, s)
	if d.driving && d.engine.Idle() {
		select {
		case d.idle <- struct{}{}:
		default:
		}
	}
}

// drive takes steps until nothing is left to do.
func (d *Driver) drive() {
	due := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.engine.Idle() {
		step := d.engine.Begin()
		d.mu.Unlock()
		// Steps follow one another without the time that this loop takes itself, unless it fell behind by a whole step.
		takes := d.real(step.Duration)
		if now := time.Now(); now.Sub(due) > takes {
			due = now
		}
		due = due.Add(takes)
		d.pass(due)
		d.mu.Lock()
		for _, s := range d.engine.End(step) {
			r := d.tickets[s]
			if r == nil {
				continue
			}
			r.now = Progress{Generated: s.Generated, Cached: s.Cached, Recomputed: s.Recomputed}
			select {
			case r.news <- struct{}{}:
			default:
			}
		}
	}
	d.driving = false
}

// pass waits until due, or until nobody is left to wait for.
func (d *Driver) pass(due time.Time) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-d.idle:
			d.mu.Lock()
			over := d.engine.Idle()
			d.mu.Unlock()
			if over {
				return
			}
		}
	}
}

func (d *Driver) real(t time.Duration) time.Duration { return time.Duration(float64(t) / d.scale) }

func (d *Driver) sleep(ctx context.Context, t time.Duration) error {
	if t <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d.real(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
