package scheduler

import (
	"sync"
	"time"
)

const (
	// QuietWindow is how long no request may be throttled before the limit rises by one. Accounts are limited per minute. Ten
	// steps a minute reach a ceiling of 32 in about five minutes and probe gently.
	QuietWindow = 6 * time.Second
	// littleLeft is the remaining share of a rate limit below which the limit does not rise: the next minute would be
	// throttled.
	littleLeft = 0.1
	// maxHold is the longest wait that a server can impose. Requests that are still refused then wait again.
	maxHold = 15 * time.Minute
)

// Limit finds how many requests an account may have in flight, where the server shows its limit only by refusing. It adds one
// after a quiet window in which the limit was reached, and halves after a throttled request. A wait that the server requests
// stops all new requests until it is over. Safe for concurrent use. It reads no clock: callers pass the time.
type Limit struct {
	mu      sync.Mutex
	limit   int       // guarded by mu; 1..ceiling
	ceiling int       // immutable
	changed time.Time // guarded by mu; the limit's last change, or the last refusal
	cut     time.Time // guarded by mu; when the limit was last halved
	full    bool      // guarded by mu; the limit was reached since its last change
	hold    time.Time // guarded by mu; no new request starts before

	before  int       // guarded by mu; the limit before it was halved for the overload under way
	proven  bool      // guarded by mu; a request that was sent after the halving was answered
	refused int       // guarded by mu; requests since the last answer
	since   time.Time // guarded by mu; when the first of these was refused
}

// NewLimit returns a Limit of start requests in flight. It stays between 1 and ceiling.
func NewLimit(start, ceiling int, now time.Time) *Limit {
	ceiling = max(ceiling, 1)
	return &Limit{limit: min(max(start, 1), ceiling), ceiling: ceiling, changed: now}
}

// Succeeded records an answered request. sent is when the request was sent, and inFlight includes it. left is the share of the tightest
// rate limit that remains, 0..1, and reset is the time until that limit is restored. Pass 1 for left if the server does not report it.
func (l *Limit) Succeeded(now, sent time.Time, inFlight int, left float64, reset time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left <= 0 {
		l.holdFor(now, reset)
	}
	if l.refused >= tripJobs && now.Sub(l.since) >= QuietWindow {
		l.limit = l.before // nothing was answered: the server was away, and fewer requests would not have helped
	}
	l.refused = 0
	l.proven = l.proven || !sent.Before(l.cut)
	l.full = l.full || inFlight >= l.limit
	if left < littleLeft || !l.full || now.Sub(l.changed) < QuietWindow || l.limit >= l.ceiling {
		return
	}
	l.limit++
	l.changed, l.full = now, false
}

// Throttled records a request that was refused by a rate limit. sent is when the request was sent. Refusals of requests in flight when
// the limit was halved belong to the same overload and do not halve it again. The same holds until a later request is answered.
func (l *Limit) Throttled(now, sent time.Time, retryAfter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdFor(now, retryAfter)
	l.changed, l.full = now, false
	if l.refused++; l.refused == 1 {
		l.since = now
	}
	if sent.Before(l.cut) || !l.cut.IsZero() && !l.proven {
		return
	}
	l.before, l.limit = l.limit, max(l.limit/2, 1)
	l.cut, l.proven = now, false
}

// Slots returns how many requests may be in flight now. If that is 0, again is when to ask next.
func (l *Limit) Slots(now time.Time) (n int, again time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.hold) {
		return 0, l.hold
	}
	return l.limit, time.Time{}
}

// holdFor stops new requests for a while. The caller holds mu.
func (l *Limit) holdFor(now time.Time, d time.Duration) {
	if until := now.Add(min(d, maxHold)); d > 0 && until.After(l.hold) {
		l.hold = until
	}
}
