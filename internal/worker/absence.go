package worker

import (
	"context"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// absence watches one agent's waits for tools, and gives its part of the server's KV cache to others when one is, or is expected
// to be, long. Safe for concurrent use.
type absence struct {
	leave func()

	mu     sync.Mutex
	away   bool              // guarded by mu; the agent waits for tools and does nothing else
	calls  map[int]time.Time // guarded by mu; when each call under way is expected to end; zero if nothing is known
	serial int               // guarded by mu
	timer  *time.Timer       // guarded by mu; leaves; nil unless away
	at     time.Time         // guarded by mu; when timer ends
}

func newAbsence(leave func()) *absence { return &absence{leave: leave, calls: map[int]time.Time{}} }

// moved follows the agent from state to state.
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

// began notes a tool call that is expected to take so long, 0 if nothing is known. The agent's answer may still be on its way.
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

// end stops what is planned.
func (a *absence) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = false
	a.stop()
}

// plan lets the agent leave no later than a call that lasts until then calls for. The caller holds mu.
func (a *absence) plan(until time.Time) {
	now := time.Now()
	var expected time.Duration
	if !until.IsZero() {
		expected = until.Sub(now)
	}
	at := now.Add(scheduler.LeaveAfter(expected))
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

// stop forgets what is planned. The caller holds mu.
func (a *absence) stop() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

type absenceKey struct{}

func withAbsence(ctx context.Context, a *absence) context.Context {
	return context.WithValue(ctx, absenceKey{}, a)
}

// watched runs tool calls and tells the agent's absence of them.
type watched struct{ *toolpool.Pool }

var _ agent.Tools = watched{}

// Call implements [agent.Tools].
func (t watched) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	if a, ok := ctx.Value(absenceKey{}).(*absence); ok {
		defer a.began(t.P75(c.Name))()
	}
	return t.Pool.Call(ctx, c)
}
