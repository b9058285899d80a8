package worker

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// spender makes the script calls of all accounts.
type spender struct {
	store *statestore.Patient
	pace  func(batch.Job)
	log   *slog.Logger
	life  context.Context // of the script calls; set by Worker.Run before the first one
	calls sync.WaitGroup  // the goroutines that make the calls
}

// account reserves and settles the model calls of one batch in Redis. Requests gather while a script call is under way.
// Under load, one script call settles ended model calls and reserves the next ones. Safe for concurrent use.
//
// At most as many calls are reserved as there are slots. An agent reserves before it waits for its slot, because a slot
// is held in a model call only (I8). Without the limit all live agents would reserve, and could call after the budget is
// used up.
type account struct {
	spender  *spender
	batch    batch.ID
	budgeted atomic.Bool      // set once, when the batch has a budget
	inflight *scheduler.Slots // reserved calls

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

	abandoned bool // the agent has left; guarded by the account's mu
	// The following fields are set before done is closed.
	phase batch.Phase
	grant statestore.Grant
	err   error
}

func newAccount(id batch.ID, s *spender) *account {
	return &account{spender: s, batch: id, inflight: scheduler.NewSlots(1), room: make(chan struct{})}
}

// want queues the reservation of a call. room is closed when calls were settled after this.
func (a *account) want(c *wantedCall) (room <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = append(a.wanted, c)
	a.send()
	return a.room
}

// settle queues an ended call. Once Redis has counted it or the worker ends, then is called and the channel is
// closed.
func (a *account) settle(c statestore.EndedCall, then func()) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	done := make(chan struct{})
	a.ended = append(a.ended, &endedCall{call: c, then: then, done: done})
	a.send()
	return done
}

// abandon gives up a call. If Redis granted it or grants it later, it is settled as unused.
func (a *account) abandon(c *wantedCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.wanted); n > 0 {
		a.wanted = slices.DeleteFunc(a.wanted, func(o *wantedCall) bool { return o == c })
		if len(a.wanted) < n {
			return // it was never sent
		}
	}
	c.abandoned = true
	select {
	case <-c.done:
		a.unused(c)
	default:
	}
}

// unused settles a granted call that was never made. The caller holds mu.
func (a *account) unused(c *wantedCall) {
	if c.grant == statestore.Granted && c.err == nil {
		ended := statestore.EndedCall{Call: c.call.Call, Usage: &batch.Usage{}}
		a.ended = append(a.ended, &endedCall{call: ended, then: func() {}, done: make(chan struct{})})
		a.send()
	}
}

// send starts the goroutine that empties the queues, unless it runs. It ends when they are empty. The caller holds mu.
func (a *account) send() {
	if a.sending {
		return
	}
	a.sending = true
	a.spender.calls.Go(func() {
		for {
			a.spender.pace(batch.Job{Batch: a.batch, Index: -1})
			ended, wanted := a.take()
			if len(ended)+len(wanted) == 0 {
				return
			}
			a.spend(ended, wanted)
		}
	})
}

// take removes up to one script call's worth from each queue.
func (a *account) take() ([]*endedCall, []*wantedCall) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, m := min(len(a.ended), statestore.MaxSpend), min(len(a.wanted), statestore.MaxSpend)
	ended, wanted := slices.Clone(a.ended[:n]), slices.Clone(a.wanted[:m])
	a.ended, a.wanted = slices.Delete(a.ended, 0, n), slices.Delete(a.wanted, 0, m)
	a.sending = n+m > 0
	// In a fixed order, so that a simulated run can be replayed.
	slices.SortFunc(ended, func(x, y *endedCall) int {
		return cmp.Or(cmp.Compare(x.call.Lease.Token, y.call.Lease.Token), cmp.Compare(x.call.Number, y.call.Number))
	})
	return ended, wanted
}

// spend makes one script call and distributes the replies. It keeps trying during an outage of Redis.
func (a *account) spend(ended []*endedCall, wanted []*wantedCall) {
	settle, reserve := make([]statestore.EndedCall, len(ended)), make([]statestore.WantedCall, len(wanted))
	for i, c := range ended {
		settle[i] = c.call
	}
	for i, c := range wanted {
		reserve[i] = c.call
	}
	phase, grants, err := a.spender.store.Spend(a.spender.life, a.batch, settle, reserve)
	if err != nil && a.spender.life.Err() == nil {
		a.spender.log.Error("could not count what model calls used", "batch", a.batch, "error", err)
	}
	for _, c := range ended {
		c.then()
		close(c.done)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, c := range wanted {
		if c.phase, c.err = phase, err; err == nil {
			c.grant = grants[i]
		}
		if close(c.done); c.abandoned {
			a.unused(c)
		}
	}
	if len(ended) > 0 {
		close(a.room)
		a.room = make(chan struct{})
	}
}
