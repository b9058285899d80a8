package batching

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newDriver(t *testing.T, c DriverConfig) *Driver {
	t.Helper()
	d, err := NewDriver(c)
	require.NoError(t, err)
	return d
}

func TestDriverAdvancesTime(t *testing.T) {
	t.Parallel()
	for scale, want := range map[float64]time.Duration{0: 60 * time.Millisecond, 10: 6 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			p := small(100)
			p.Overhead = 10 * time.Millisecond
			d := newDriver(t, DriverConfig{Profile: p, TimeScale: scale})
			began := time.Now()
			run, err := d.Admit(request(0, 20, 3, 1))
			require.NoError(t, err)
			var seen []int
			require.NoError(t, run.Wait(t.Context(), 0, func(p Progress) error {
				seen = append(seen, p.Generated)
				return nil
			}))
			assert.Equal(t, []int{1, 2, 3}, seen)
			assert.Equal(t, want, time.Since(began))
			assert.Equal(t, Load{Blocks: 100}, d.Load())
		})
	}
}

func TestDriverRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, DriverConfig{Profile: small(10), MaxQueued: 1})
		_, err := d.Admit(request(0, 39, 2, 1))
		require.ErrorIs(t, err, ErrTooLong)
		_, err = d.Admit(Request{PromptTokens: 1})
		require.Error(t, err)

		run, err := d.Admit(request(0, 8, 1, 1))
		require.NoError(t, err)
		_, err = d.Admit(request(0, 8, 1, 2))
		require.ErrorIs(t, err, ErrQueueFull)
		require.NoError(t, run.Wait(t.Context(), 0, func(Progress) error { return nil }))
		run, err = d.Admit(request(0, 8, 1, 2))
		require.NoError(t, err)
		require.NoError(t, run.Wait(t.Context(), 0, func(Progress) error { return nil }))
	})
	_, err := NewDriver(DriverConfig{Profile: small(1), TimeScale: -1})
	require.Error(t, err)
	_, err = NewDriver(DriverConfig{})
	require.Error(t, err)
}

func TestAbortedRequestFreesItsPlace(t *testing.T) {
	t.Parallel()
	errGone, errFull := errors.New("the client went away"), errors.New("emit failed")
	for name, c := range map[string]struct {
		after time.Duration
		emit  error
		want  error
	}{
		"before it arrived":   {5 * time.Millisecond, nil, errGone},
		"while it runs":       {25 * time.Millisecond, nil, errGone},
		"its own emit failed": {time.Hour, errFull, errFull},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := small(100)
				p.Overhead = 10 * time.Millisecond
				d := newDriver(t, DriverConfig{Profile: p})
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(c.after, func() { cancel(errGone) })
				run, err := d.Admit(request(0, 20, 300, 1))
				require.NoError(t, err)
				require.ErrorIs(t, run.Wait(ctx, 0, func(Progress) error { return c.emit }), c.want)
				assert.Equal(t, Load{Blocks: 100}, d.Load())
			})
		})
	}
}

func TestTenThousandRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := LookupProfile("a10g-7b")
		require.NoError(t, err)
		d := newDriver(t, DriverConfig{Profile: p})
		var all sync.WaitGroup
		for own := range uint64(10_000) {
			all.Go(func() {
				c := call{Request: Request{PromptTokens: 1_000, OutputTokens: 20, Blocks: hashes(800, 1_020, own+1, p.BlockSize)}}
				assert.NoError(t, c.generate(t.Context(), d))
			})
		}
		all.Wait()
		assert.Equal(t, 200_000, d.Counters().GeneratedTokens)
	})
}
