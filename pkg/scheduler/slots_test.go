package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait starts an Acquire that reports its name when it gets the slot, and returns once the Acquire is queued.
func wait(t *testing.T, ctx context.Context, s *Slots, turns int, name string, got chan<- string) {
	t.Helper()
	go func() {
		release, err := s.Acquire(ctx, turns)
		if err != nil {
			got <- "error:" + name
			return
		}
		got <- name
		release()
	}()
	synctest.Wait()
}

func TestFewestTurnsRemainingGoFirstThenLongestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		release, err := s.Acquire(t.Context(), 9)
		require.NoError(t, err)

		got := make(chan string, 4)
		wait(t, t.Context(), s, 3, "three-a", got)
		wait(t, t.Context(), s, 3, "three-b", got)
		wait(t, t.Context(), s, 1, "one", got)
		wait(t, t.Context(), s, 2, "two", got)
		assert.Equal(t, 4, s.Waiting())

		release()
		synctest.Wait()
		close(got)
		var order []string
		for name := range got {
			order = append(order, name)
		}
		assert.Equal(t, []string{"one", "two", "three-a", "three-b"}, order)
		assert.Zero(t, s.InUse())
	})
}

func TestWaitingAnAgeingStepCountsAsOneTurnLess(t *testing.T) {
	for _, c := range []struct {
		waited time.Duration
		first  string
	}{
		{2*AgeingStep - 1, "newcomer"},
		{2 * AgeingStep, "old"}, // the first to arrive wins a tie
		{2*AgeingStep + 1, "old"},
	} {
		t.Run(c.waited.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewSlots(1)
				release, err := s.Acquire(t.Context(), 1)
				require.NoError(t, err)
				got := make(chan string, 2)
				wait(t, t.Context(), s, 5, "old", got)
				time.Sleep(c.waited)
				wait(t, t.Context(), s, 3, "newcomer", got)
				release()
				assert.Equal(t, c.first, <-got)
				<-got
			})
		})
	}
}

func TestLongAgentIsNotStarvedBySteadyShortOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := NewSlots(1)
		// Two streams of last-turn agents keep the one slot busy for the whole test.
		var streams sync.WaitGroup
		for range 2 {
			streams.Go(func() {
				for ctx.Err() == nil {
					release, err := s.Acquire(ctx, 1)
					if err != nil {
						return
					}
					time.Sleep(time.Second)
					release()
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		release, err := s.Acquire(ctx, 20)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 19*AgeingStep+2*time.Second)
		assert.GreaterOrEqual(t, time.Since(began), 18*AgeingStep, "short ones do go first until then")
		release()
		cancel()
		streams.Wait()
	})
}

func TestReleaseTwiceGivesBackOneSlot(t *testing.T) {
	t.Parallel()
	s := NewSlots(2)
	a, err := s.Acquire(t.Context(), 1)
	require.NoError(t, err)
	_, err = s.Acquire(t.Context(), 1)
	require.NoError(t, err)
	a()
	a()
	assert.Equal(t, 1, s.InUse())
}

func TestACancelledWaiterLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("fenced")
		s := NewSlots(0)
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error)
		go func() {
			_, err := s.Acquire(ctx, 1)
			failed <- err
		}()
		synctest.Wait()
		require.Equal(t, 1, s.Waiting())
		cancel(why)
		require.ErrorIs(t, <-failed, why)
		assert.Zero(t, s.Waiting())
		assert.Zero(t, s.InUse())

		s.Resize(1)
		_, err := s.Acquire(ctx, 1)
		require.ErrorIs(t, err, why, "a context that is done gets no slot, free or not")
		assert.Zero(t, s.InUse())
	})
}

func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(-3)
		assert.Zero(t, s.Capacity())
		got := make(chan func(), 4)
		for range 4 {
			go func() {
				release, err := s.Acquire(t.Context(), 1)
				if assert.NoError(t, err) {
					got <- release
				}
			}()
		}
		synctest.Wait()
		require.Equal(t, 4, s.Waiting())

		s.Resize(3)
		assert.Equal(t, 3, s.InUse(), "growing wakes as many as fit")
		assert.Equal(t, 1, s.Waiting())

		s.Resize(1)
		assert.Equal(t, 3, s.InUse(), "shrinking takes nothing away")
		(<-got)()
		(<-got)()
		assert.Equal(t, 1, s.InUse(), "slots beyond the capacity are not handed on")
		assert.Equal(t, 1, s.Waiting())
		(<-got)()
		assert.Equal(t, 1, s.InUse())
		assert.Zero(t, s.Waiting())
		(<-got)()
	})
}

// A grant and a cancel in the same instant must neither lose the slot nor hold it twice.
func TestConcurrentCancelAndGrantLoseNoSlot(t *testing.T) {
	t.Parallel()
	const capacity = 3
	s := NewSlots(capacity)
	var held, peak atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				var canceller sync.WaitGroup
				if (i+j)%3 == 0 {
					canceller.Go(cancel)
				}
				if release, err := s.Acquire(ctx, j%5); err == nil {
					n := held.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					held.Add(-1)
					release()
				}
				canceller.Wait()
				cancel()
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, peak.Load(), int64(capacity))
	assert.Zero(t, s.InUse())
	assert.Zero(t, s.Waiting())
}

func BenchmarkSlots(b *testing.B) {
	b.Run("free", func(b *testing.B) {
		s := NewSlots(1)
		b.ReportAllocs()
		for b.Loop() {
			release, err := s.Acquire(b.Context(), 1)
			if err != nil {
				b.Fatal(err)
			}
			release()
		}
	})
	// One op is one hand-over: the slot goes to the best of n waiters, and its previous holder queues again.
	for _, n := range []int{16, 1024} {
		b.Run(fmt.Sprintf("waiting=%d", n), func(b *testing.B) {
			s := NewSlots(1)
			ctx, cancel := context.WithCancel(b.Context())
			served := make(chan struct{})
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					for {
						release, err := s.Acquire(ctx, i%8)
						if err != nil {
							return
						}
						select {
						case served <- struct{}{}:
						case <-ctx.Done():
						}
						release()
					}
				})
			}
			b.ReportAllocs()
			for b.Loop() {
				<-served
			}
			cancel()
			wg.Wait()
		})
	}
}
