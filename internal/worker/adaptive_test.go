package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

func TestSlotsFollowTheAccountLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var resp *backend.Response
		var err error
		slots, woken := scheduler.NewSlots(32), 0
		a := newAdaptive(slots, 4, 32, func() { woken++ })
		assert.Equal(t, 4, slots.Capacity())
		call := func() { a.replied(time.Now(), resp, err) }

		err = &backend.Error{Class: backend.RateLimited, RetryAfter: 20 * time.Second}
		time.Sleep(time.Second) // the bubble's clock
		call()
		assert.Equal(t, 0, slots.Capacity(), "nothing starts before Retry-After is over")
		time.Sleep(20*time.Second - 1)
		synctest.Wait()
		assert.Equal(t, 0, slots.Capacity())
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, 2, slots.Capacity())

		resp, err = &backend.Response{Headroom: &backend.Headroom{Left: 0.5}}, nil
		for range 2 {
			release, e := slots.Acquire(t.Context(), 1)
			assert.NoError(t, e)
			defer release()
		}
		time.Sleep(scheduler.QuietWindow)
		call()
		assert.Equal(t, 3, slots.Capacity())
		before := woken

		for _, tellsNothing := range []error{context.Canceled, &backend.Error{Class: backend.Transient}, &backend.Error{Class: backend.InvalidRequest}} {
			err = tellsNothing
			call()
		}
		assert.Equal(t, 3, slots.Capacity())
		assert.Equal(t, before, woken)

		resp, err = &backend.Response{Headroom: &backend.Headroom{Left: 0, Reset: 5 * time.Second}}, nil
		call()
		assert.Equal(t, 0, slots.Capacity(), "the limit is used up until it is reset")
		a.stop()
		err = errors.New("x")
	})
}
