package worker

import (
	"context"
	"errors"
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
	model  agent.Model       // for control requests
	slots  *scheduler.Slots  // held during a control request, as during any call
	trying chan struct{}     // held by the agent that sends a control request outside of an outage

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

func newHealth(m agent.Model, slots *scheduler.Slots, jitter func() float64, log *slog.Logger, notify func(pauses bool)) *health {
	return &health{
		model: m, slots: slots, jitter: jitter, log: log, notify: notify, trying: make(chan struct{}, 1), changed: make(chan struct{}), breakers: map[string]*scheduler.Breaker{}, paused: map[string]bool{}, waiting: map[string]int{},
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

// await waits until a call of a job may start. It returns errBackendAway after patience without any answered call, or
// when too many agents of a held-back batch wait.
func (h *health) await(ctx context.Context, model, job string, patience time.Duration) error {
	ok, again, changed := h.mayStart(model, job)
	if ok {
		return nil
	}
	defer agent.StopClock(ctx)()
	defer h.waits(job)()
	pace, _ := ctx.Value(paceKey{}).(func())
	for !ok {
		if h.crowded(model, job) {
			return errBackendAway
		}
		wake := h.stopped(model).Add(patience)
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
		if pace != nil {
			pace()
		}
		ok, again, changed = h.mayStart(model, job)
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
	if control(ctx, h.model, like) != nil {
		return false
	}
	b.ControlAnswered(sent)
	return true
}

// guarded makes model calls and reports their ends to the model's breaker.
type guarded struct {
	agent.Model
	health *health
}

const (
	// streamsFor is how long an answer must stream before it proves that the server works again.
	streamsFor = 2 * time.Second
	// controlTokens limits the answer to a control request. Servers refuse smaller limits.
	controlTokens  = 16
	controlTimeout = 30 * time.Second
)

// Generate implements [agent.Model]. It returns [agent.ErrPaused] if an outage began before the request was sent.
func (g guarded) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	b := g.health.of(r.Model)
	t := b.Admit(time.Now(), r.Hints.Session)
	if t == nil {
		return nil, agent.ErrPaused
	}
	end := func(e scheduler.CallEnd) {
		if b.End(time.Now(), t, e) {
			g.health.wake()
		}
	}
	if t.Control {
		if err := control(ctx, g.Model, r); err != nil {
			end(callEnd(ctx, nil, err))
			return nil, agent.ErrPaused
		}
		if b.Controlled(time.Now(), t) {
			g.health.wake()
		}
	}
	var streams *time.Timer
	if b.Outage() != nil {
		next := o.FirstToken
		o.FirstToken = func() {
			if next != nil {
				next()
			}
			streams = time.AfterFunc(streamsFor, func() {
				if b.Streams(time.Now(), t) {
					g.health.wake()
				}
			})
		}
	}
	resp, err := g.Model.Generate(ctx, r, o)
	if streams != nil {
		streams.Stop()
	}
	end(callEnd(ctx, resp, err))
	return resp, err
}

// control sends a request that a working server answers.
func control(ctx context.Context, m agent.Model, like *backend.Request) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	_, err := m.Generate(ctx, &backend.Request{
		ID: like.ID + "-control", Model: like.Model, Hints: backend.Hints{Session: "control"},
		Messages: []backend.Message{{Role: backend.RoleUser, Content: "Answer with OK."}},
		Sampling: backend.Sampling{MaxTokens: controlTokens}, SilenceTimeout: controlTimeout,
	}, backend.Observer{})
	return err
}

// callEnd classifies the end of a call for the breaker.
func callEnd(ctx context.Context, resp *backend.Response, err error) scheduler.CallEnd {
	switch {
	case err == nil && agent.Finished(resp):
		return scheduler.CallEnd{Verdict: scheduler.Answered}
	case err == nil:
		return scheduler.CallEnd{Verdict: scheduler.Failed, Kind: string(backend.Transient), Reason: "server ends answers without a reason"}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return scheduler.CallEnd{Verdict: scheduler.Failed, Kind: string(backend.Transient), Reason: "server takes longer than timeouts.turn"}
	case ctx.Err() != nil:
		return scheduler.CallEnd{}
	}
	kind, reason := describe(err)
	out := scheduler.CallEnd{Verdict: scheduler.Failed, Kind: kind, Reason: reason}
	e, ok := errors.AsType[*backend.Error](err)
	if !ok {
		return out
	}
	out.RetryAfter, out.Permanent, out.Foreign = e.RetryAfter, !e.Class.Retryable(), foreign(e)
	switch {
	case e.Class == backend.RateLimited:
		out.Verdict = scheduler.Throttled
	case e.Class == backend.Degenerate:
		out.Verdict = scheduler.Answered
	case e.Class == backend.ContextTooLong:
		out.Verdict = scheduler.NoVerdict
	case refuses(e):
		out.Verdict = scheduler.Refused
	}
	return out
}
