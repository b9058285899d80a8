package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// roomPoll is how often an agent checks again for room in a budget that other workers also use.
const roomPoll = time.Second

// Counts implements [agent.Budget].
func (s *session) Counts() bool { return s.batch.account.budgeted.Load() }

// Reserve implements [agent.Budget]. It first waits for the end of a pause, so that paused calls reserve nothing. The wait
// is here for batches without a budget too: after it, [session.Acquire] returns at once if a pause began. A batch without a
// budget costs no round trip.
func (s *session) Reserve(ctx context.Context, w agent.Wait, e agent.Estimate) (settle func(context.Context, *batch.Usage), err error) {
	if err := s.awaitModel(ctx, w); err != nil {
		return nil, err
	}
	account := s.batch.account
	if !account.budgeted.Load() {
		return func(context.Context, *batch.Usage) {}, nil
	}
	account.inflight.Resize(s.reservable())
	release, err := account.inflight.Acquire(ctx, w.TurnsRemaining)
	if err != nil {
		return nil, err
	}
	s.paceTalk(w.Session)
	call := statestore.Call{Lease: s.lease, Number: s.calls.Add(1)}
	if err := s.awaitRoom(ctx, statestore.WantedCall{Call: call, PromptTokens: e.PromptTokens, MaxCompletion: e.MaxCompletion}, w.Session); err != nil {
		release()
		return nil, err
	}
	return func(ctx context.Context, used *batch.Usage) {
		done := account.settle(statestore.EndedCall{Call: call, Usage: used}, release)
		select {
		case <-done:
		case <-ctx.Done():
			late := time.NewTimer(lastWords)
			defer late.Stop()
			select {
			case <-done:
			case <-late.C:
			}
		}
		s.paceTalk(w.Session)
	}, nil
}

// reservable returns how many calls of the batch may be reserved here at once.
func (s *session) reservable() int {
	if s.batch.slots != nil {
		return min(s.batch.slots.Capacity(), s.server.slots.Capacity())
	}
	return s.server.slots.Capacity()
}

// awaitRoom retries until the call may begin, the budget is used up, or a lease passes without room.
func (s *session) awaitRoom(ctx context.Context, want statestore.WantedCall, talk string) error {
	patience := time.NewTimer(s.leaseFor)
	defer patience.Stop()
	for {
		w := &wantedCall{call: want, done: make(chan struct{})}
		room := s.batch.account.want(w)
		select {
		case <-w.done:
		case <-ctx.Done():
			s.batch.account.abandon(w)
			return context.Cause(ctx)
		}
		s.paceTalk(talk)
		switch {
		case w.err != nil:
			return w.err
		case w.grant == statestore.NoLease:
			return statestore.ErrFenced
		case w.grant == statestore.Granted:
			return nil
		case w.phase == batch.Cancelling:
			return errCancelled
		case w.grant == statestore.UsedUp:
			return errUsedUp
		}
		again := time.NewTimer(roomPoll)
		select {
		case <-room:
		case <-again.C:
		case <-patience.C:
			again.Stop()
			return errNoRoom
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		}
		again.Stop()
		s.paceTalk(talk)
	}
}
