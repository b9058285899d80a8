package worker

import (
	"errors"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// adaptive adapts the worker's slots to the account limits that the replies of the server show.
type adaptive struct {
	limit *scheduler.Limit
	slots *scheduler.Slots
	wake  func() // called when the number of slots changed

	mu      sync.Mutex
	again   *time.Timer // guarded by mu; ends a hold; nil without a hold
	stopped bool        // guarded by mu
}

func newAdaptive(slots *scheduler.Slots, start, ceiling int, wake func()) *adaptive {
	a := &adaptive{limit: scheduler.NewLimit(start, ceiling, time.Now()), slots: slots, wake: wake}
	a.apply()
	return a
}

// replied learns from the end of a call that was sent at the given time.
func (a *adaptive) replied(sent time.Time, resp *backend.Response, err error) {
	switch backend.ClassOf(err) {
	case backend.RateLimited, backend.Overloaded:
		a.limit.Throttled(time.Now(), sent, retryAfter(err))
	case "":
		if err != nil { // cancelled: shows nothing about the limits
			return
		}
		left, reset := 1.0, time.Duration(0)
		if resp.Headroom != nil {
			left, reset = resp.Headroom.Left, resp.Headroom.Reset
		}
		a.limit.Succeeded(time.Now(), sent, a.slots.InUse(), left, reset)
	default:
		return
	}
	a.apply()
}

// apply sets the number of slots to the limit, now and again when a hold ends.
func (a *adaptive) apply() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	now := time.Now()
	n, again := a.limit.Slots(now)
	if a.again != nil {
		a.again.Stop()
		a.again = nil
	}
	if n == 0 {
		a.again = time.AfterFunc(again.Sub(now), a.apply)
	}
	if n != a.slots.Capacity() {
		a.slots.Resize(n)
		a.wake()
	}
}

// stop stops the timer of a hold.
func (a *adaptive) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.again != nil {
		a.again.Stop()
	}
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}
