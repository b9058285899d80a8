package agent

import (
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/batchagent/batchagent/pkg/backend"
)

const (
	// A single lost call should cost little, so the first wait is short. Three waits still outlast a brief restart.
	transientFirst  = 35 * time.Millisecond
	transientFactor = 5
	// A busy server gets time to drain.
	throttledFirst  = 250 * time.Millisecond
	throttledFactor = 4

	maxWait = 30 * time.Second
	// maxRefusedWait is the same after a refusal that may be the request's own fault. An [Endpoint] stops calls during an
	// outage.
	maxRefusedWait = 4 * time.Second
	// maxAskedWait limits a wait that a server requests. A server that is still busy sends a new hint.
	maxAskedWait = 15 * time.Minute
	jitter       = 0.4 // of each wait, in both directions
)

// waits computes the wait before each retry of one turn.
type waits struct {
	random               func() float64 // numbers in [0,1)
	transient, throttled *backoff.ExponentialBackOff
}

// next returns the wait after a failure of this class. The jittered wait is added to retryAfter, so that clients that
// got the same hint do not all return at once.
func (w *waits) next(class backend.Class, retryAfter time.Duration) time.Duration {
	b := &w.transient
	first, factor := transientFirst, float64(transientFactor)
	if class == backend.RateLimited || class == backend.Overloaded || !class.Retryable() {
		b = &w.throttled
		first, factor = throttledFirst, float64(throttledFactor)
	}
	if *b == nil {
		*b = &backoff.ExponentialBackOff{InitialInterval: first, Multiplier: factor, MaxInterval: maxWait}
		(*b).Reset()
	}
	most := maxWait
	if !class.Retryable() {
		most = maxRefusedWait
	}
	d := (*b).NextBackOff()
	return retryAfter + min(time.Duration(float64(d)*(1-jitter+2*jitter*w.random())), most)
}
