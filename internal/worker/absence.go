package worker

import (
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// absence watches one agent's tool calls. When a wait is or is expected to be long, it gives the agent's part of the
// server's KV cache to other agents. Safe for concurrent use.
type absence struct {
	leave func()
	price func() float64 // of a return; see scheduler.LeaveAfter

	mu     sync.Mutex
	away   bool              // guarded by mu; true while the agent only waits for tools
	calls  map[int]time.Time // guarded by mu; expected end of each running call; zero if unknown
	serial int               // guarded by mu
	timer  *time.Timer       // guarded by mu; calls leave; nil unless away
	at     time.Time         // guarded by mu; when timer fires
}

func newAbsence(leave func(), price func() float64) *absence {
	return &absence{leave: leave, price: price, calls: map[int]time.Time{}}
}

// moved records a change of the agent's state.
func (a *absence) moved(to batch.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away = to == batch.ToolWait; a.away {
		for _, until := range a.calls {
			a.plan(until)
		}
		a.plan(time.Time{})
	} else {
		a.stop()
	}
}

// began records the start of a tool call. expected is its expected duration, 0 if unknown. The agent's answer may still
// be streaming.
func (a *absence) began(expected time.Duration) (ended func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	call, until := a.serial, time.Time{}
	if expected > 0 {
		until = time.Now().Add(expected)
	}
	a.calls[call] = until
	if a.away {
		a.plan(until)
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, call)
	}
}

// end stops the timer.
func (a *absence) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = false
	a.stop()
}

// plan sets the timer for a call that is expected to last until the given time, unless an earlier one is set. The caller
// holds mu.
func (a *absence) plan(until time.Time) {
	now := time.Now()
	var expected time.Duration
	if !until.IsZero() {
		expected = until.Sub(now)
	}
	at := now.Add(scheduler.LeaveAfter(expected, a.price()))
	if a.timer != nil && !at.Before(a.at) {
		return
	}
	a.stop()
	a.at = at
	var mine *time.Timer
	mine = time.AfterFunc(at.Sub(now), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.timer == mine {
			a.leave()
		}
	})
	a.timer = mine
}

// stop stops the timer. The caller holds mu.
func (a *absence) stop() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}
