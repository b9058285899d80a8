package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// session is one attempt at one job, from its claim to the commit of its result or the end of its lease. It is all that
// the agent uses; each of these interfaces of package agent has its file:
//
//	Model, Slots, Tools, Observer   session.go
//	Journal                         journal.go
//	Effects                         effects.go
//	Budget                          budget.go
//	Results                         reduce.go
//	Twins                           twins.go
//	Program                         program.go
type session struct {
	*shared
	lease   batch.Lease
	batch   *openBatch
	began   time.Time // when the job was claimed
	payload []byte
	alone   bool // no other job may run on this worker
	cancel  context.CancelCauseFunc
	log     *slog.Logger
	span    *jobSpans
	absence *absence
	calls   atomic.Int64 // model calls that reserved a part of the batch's budget
	called  atomic.Bool  // the model server got a call

	// The following fields belong to the agent's goroutine until the result is handed to the committer.
	state      batch.State
	journalled bool     // an attempt at the job wrote a turn, or tried to
	items      [][]byte // jobs that the result plans, if the batch plans another one

	lead   atomic.Pointer[toolpool.Lead] // the right to run for the twins; nil without it
	parked atomic.Bool                   // a call must be resolved before the job can continue
	talks  talks                         // of a program
}

// shared holds what all sessions of a worker use.
type shared struct {
	worker   string          // its ID
	leaseFor time.Duration   // how long a lease lasts without renewal
	pace     func(batch.Job) // see Config
	stopping <-chan struct{} // closed when a drain begins
	claim    signal          // wakes the claim loop
	log      *slog.Logger

	patient  *statestore.Patient // waits through outages of Redis
	server   *modelServer
	tools    *toolpool.Pool
	programs Programs // nil runs none
	runner   *agent.Runner
	live     *liveJobs
	batches  *batches
	accounts *spender
	commits  *committer
	journals *journals
	metrics  *metrics
	spans    *spans // nil unless jobs are traced
	totals   totals
	floods   struct{ lost, forgotten, held, twice, late flood }
}

// newSession returns the session of a claimed job. cancel ends its context.
func (s *shared) newSession(b *openBatch, c statestore.Claimed, cancel context.CancelCauseFunc) *session {
	l := c.Lease
	out := &session{
		shared: s, lease: l, batch: b, began: time.Now(), payload: c.Payload, alone: c.Alone, cancel: cancel, journalled: len(c.Journal) > 0,
		log:   s.log.With("batch", l.Job.Batch, "job", l.Job, "token", l.Token, "attempt", l.Attempt),
		state: batch.Pending,
	}
	out.absence = newAbsence(out.leave, func() time.Duration { return s.server.kv.worth() })
	return out
}

// Acquire implements [agent.Slots]. It waits for the model and for room in the server's KV cache. Then it takes a slot of the
// batch, if the batch limits its own requests, and a slot of the worker. An outage therefore costs agents time and no
// retries. After a lease without an answered call, the agent ends with errBackendAway and its job is released.
func (s *session) Acquire(ctx context.Context, w agent.Wait) (release func(), held time.Duration, err error) {
	began := time.Now()
	defer func() { s.spans.waitedForSlot(ctx, began) }()
	if w.Reserved && s.server.health.isPaused(s.batch.model(), s.lease.Job.String()) {
		return nil, 0, agent.ErrPaused
	}
	err = s.awaitModel(ctx, w)
	if err == nil {
		err = s.server.kv.await(ctx, s.entry(w))
	}
	held = time.Since(began)
	if err != nil {
		return nil, held, err
	}
	release, err = s.acquireSlots(ctx, w.TurnsRemaining)
	return release, held, err
}

// awaitModel waits while the model is paused.
func (s *session) awaitModel(ctx context.Context, w agent.Wait) error {
	return s.server.health.await(ctx, waitingCall{
		model: s.batch.model(), job: s.lease.Job.String(), clock: w.Clock, pace: func() { s.paceTalk(w.Session) },
	})
}

func (s *session) acquireSlots(ctx context.Context, turnsRemaining int) (release func(), err error) {
	if s.batch.slots == nil {
		return s.server.slots.Acquire(ctx, turnsRemaining)
	}
	releaseBatch, err := s.batch.slots.Acquire(ctx, turnsRemaining)
	if err != nil {
		return nil, err
	}
	releaseWorker, err := s.server.slots.Acquire(ctx, turnsRemaining)
	if err != nil {
		releaseBatch()
		return nil, err
	}
	return func() { releaseWorker(); releaseBatch() }, nil
}

// Generate implements [agent.Model]. It makes one call to the model server. All that decides about the call or learns from
// it is called here, in this order.
func (s *session) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	r = s.server.kv.ranked(s.batch.advised(r))
	o.FirstToken = s.seedsAt(o.FirstToken)
	ctx, span := s.spans.beginCall(ctx, r, &o)

	permit, err := s.server.health.admit(ctx, s.lease.Job.String(), r, s.server.send)
	if err != nil {
		span.end(nil, err)
		return nil, err
	}
	s.server.kv.sent(r)
	s.called.Store(true)
	s.batch.lead.sent(r)
	resp, err := s.server.send(ctx, r, permit.observed(o))
	permit.end(ctx, resp, err)
	span.end(resp, err)
	if err != nil {
		s.server.kv.failed(r)
		return resp, err
	}

	s.server.kv.booked(r, resp)
	s.seeded()
	s.batch.advisor.Answered(resp.Usage.CompletionTokens)
	return resp, nil
}

// seedsAt returns an observer of the first token that also ends the seeding of the batch's prefix.
func (s *session) seedsAt(next func()) func() {
	if s.batch.seeding == nil {
		return next
	}
	return func() {
		s.seeded()
		if next != nil {
			next()
		}
	}
}

// seeded records that the server has computed the batch's prefix, so that other agents may start. An answer may have no
// tokens.
func (s *session) seeded() {
	if s.batch.seeding != nil && s.batch.seeding.Begun(time.Now()) {
		s.claim.send()
	}
}

// Call implements [agent.Tools]. In a long wait, the agent's part of the server's KV cache goes to others.
func (s *session) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	ctx, span := s.spans.beginTool(ctx, c)
	ended := s.absence.began(s.took(c.Name))
	r, err := s.tools.Call(ctx, c)
	ended()
	span.end(r, err)
	return r, err
}

// took returns the executions of a tool so far, the shortest first.
func (s *session) took(tool string) (out []scheduler.Took) {
	s.tools.Durations(tool, func(d time.Duration, count float64) { out = append(out, scheduler.Took{Duration: d, Count: count}) })
	return out
}

// StateChanged implements [agent.Observer].
func (s *session) StateChanged(from, to batch.State) {
	s.state = to
	s.metrics.moved(from, to)
	s.absence.moved(to)
}

// TurnBegan implements [agent.Observer].
func (s *session) TurnBegan(ctx context.Context, number int) (with func(context.Context) context.Context, ended func(error)) {
	return s.span.beginTurn(ctx, number)
}

// A session is all of this to its agent.
var _ interface {
	agent.Model
	agent.Slots
	agent.Tools
	agent.Journal
	agent.Effects
	agent.Budget
	agent.Results
	agent.Twins
	agent.Program
	agent.Observer
} = (*session)(nil)
