package worker

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// health decides when model calls may start: while the backend is ready and the breaker of the model is closed. Safe for
// concurrent use.
type health struct {
	jitter func() float64
	log    *slog.Logger
	notify func(pauses bool) // called without mu when jobs may be claimed; pauses reports whether pauses began or ended; must not block
	server agent.Model       // for control requests
	slots  *scheduler.Slots  // held during a control request, as during any call
	// patience is how long an agent waits without any answered call.
	patience time.Duration
	trying   chan struct{} // held by the agent that sends a control request outside of an outage

	mu       sync.Mutex
	ready    bool                          // guarded by mu
	away     batch.Pause                   // guarded by mu; why the backend is not ready
	breakers map[string]*scheduler.Breaker // guarded by mu; by model
	paused   map[string]bool               // guarded by mu; models with a logged pause
	changed  chan struct{}                 // guarded by mu; closed at the next change
	due      *time.Timer                   // guarded by mu; calls notify when a probe is due
	proven   bool                          // guarded by mu; a dropped breaker had answered calls
	waiting  map[string]int                // guarded by mu; agents in await, by batch
	ended    bool                          // guarded by mu
}

func newHealth(
	server agent.Model, slots *scheduler.Slots, patience time.Duration, jitter func() float64, log *slog.Logger, notify func(pauses bool),
) *health {
	return &health{
		server: server, slots: slots, patience: patience, jitter: jitter, log: log, notify: notify,
		trying: make(chan struct{}, 1), changed: make(chan struct{}),
		breakers: map[string]*scheduler.Breaker{}, paused: map[string]bool{}, waiting: map[string]int{},
		away: batch.Pause{Kind: unreachable, Reason: "the server has not answered yet", Since: time.Now()},
	}
}

// unreachable is the kind of a pause while the backend is not ready.
const unreachable = "unreachable"

// setReady records a readiness check and returns whether the backend was ready before. A backend that comes back is
// probed at once.
func (h *health) setReady(err error) (was bool) {
	h.mu.Lock()
	was = h.ready
	h.ready = err == nil
	if err != nil {
		if was {
			h.away.Since = time.Now()
		}
		h.away.Kind, h.away.Reason = describe(err)
	}
	if h.ready && !was {
		for _, b := range h.breakers {
			b.ProbeNow(time.Now())
		}
	}
	is := h.ready
	h.mu.Unlock()
	if is != was {
		h.wake()
		h.notify(true)
	}
	return was
}

func (h *health) isReady() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready
}

// of returns the breaker of a model, and makes it if missing.
func (h *health) of(model string) *scheduler.Breaker {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.breakers[model]
	if b == nil {
		b = scheduler.NewBreaker(h.jitter)
		h.breakers[model] = b
	}
	return b
}

// mayStart reports whether a call of a job may start now. If not, the caller tries again after changed is closed, or at
// again unless it is zero.
func (h *health) mayStart(model, job string) (ok bool, again time.Time, changed <-chan struct{}) {
	b := h.of(model)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return false, time.Time{}, h.changed
	}
	ok, again = b.MayStart(time.Now(), job)
	return ok, again, h.changed
}

// heldAgents limits the live agents of a batch that is held back, to leave slots to other batches.
const heldAgents = 8

// waitingCall is a model call that waits until it may start.
type waitingCall struct {
	model, job string
	clock      *agent.Clock // of the job; stopped meanwhile
	pace       func()       // called after each wait; see Config.Pace
}

// await waits until a call may start. It returns errBackendAway after patience without any answered call, or when too many
// agents of a held-back batch wait.
func (h *health) await(ctx context.Context, c waitingCall) error {
	ok, again, changed := h.mayStart(c.model, c.job)
	if ok {
		return nil
	}
	defer c.clock.Stop()()
	defer h.waits(c.job)()
	for !ok {
		if h.crowded(c.model, c.job) {
			return errBackendAway
		}
		wake := h.stopped(c.model).Add(h.patience)
		if !time.Now().Before(wake) {
			return errBackendAway
		}
		if !again.IsZero() && again.Before(wake) {
			wake = again
		}
		timer := time.NewTimer(time.Until(wake))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.pace()
		ok, again, changed = h.mayStart(c.model, c.job)
	}
	return nil
}

// waits counts a waiting agent until done is called.
func (h *health) waits(job string) (done func()) {
	name := scheduler.BatchOf(job)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting[name]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.waiting[name]--; h.waiting[name] == 0 {
			delete(h.waiting, name)
		}
	}
}

// crowded reports whether too many agents of the job's batch wait because the batch is held back.
func (h *health) crowded(model, job string) bool {
	h.mu.Lock()
	crowd := h.waiting[scheduler.BatchOf(job)] > heldAgents
	h.mu.Unlock()
	return crowd && h.of(model).Held(time.Now(), job)
}

// isPaused reports whether a pause keeps a call of the job from starting.
func (h *health) isPaused(model, job string) bool {
	if ok, _, _ := h.mayStart(model, job); ok {
		return false
	}
	return !h.isReady() || h.of(model).Outage() != nil
}

// stopped returns when calls of a model were last stopped, or the current time if they are not stopped.
func (h *health) stopped(model string) time.Time {
	b := h.of(model)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return h.away.Since
	}
	if o := b.Outage(); o != nil {
		return o.Opened
	}
	return time.Now()
}

// serves records which models the backend serves. Breakers of other models are dropped. A model that comes back gets a
// new breaker.
func (h *health) serves(models []string) {
	h.mu.Lock()
	for model, b := range h.breakers {
		h.proven = h.proven || !b.LastAnswered().IsZero()
		if !slices.Contains(models, model) {
			delete(h.breakers, model)
			delete(h.paused, model)
		} else {
			b.ProbeNow(time.Now())
		}
	}
	h.mu.Unlock()
	h.wake()
}

// room returns how many of n jobs of a batch may be claimed: up to heldAgents live ones while the batch is held back.
// While calls of its model are paused, it returns 1 if a probe is due and the batch has no live agents, and otherwise 0.
func (h *health) room(model string, id batch.ID, n int, live func() int) int {
	b := h.of(model)
	if b.Outage() == nil {
		if b.Held(time.Now(), string(id)) {
			return max(min(n, heldAgents-live()), 0)
		}
		return n
	}
	if ok, _ := b.MayStart(time.Now(), ""); !ok || live() > 0 {
		return 0
	}
	return min(n, 1)
}

// wake makes waiting agents check again, and reports pauses that began or ended.
func (h *health) wake() {
	h.mu.Lock()
	close(h.changed)
	h.changed = make(chan struct{})
	var next time.Time
	pauses := false
	for model, b := range h.breakers {
		o := b.Outage()
		if o != nil && (next.IsZero() || o.Next.Before(next)) {
			next = o.Next
		}
		switch {
		case o != nil && !h.paused[model]:
			h.paused[model], pauses = true, true
			h.log.Warn("model calls are paused; the server is probed until it answers", "model", model, "reason", o.Reason, "next_probe", time.Until(o.Next).Round(time.Millisecond))
		case o == nil && h.paused[model]:
			delete(h.paused, model)
			pauses = true
			h.log.Info("the server answers again; model calls continue", "model", model)
		}
	}
	if h.due != nil {
		h.due.Stop()
		h.due = nil
	}
	if !next.IsZero() && !h.ended {
		h.due = time.AfterFunc(time.Until(next)+probeGrace, func() { h.notify(false) })
	}
	h.mu.Unlock()
	h.notify(pauses)
}

// probeGrace is the time for waiting agents to take a probe before a job is claimed for it.
const probeGrace = 50 * time.Millisecond

func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	if h.due != nil {
		h.due.Stop()
	}
}

// pauses returns why model calls are paused, ordered by model.
func (h *health) pauses() []batch.Pause {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return []batch.Pause{h.away}
	}
	var out []batch.Pause
	proven := h.proven
	for _, b := range h.breakers {
		proven = proven || !b.LastAnswered().IsZero()
	}
	for model, b := range h.breakers {
		if o := b.Outage(); o != nil {
			out = append(out, batch.Pause{Model: model, Kind: o.Kind, Reason: o.Reason, Since: o.Since, Misconfigured: o.Unproven && !proven})
		}
	}
	slices.SortFunc(out, func(a, b batch.Pause) int { return strings.Compare(a.Model, b.Model) })
	return out
}

// works reports whether calls of some model may start: the backend is ready, and some model in use is not paused.
func (h *health) works() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.breakers {
		if b.Outage() == nil {
			return h.ready
		}
	}
	return h.ready && len(h.breakers) == 0
}

// Answered implements [agent.Endpoint].
func (h *health) Answered(model, job string) (sent time.Time, proven bool) {
	return h.of(model).EvidenceFor(time.Now(), job)
}

// Doubtful implements [agent.Endpoint].
func (h *health) Doubtful(model string, e *backend.Error) bool {
	b := h.of(model)
	if o := b.Outage(); o != nil && o.Since.After(b.LastAnswered()) {
		return true
	}
	return b.Flaky(time.Now(), string(e.Class))
}

// AnsweredSince implements [agent.Endpoint]. Control requests are sent one at a time.
func (h *health) AnsweredSince(ctx context.Context, like *backend.Request, t time.Time) bool {
	b := h.of(like.Model)
	if b.AnsweredSince(t) {
		return true
	}
	if b.Outage() != nil {
		return false // the probes will show it
	}
	select {
	case h.trying <- struct{}{}:
		defer func() { <-h.trying }()
	case <-ctx.Done():
		return false
	}
	if b.AnsweredSince(t) {
		return true
	}
	release, err := h.slots.Acquire(ctx, 0)
	if err != nil {
		return false
	}
	defer release()
	sent := time.Now()
	if control(ctx, h.server.Generate, like) != nil {
		return false
	}
	b.ControlAnswered(sent)
	return true
}
