package shared

import (
	"log/slog"
	"sync"
	"time"
)

// redial is how long a client may take to notice that a server is back: it dials once a second.
const redial = time.Second

// link knows how long Redis has not answered. Any success ends an outage.
type link struct {
	lease time.Duration
	log   *slog.Logger

	mu    sync.Mutex
	since time.Time // guarded by mu: of the first failure after the last success; zero while all is well
	last  time.Time // guarded by mu: of the last success
	told  bool      // guarded by mu
	grace time.Time // guarded by mu: until then nobody may take a lead that has lapsed
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

// away reports whether the outage has lasted for a whole lease.
func (l *link) away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.since.IsZero() && time.Since(l.since) >= l.lease
}

// mayLead reports whether a lead that nobody holds may be taken. The question that ends an outage may be one for a lead, so
// the outage counts before its end is known.
func (l *link) mayLead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return !now.Before(l.grace) && !l.mayHaveLapsed(now)
}

// mayHaveLapsed reports whether Redis has been out of reach for so long that the lead of a living process may have lapsed.
// A leader renews every third of a lease, so a shorter outage leaves all of them alive. The inbox asks every [inboxBlock]:
// silence for longer is an outage too, that of a connection whose other end is gone. mu is held.
func (l *link) mayHaveLapsed(now time.Time) bool {
	silence := now.Sub(l.last)
	if l.since.IsZero() {
		return silence > max(l.lease/2, 2*inboxBlock)
	}
	return silence > l.lease/2
}
