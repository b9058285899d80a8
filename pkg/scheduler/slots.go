package scheduler

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"
)

// AgeingStep is the waiting time that counts as one turn less: an agent with k turns more to go than a newcomer is served
// before it once it has waited k steps longer.
//
// A model call takes seconds to tens of seconds. So within one wave of calls the order is by turns remaining. An agent with 20
// turns to go is served after at most about three minutes of steady arrivals of shorter ones.
const AgeingStep = 10 * time.Second

// maxTurnsRemaining keeps [rank] far from overflow.
const maxTurnsRemaining = 1_000_000

// Slots is a semaphore with priorities and a capacity that can change. Agents with the fewest turns remaining go first, then
// those that have waited longest; [AgeingStep] weighs the two. Safe for concurrent use.
type Slots struct {
	epoch time.Time

	mu       sync.Mutex
	capacity int    // guarded by mu
	inUse    int    // guarded by mu
	arrivals uint64 // guarded by mu
	// Invariant: waiting is empty, or inUse >= capacity.
	waiting waitQueue // guarded by mu
}

// NewSlots returns capacity slots. If capacity is 0 or negative, every Acquire waits until Resize.
func NewSlots(capacity int) *Slots {
	return &Slots{epoch: time.Now(), capacity: max(capacity, 0)}
}

// Acquire waits for a slot and returns the function that releases it. That function may be called more than once and from any
// goroutine. Acquire fails only when ctx is done. The error then wraps context.Cause(ctx), and no slot is held.
func (s *Slots) Acquire(ctx context.Context, turnsRemaining int) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, waitError(ctx)
	}
	s.mu.Lock()
	if s.inUse < s.capacity {
		s.inUse++
		s.mu.Unlock()
		return (&grant{slots: s}).release, nil
	}
	s.arrivals++
	w := &waiter{
		rank:    rank(turnsRemaining, time.Since(s.epoch)),
		arrival: s.arrivals,
		granted: make(chan struct{}),
	}
	heap.Push(&s.waiting, w)
	s.mu.Unlock()

	select {
	case <-w.granted:
		return (&grant{slots: s}).release, nil
	case <-ctx.Done():
		s.leave(w)
		return nil, waitError(ctx)
	}
}

// Resize changes the capacity. Slots in use beyond it stay valid, and are not handed on when they are released.
func (s *Slots) Resize(capacity int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = max(capacity, 0)
	s.handOver()
}

// Capacity returns the number of slots.
func (s *Slots) Capacity() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity
}

// InUse returns the number of slots held. It exceeds Capacity for a while after the capacity fell.
func (s *Slots) InUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse
}

// Waiting returns the number of callers that wait in Acquire.
func (s *Slots) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// leave removes w from the queue, or releases its slot if it was granted in the same instant.
func (s *Slots) leave(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&s.waiting, w.index)
		return
	}
	s.inUse--
	s.handOver()
}

// handOver grants free slots to the best waiters. The caller holds mu.
func (s *Slots) handOver() {
	for s.inUse < s.capacity && len(s.waiting) > 0 {
		w := heap.Pop(&s.waiting).(*waiter)
		s.inUse++
		close(w.granted)
	}
}

// grant is one held slot.
type grant struct {
	slots *Slots
	given bool // guarded by slots.mu; the slot was released
}

func (g *grant) release() {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	if g.given {
		return
	}
	g.given = true
	g.slots.inUse--
	g.slots.handOver()
}

func waitError(ctx context.Context) error {
	return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
}
