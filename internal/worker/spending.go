package worker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// roomPoll is how often an agent checks again for room in a budget that other workers also use.
const roomPoll = time.Second

// Causes with which agents of a batch with a budget release their jobs. A release costs no attempt.
var (
	errUsedUp = errors.New("the budget of the batch is used up")
	// errNoRoom: calls in flight held the rest of the budget for a whole lease. Their worker may be dead, and only a claim
	// finds expired leases.
	errNoRoom = errors.New("the calls in flight may need the rest of the batch's budget")
)

// till reserves and settles the model calls of one batch in Redis. Requests gather while a script call is under way.
// Under load, one script call settles ended model calls and reserves the next ones. Safe for concurrent use.
//
// At most as many calls are reserved as there are slots. An agent reserves before it waits for its slot, because a slot
// is held in a model call only (I8). Without the limit all live agents would reserve, and could call after the budget is
// used up.
type till struct {
	batch    batch.ID
	budgeted atomic.Bool // set once, when the batch has a budget
	inflight *scheduler.Slots

	mu      sync.Mutex
	ended   []*endedCall  // guarded by mu; at most one per call in flight
	wanted  []*wantedCall // guarded by mu; at most one per slot
	sending bool          // guarded by mu
	room    chan struct{} // guarded by mu; closed when calls were settled
}

type endedCall struct {
	call statestore.EndedCall
	then func()
	done chan struct{}
}

type wantedCall struct {
	call statestore.WantedCall
	done chan struct{}

	abandoned bool // the agent has left; guarded by the till's mu
	// The following fields are set before done is closed.
	phase batch.Phase
	grant statestore.Grant
	err   error
}

func newTill(id batch.ID, inflight int) *till {
	return &till{batch: id, inflight: scheduler.NewSlots(inflight), room: make(chan struct{})}
}

// jobBudget is the budget of the batch for one attempt at a job. It implements [agent.Budget].
type jobBudget struct {
	worker  *Worker
	till    *till
	attempt *attempt
	calls   atomic.Int64
}

var _ agent.Budget = (*jobBudget)(nil)

// Counts implements [agent.Budget].
func (b *jobBudget) Counts() bool { return b.till.budgeted.Load() }

// Reserve implements [agent.Budget]. It first waits for the end of a pause, so that paused calls reserve nothing. The wait
// is here for batches without a budget too: after it, [batchSlots.Acquire] returns at once if a pause began. A batch
// without a budget costs no round trip.
func (b *jobBudget) Reserve(ctx context.Context, e agent.Estimate) (func(context.Context, *batch.Usage), error) {
	job, model := b.attempt.lease.Job.String(), b.attempt.work.program.Model()
	if err := b.worker.health.await(ctx, model, job, b.worker.cfg.Lease); err != nil {
		return nil, err
	}
	if !b.till.budgeted.Load() {
		return func(context.Context, *batch.Usage) {}, nil
	}
	b.till.inflight.Resize(b.worker.atOnce(b.attempt.work))
	giveBack, err := b.till.inflight.Acquire(ctx, e.TurnsRemaining)
	if err != nil {
		return nil, err
	}
	pace(ctx)
	call := statestore.Call{Lease: b.attempt.lease, Number: b.calls.Add(1)}
	want := statestore.WantedCall{Call: call, PromptTokens: e.PromptTokens, MaxCompletion: e.MaxCompletion}
	if err := b.await(ctx, want); err != nil {
		giveBack()
		return nil, err
	}
	return func(ctx context.Context, used *batch.Usage) {
		done := b.worker.settleCall(b.till, statestore.EndedCall{Call: call, Usage: used}, giveBack)
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
		pace(ctx)
	}, nil
}

// atOnce returns how many calls of a batch may be reserved here at once.
func (w *Worker) atOnce(b *work) int {
	if b.slots != nil {
		return min(b.slots.Capacity(), w.slots.Capacity())
	}
	return w.slots.Capacity()
}

// await retries until the call may begin, the budget is used up, or a lease passes without room.
func (b *jobBudget) await(ctx context.Context, want statestore.WantedCall) error {
	patience := time.NewTimer(b.worker.cfg.Lease)
	defer patience.Stop()
	for {
		w := &wantedCall{call: want, done: make(chan struct{})}
		room := b.worker.want(b.till, w)
		select {
		case <-w.done:
		case <-ctx.Done():
			b.worker.abandon(b.till, w)
			return context.Cause(ctx)
		}
		pace(ctx)
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
		pace(ctx)
	}
}

// pace separates the wake-up times of agents that were woken together.
func pace(ctx context.Context) {
	if p, ok := ctx.Value(paceKey{}).(func()); ok {
		p()
	}
}

// want queues the reservation of a call. room is closed when calls were settled after this.
func (w *Worker) want(t *till, c *wantedCall) (room <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = append(t.wanted, c)
	w.send(t)
	return t.room
}

// settleCall queues an ended call. Once Redis has counted it or the worker ends, then is called and the channel is
// closed.
func (w *Worker) settleCall(t *till, c statestore.EndedCall, then func()) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := make(chan struct{})
	t.ended = append(t.ended, &endedCall{call: c, then: then, done: done})
	w.send(t)
	return done
}

// abandon gives up a call. If Redis granted it or grants it later, it is settled as unused.
func (w *Worker) abandon(t *till, c *wantedCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.wanted); n > 0 {
		t.wanted = slices.DeleteFunc(t.wanted, func(o *wantedCall) bool { return o == c })
		if len(t.wanted) < n {
			return // it was never sent
		}
	}
	c.abandoned = true
	select {
	case <-c.done:
		w.unused(t, c)
	default:
	}
}

// unused settles a granted call that was never made. The caller holds mu.
func (w *Worker) unused(t *till, c *wantedCall) {
	if c.grant == statestore.Granted && c.err == nil {
		ended := statestore.EndedCall{Call: c.call.Call, Usage: &batch.Usage{}}
		t.ended = append(t.ended, &endedCall{call: ended, then: func() {}, done: make(chan struct{})})
		w.send(t)
	}
}

// send starts the goroutine that empties the queues, unless it runs. It ends when they are empty. The caller holds mu.
func (w *Worker) send(t *till) {
	if t.sending {
		return
	}
	t.sending = true
	w.spenders.Go(func() {
		for {
			w.cfg.Pace(batch.Job{Batch: t.batch, Index: -1})
			ended, wanted := t.take()
			if len(ended)+len(wanted) == 0 {
				return
			}
			w.spend(t, ended, wanted)
		}
	})
}

// take removes up to one script call's worth from each queue.
func (t *till) take() ([]*endedCall, []*wantedCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, m := min(len(t.ended), statestore.MaxSpend), min(len(t.wanted), statestore.MaxSpend)
	ended, wanted := slices.Clone(t.ended[:n]), slices.Clone(t.wanted[:m])
	t.ended, t.wanted = slices.Delete(t.ended, 0, n), slices.Delete(t.wanted, 0, m)
	t.sending = n+m > 0
	// In a fixed order, so that a simulated run can be replayed.
	slices.SortFunc(ended, func(a, b *endedCall) int {
		return cmp.Or(cmp.Compare(a.call.Lease.Token, b.call.Lease.Token), cmp.Compare(a.call.Number, b.call.Number))
	})
	return ended, wanted
}

// spend makes one script call and distributes the replies. It keeps trying during an outage of Redis.
func (w *Worker) spend(t *till, ended []*endedCall, wanted []*wantedCall) {
	settle, reserve := make([]statestore.EndedCall, len(ended)), make([]statestore.WantedCall, len(wanted))
	for i, c := range ended {
		settle[i] = c.call
	}
	for i, c := range wanted {
		reserve[i] = c.call
	}
	var phase batch.Phase
	var grants []statestore.Grant
	err := w.cfg.Store.UntilKnown(w.spending, func() (err error) {
		phase, grants, err = w.cfg.Store.Spend(w.spending, t.batch, settle, reserve)
		return err
	})
	if err != nil && w.spending.Err() == nil {
		w.log.Error("could not count what model calls used", "batch", t.batch, "error", err)
	}
	for _, c := range ended {
		c.then()
		close(c.done)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range wanted {
		if c.phase, c.err = phase, err; err == nil {
			c.grant = grants[i]
		}
		if close(c.done); c.abandoned {
			w.unused(t, c)
		}
	}
	if len(ended) > 0 {
		close(t.room)
		t.room = make(chan struct{})
	}
}

// seeBudgets checks whether the batches of live jobs have got a budget.
func (w *Worker) seeBudgets(ctx context.Context) {
	tills := w.tills()
	for _, id := range slices.Sorted(maps.Keys(tills)) { // in a fixed order, so that a simulated run can be replayed
		if yes, err := w.cfg.Store.Budgeted(ctx, id); err == nil && yes {
			tills[id].budgeted.Store(true)
		}
	}
}

// tills returns the tills of live jobs in batches that had no budget so far.
func (w *Worker) tills() map[batch.ID]*till {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[batch.ID]*till{}
	for job, a := range w.live {
		if !a.work.till.budgeted.Load() {
			out[job.Batch] = a.work.till
		}
	}
	return out
}
