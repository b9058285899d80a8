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
	worth func() time.Duration // of a return; see scheduler.LeaveAfter

	mu     sync.Mutex
	away   bool             // guarded by mu; true while the agent only waits for tools
	calls  map[int]toolCall // guarded by mu; running calls
	serial int              // guarded by mu
	timer  *time.Timer      // guarded by mu; calls leave; nil unless away
	at     time.Time        // guarded by mu; when timer fires
}

// toolCall is a running call.
type toolCall struct {
	began time.Time
	tool  []scheduler.Took // earlier executions of its tool
}

func newAbsence(leave func(), worth func() time.Duration) *absence {
	return &absence{leave: leave, worth: worth, calls: map[int]toolCall{}}
}

// moved records a change of the agent's state.
func (a *absence) moved(to batch.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away = to == batch.ToolWait; a.away {
		for _, c := range a.calls {
			a.plan(c)
		}
		if len(a.calls) == 0 {
			a.plan(toolCall{began: time.Now()})
		}
	} else {
		a.stop()
	}
}

// began records the start of a tool call. tool has the earlier executions of the tool, the shortest first. The agent's answer may
// still be streaming.
func (a *absence) began(tool []scheduler.Took) (ended func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	call, c := a.serial, toolCall{time.Now(), tool}
	a.calls[call] = c
	if a.away {
		a.plan(c)
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

// plan sets the timer for a call, unless an earlier one is set. The caller holds mu.
func (a *absence) plan(c toolCall) {
	now := time.Now()
	at := now.Add(scheduler.LeaveAfter(c.tool, now.Sub(c.began), a.worth()))
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
