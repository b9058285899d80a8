package scheduler

import (
	"strings"
	"time"
)

const (
	heldCalls   = 2                // limit of calls in flight of a held-back batch
	heldEvery   = time.Second      // interval of its calls if no other batch is answered meanwhile
	activeFor   = 10 * time.Second // how long a batch is active after an answer
	expectedFor = 30 * time.Second // the same after it sent a call that is still in flight
	maxBatches  = 256              // limit of batches without a call in flight
)

// batchCalls is the state of the calls of one batch.
type batchCalls struct {
	inFlight int
	sent     time.Time           // when the latest call was sent
	answered time.Time           // when the latest answer came
	failing  map[string]struct{} // jobs that failed since the batch was last answered
	first    time.Time           // when the first of their failed calls was sent
}

// batchCallsBy holds the calls of the batches that share a model, by batch. If the calls of one batch fail and another
// batch's are answered, the server works and the requests of the first batch are at fault. That batch is held back, and
// its failures do not open the breaker.
type batchCallsBy map[string]*batchCalls

// Held reports whether the batch of a job is held back: its calls fail, and other batches' calls are answered.
func (b *Breaker) Held(now time.Time, job string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batches.held(now, job)
}

// EvidenceFor returns Evidence for one job. If the job's batch is held back, other batches' answers are weaker evidence:
// the server may refuse only the requests of this batch for a while, such as those with tools. They count after
// sameTrust, and are never proven.
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

// BatchOf returns the batch of a job with a name of the form batch/job-N.
func BatchOf(job string) string {
	name, _, _ := strings.Cut(job, "/")
	return name
}

// of returns the calls of a job's batch, and adds the batch if missing.
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

// mayStart reports whether a job's batch permits a call. A held-back batch makes at most one call per answer to other
// batches, or one a second.
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
