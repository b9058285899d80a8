package scheduler

import (
	"sync"
	"time"
)

const (
	// QuietWindow is how long nothing may be throttled before one more request is let in flight. Accounts are limited
	// per minute; ten steps a minute reach a ceiling of 32 in about five minutes and probe gently.
	QuietWindow = 6 * time.Second
	// littleLeft is the part of a rate limit below which nothing is added: the next minute would be throttled.
	littleLeft = 0.1
	// maxHold bounds a wait that a server asks for. What is still refused then asks again.
	maxHold = 15 * time.Minute
)

// Limit finds how many requests an account may have in flight, where the server tells only by refusing: additive
// increase after a quiet window in which the limit was really used, and half after a throttled request. A wait that the
// server asks for stops new requests altogether until it is over. Safe for concurrent use; it has no clock of its own.
type Limit struct {
	mu      sync.Mutex
	limit   int       // guarded by mu; 1..ceiling
	ceiling int       // immutable
	changed time.Time // guarded by mu; the limit's last change, or the last refusal
	cut     time.Time // guarded by mu; when the limit was last halved
	full    bool      // guarded by mu; the limit was reached since
	hold    time.Time // guarded by mu; nothing new starts before

	before  int       // guarded by mu; the limit before it was halved for the overload under way
	proven  bool      // guarded by mu; a request that was sent after the halving was answered
	refused int       // guarded by mu; requests since the last answer
	since   time.Time // guarded by mu; when the first of these was refused
}

// NewLimit starts at start requests in flight and never goes above ceiling, nor below 1.
func NewLimit(start, ceiling int, now time.Time) *Limit {
	ceiling = max(ceiling, 1)
	return &Limit{limit: min(max(start, 1), ceiling), ceiling: ceiling, changed: now}
}

// Succeeded is told of an answered request. sent is when it was sent. inFlight counts it too. left is the part of the tightest rate limit that
// remains, 0..1, and reset when that limit is whole again; pass 1 if the server does not tell.
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

// Throttled is told of a request that was refused for the rate. sent is when it was sent: refusals of requests that
// were on their way when the limit was halved belong to the same overload and do not halve it again, and so do those that come before an
// answer shows that fewer requests are taken.
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

// Slots is how many requests may be in flight now, and when to ask again if that is 0.
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
