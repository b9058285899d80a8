package shared

import (
	"log/slog"
	"sync"
	"time"
)

// redial is the time that a client may need to find that a server is back: it dials once a second.
const redial = time.Second

// link records outages of Redis. Any success ends an outage.
type link struct {
	lease time.Duration
	log   *slog.Logger

	mu    sync.Mutex
	since time.Time // guarded by mu: of the first failure after the last success; zero without an outage
	last  time.Time // guarded by mu: of the last success
	told  bool      // guarded by mu
	grace time.Time // guarded by mu: until then no process may take an expired lead
}

func newLink(lease time.Duration, log *slog.Logger) *link {
	return &link{lease: lease, log: log, last: time.Now()}
}

func (l *link) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.since = time.Now()
	}
	if !l.told && time.Since(l.since) >= l.lease {
		l.told = true
		l.log.Warn("Redis does not answer: tool calls are shared within this process only until it does", "error", err)
	}
}

func (l *link) worked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.mayHaveLapsed(now) {
		l.grace = now.Add(l.lease/2 + redial)
	}
	if l.told {
		l.log.Info("Redis answers again: tool calls are shared with other processes")
	}
	l.since, l.told, l.last = time.Time{}, false, now
}

// away reports whether the outage has lasted for at least a lease.
func (l *link) away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.since.IsZero() && time.Since(l.since) >= l.lease
}

// mayLead reports whether this process may take a free lead. The first request after an outage may request a lead, so
// a possible outage counts before its end is known.
func (l *link) mayLead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return !now.Before(l.grace) && !l.mayHaveLapsed(now)
}

// mayHaveLapsed reports whether Redis was unreachable for so long that the lead of a living process may have expired.
// A leader renews every third of a lease, so no lead expires in a shorter outage. The inbox reads every [inboxBlock].
// A longer silence is also an outage: the other end of the connection is gone. The caller holds mu.
func (l *link) mayHaveLapsed(now time.Time) bool {
	silence := now.Sub(l.last)
	if l.since.IsZero() {
		return silence > max(l.lease/2, 2*inboxBlock)
	}
	return silence > l.lease/2
}
