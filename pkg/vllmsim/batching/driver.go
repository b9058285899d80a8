package batching

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrQueueFull is returned for a request that exceeds the queue limit. The request was not queued.
var ErrQueueFull = errors.New("the queue is full")

// ErrTooLong is returned for a request that exceeds the whole KV cache. It could never run.
var ErrTooLong = errors.New("the request is longer than the whole KV cache")

// Driver advances an engine in real time or in the time of a synctest bubble. It is safe for concurrent use. It runs one
// goroutine while requests are in flight and none otherwise.
type Driver struct {
	scale     float64 // engine seconds per second
	overhead  time.Duration
	maxQueued int

	mu      sync.Mutex
	engine  *Engine            // guarded by mu
	tickets map[*Sequence]*Run // guarded by mu
	arrived int                // requests still in their overhead; guarded by mu
	driving bool               // guarded by mu
	idle    chan struct{}      // capacity 1; the last request left during a step
}

// DriverConfig configures a [Driver].
type DriverConfig struct {
	Profile    Profile
	TimeScale  float64 // engine seconds per second. Defaults to 1.
	ByPriority bool    // order by priority
	MaxQueued  int     // limit of waiting and running requests. Defaults to no limit.
}

// NewDriver returns an idle driver.
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

// Run is one admitted request. The caller must call [Run.Wait].
type Run struct {
	driver *Driver
	req    Request
	news   chan struct{} // capacity 1
	now    Progress      // guarded by Driver.mu
}

// Progress is the progress of a run.
type Progress struct {
	Generated int // output tokens so far
	Cached    int // prompt tokens found in the cache
}

// Admit admits a request, or returns [ErrQueueFull] or [ErrTooLong] immediately.
func (d *Driver) Admit(r Request) (*Run, error) {
	if r.OutputTokens < 1 {
		return nil, fmt.Errorf("the request has %d output tokens; it needs at least one", r.OutputTokens)
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

// Load returns the engine's current state. Requests still in their overhead count as waiting.
func (d *Driver) Load() Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.engine.Load()
	l.Waiting += d.arrived
	return l
}

// Counters returns the engine's totals.
func (d *Driver) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine.Counters()
}

// Wait runs the request after delay and the profile's overhead. It calls emit on the caller's goroutine when more tokens are
// ready, until all are. It returns early with ctx's cause or emit's error. In all cases the request has left the engine when Wait
// returns.
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

// drive executes steps until no work is left.
func (d *Driver) drive() {
	due := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.engine.Idle() {
		step := d.engine.Begin()
		d.mu.Unlock()
		// The next step starts when the last one should have ended, not when this loop noticed it. If the loop is a whole step
		// late, the schedule restarts from now.
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
			r.now = Progress{Generated: s.Generated, Cached: s.Cached}
			select {
			case r.news <- struct{}{}:
			default:
			}
		}
	}
	d.driving = false
}

// pass waits until due, or until no request is left.
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
