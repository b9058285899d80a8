package statestore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// UntilKnown repeats op while its outcome is unknown or Redis has no memory left, until ctx ends. It waits between calls with
// jittered backoff from 50 ms to 5 s. op must be safe to repeat: every method but [Store.Claim] is. UntilKnown returns op's
// last error.
func (s *Store) UntilKnown(ctx context.Context, op func() error) error {
	exp := backoff.NewExponentialBackOff()
	exp.InitialInterval, exp.MaxInterval, exp.RandomizationFactor = 50*time.Millisecond, 5*time.Second, 0
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = op()
		if last == nil || errors.Is(last, ErrUnknownOutcome) || errors.Is(last, ErrFull) {
			return struct{}{}, last
		}
		return struct{}{}, backoff.Permanent(last)
	}, backoff.WithBackOff(jittered{exp, s.jitter}), backoff.WithMaxElapsedTime(0))
	if err != nil && last != nil {
		return last
	}
	return err
}

// jittered spreads each wait over [d/2, d). It uses the store's random source, so that a simulation can replay it.
type jittered struct {
	backoff.BackOff
	random func() float64
}

func (j jittered) NextBackOff() time.Duration {
	d := j.BackOff.NextBackOff()
	return d/2 + time.Duration(j.random()*float64(d/2))
}

func globalJitter() float64 { return rand.Float64() }
