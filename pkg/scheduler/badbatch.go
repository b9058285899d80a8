package scheduler

import (
	"strings"
	"time"
)

const (
	heldCalls   = 2                // calls in flight of a batch that is held back
	heldEvery   = time.Second      // between two of its calls, if no other batch is answered meanwhile
	activeFor   = 10 * time.Second // a batch is active so long after an answer
	expectedFor = 30 * time.Second // and so long after it sent a call that is still in flight
	maxBatches  = 256              // that are remembered although they have no call in flight
)

// batchCalls are the calls of one batch.
type batchCalls struct {
	inFlight int
	sent     time.Time           // the latest call
	answered time.Time           // when the latest answer came
	failing  map[string]struct{} // jobs that failed since the batch was last answered
	first    time.Time           // when the first of these calls was sent
}

// batchCallsBy are the calls of the batches that share a model. If the calls of one batch fail and another's are answered, the server works,
// and the requests of the batch are at fault. That batch is held back, and its failures open no breaker.
type batchCallsBy map[string]*batchCalls

// Held reports whether the batch of a job is held back, because its calls fail and other batches' calls are answered.
func (b *Breaker) Held(now time.Time, job string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batches.held(now, job)
}

// EvidenceFor returns what Evidence does, for one job. If the job's batch is held back, other batches' answers show less: the server may refuse
// the requests of this batch for a while, such as those with tools. They count after sameTrust, and prove nothing.
func (b *Breaker) EvidenceFor(now time.Time, job string) (sent time.Time, proven bool) {
	sent, proven = b.Evidence()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.batches.held(now, job):
		return sent, proven
	case now.Sub(b.batches.of(job).first) < sameTrust:
		return time.Time{}, false
	}
	return sent, false
}

// BatchOf is the batch of a job, which is named batch/job-N.
func BatchOf(job string) string {
	name, _, _ := strings.Cut(job, "/")
	return name
}

// of returns the calls of a job's batch.
func (m batchCallsBy) of(job string) *batchCalls {
	name := BatchOf(job)
	c := m[name]
	if c == nil {
		c = &batchCalls{}
		m[name] = c
	}
	return c
}

// held reports whether a job's batch is held back.
func (m batchCallsBy) held(now time.Time, job string) bool {
	name := BatchOf(job)
	c := m[name]
	if c == nil || len(c.failing) < tripJobs {
		return false
	}
	for other, o := range m {
		if other != name && o.works(now) {
			return true
		}
	}
	return false
}

// works reports whether calls of the batch are answered, or may be soon.
func (c *batchCalls) works(now time.Time) bool {
	active := now.Sub(c.answered) <= activeFor || c.inFlight > 0 && now.Sub(c.sent) <= expectedFor
	return len(c.failing) < tripJobs && active
}

// anyHeld reports whether some batch is held back.
func (m batchCallsBy) anyHeld(now time.Time) bool {
	for name := range m {
		if m.held(now, name) {
			return true
		}
	}
	return false
}

// mayStart reports whether a call of a job may start as far as its batch goes. A batch that is held back makes no more calls than the
// others get answers, or one a second.
func (m batchCallsBy) mayStart(now time.Time, job string) (ok bool, again time.Time) {
	if !m.held(now, job) {
		return true, time.Time{}
	}
	name, c := BatchOf(job), m.of(job)
	if c.inFlight >= heldCalls {
		return false, time.Time{}
	}
	for other, o := range m {
		if other != name && o.answered.After(c.sent) {
			return true, time.Time{}
		}
	}
	again = c.sent.Add(heldEvery)
	return !now.Before(again), again
}

func (m batchCallsBy) send(now time.Time, job string) {
	if len(m) >= maxBatches {
		for name, c := range m {
			if c.inFlight == 0 {
				delete(m, name)
			}
		}
	}
	c := m.of(job)
	c.sent = now
	c.inFlight++
}

func (m batchCallsBy) end(job string) { m.of(job).inFlight-- }

func (m batchCallsBy) answer(now time.Time, t *Ticket) {
	c := m.of(t.job)
	c.answered = now
	if !t.sent.Before(c.first) {
		c.failing, c.first = nil, time.Time{}
	}
}

func (m batchCallsBy) fail(t *Ticket) {
	c := m.of(t.job)
	if c.first.IsZero() {
		c.first = t.sent
	}
	c.failing = remember(c.failing, t.job)
}
