package scheduler

import (
	"sync"
	"time"
)

// Verdict is the evidence of a finished model call about its endpoint.
type Verdict int

// The verdicts.
const (
	NoVerdict Verdict = iota // no evidence: the call was cancelled, or its prompt is too long
	Answered                 // the endpoint works
	Failed                   // the endpoint or the request is at fault
	Throttled                // too many requests
	Refused                  // wrong key, empty account or unknown model: other requests are refused, too
)

// CallEnd describes the end of a model call.
type CallEnd struct {
	Verdict    Verdict
	Kind       string        // a short name; calls of one kind fail in the same way
	Reason     string        // for people
	RetryAfter time.Duration // 0 if the server gave no hint
	Permanent  bool          // the server reports that the same call will fail again
	Foreign    bool          // not the answer of a model server: it may be another server, or pass
}

const (
	tripJobs  = 3 // failed jobs in a row that open a breaker
	tripTries = 4 // failed calls in a row that open it when nothing else is in flight

	// The wait for a probe doubles from firstProbe to shortDelay. After that it is a fraction of the outage's length, up to
	// maxProbeDelay.
	firstProbe    = 500 * time.Millisecond
	shortDelay    = 4 * time.Second
	maxProbeDelay = time.Minute
	probePart     = 10
	minHold       = time.Second      // after a rate limit without a hint
	probePatience = 15 * time.Second // a second probe starts if the first has not ended by then
	plainProbes   = 2                // failed probes after which control requests replace them
	newcomersOnly = 100 * time.Millisecond

	// controlTrust is the time without an answered job after which an answered control request proves that the jobs are at
	// fault. A server may answer a small request and fail all others for a while.
	controlTrust = 30 * time.Second
	// sameTrust replaces controlTrust if jobs were answered before and the server has since refused all calls with the same
	// words.
	sameTrust = 10 * time.Second
	// A server that never answered is misconfigured, or the batch is, if it refuses calls for uselessAfter and fails
	// uselessJobs jobs or the control request.
	uselessAfter = 10 * time.Second
	uselessJobs  = 8
	// foreignAfter replaces uselessAfter for answers that no model server gives.
	foreignAfter = time.Minute

	fullSpeed = 64 // calls in flight at which a recovery is complete
	flakyFor  = time.Minute
	maxKept   = 1024 // jobs in each set
)

// Breaker judges one model of an endpoint by the calls of all jobs. While it is open, no call except a probe may start.
// Safe for concurrent use. It has no clock; callers pass the time.
type Breaker struct {
	jitter func() float64 // numbers in [0,1)

	mu       sync.Mutex           // guards all fields below
	phase    phase                // of the endpoint
	calls    map[*Ticket]struct{} // in flight
	ended    time.Time            // when the last call ended
	answered time.Time            // when the most recently sent answered call was sent; zero without one
	control  time.Time            // when the most recently sent answered control request was sent
	refused  bool                 // a control request was refused, too
	small    time.Time            // like control, for control requests outside of an outage
	failing  map[string]string    // kind of a job's last failure, by job, until it is answered
	flaky    map[string]time.Time // when a repeat of a failed call was answered, by kind of failure
	refusal  CallEnd              // first failure since the last answered call
	same     bool                 // all later failures equal refusal and are permanent, and no control request failed
	pace     pace
	batches  batchCallsBy

	// The failures since the last answer.
	first      time.Time           // when the first failed call was sent; zero without one
	lastFailed time.Time           // when the most recently sent failed call was sent
	jobs       map[string]struct{} // jobs that failed
	tries      int

	// While open or recovering.
	last      CallEnd             // the failure shown to users
	since     time.Time           // start of the outage
	opened    time.Time           // when calls were last stopped
	next      time.Time           // when the next probe is due
	tried     map[string]struct{} // jobs that were probes
	probes    int                 // number of failed probes
	recovered time.Time
	limit     int // limit of calls in flight that started after recovered
	good, bad int // ends since recovered
}

type phase int

const (
	healthy phase = iota
	open
	recovering
)

// NewBreaker makes a closed breaker. jitter returns numbers in [0,1).
func NewBreaker(jitter func() float64) *Breaker {
	return &Breaker{jitter: jitter, calls: map[*Ticket]struct{}{}, failing: map[string]string{}, flaky: map[string]time.Time{}, jobs: map[string]struct{}{}, batches: batchCallsBy{}}
}

// Ticket is one call in flight.
type Ticket struct {
	job   string
	sent  time.Time
	probe bool
	shown bool // it was counted as answered before it ended
	// Control requires a small well-formed request before the call: probes failed, and the probing jobs may be at fault.
	Control    bool
	controlled bool // the control request was answered
}

// MayStart reports whether a call of the job would be admitted now. again is when to try next. If it is zero, the caller
// waits for a change.
func (b *Breaker) MayStart(now time.Time, job string) (ok bool, again time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mayStart(now, job)
}

func (b *Breaker) mayStart(now time.Time, job string) (ok bool, again time.Time) {
	switch b.phase {
	case open:
		due := b.next
		if _, again := b.tried[job]; again {
			due = due.Add(newcomersOnly)
		}
		return !now.Before(due), due
	case recovering:
		if b.inFlightSince(b.recovered) >= b.limit {
			return false, time.Time{}
		}
	}
	if ok, again := b.batches.mayStart(now, job); !ok {
		return false, again
	}
	return b.pace.mayStart(now)
}

// Admit records a call that starts now. It returns nil if none may start; the caller then waits as MayStart advises.
// Every ticket must be passed to End.
func (b *Breaker) Admit(now time.Time, job string) *Ticket {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok, _ := b.mayStart(now, job); !ok {
		return nil
	}
	t := &Ticket{job: job, sent: now}
	if b.phase == open {
		t.probe = true
		t.Control = b.probes >= plainProbes && (b.last.Verdict == Failed || b.last.Verdict == Refused && !b.answered.IsZero())
		b.tried = remember(b.tried, job)
		b.next = now.Add(max(probePatience, b.delay(now)))
	} else {
		idle := time.Duration(0)
		if len(b.calls) == 0 {
			idle = now.Sub(b.ended)
		}
		b.pace.send(now, idle)
	}
	b.calls[t] = struct{}{}
	b.batches.send(now, job)
	return t
}

// End records the end of a call. It reports whether waiting calls should try again.
func (b *Breaker) End(now time.Time, t *Ticket, e CallEnd) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.calls, t)
	b.ended = now
	b.batches.end(t.job)
	switch e.Verdict {
	case NoVerdict:
		if t.probe && b.phase == open {
			b.next = now
		}
		return b.phase != healthy
	case Answered:
		if kind, ok := b.failing[t.job]; ok {
			delete(b.failing, t.job)
			b.flaky[kind] = now
		}
		return b.works(now, t)
	default:
		return b.fails(now, t, e)
	}
}

// Streams records that the answer of a call in flight has been arriving for a while.
func (b *Breaker) Streams(now time.Time, t *Ticket) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.calls[t]; !ok {
		return false
	}
	return b.works(now, t)
}

// Controlled records that the control request of a call was answered. Calls start again, but the answer is no proof that
// jobs are answered.
func (b *Breaker) Controlled(now time.Time, t *Ticket) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.controlled, b.control, b.refused = true, now, false
	return b.goesOn(now, t)
}

// works handles an answer. The caller holds mu.
func (b *Breaker) works(now time.Time, t *Ticket) (changed bool) {
	if t.sent.After(b.answered) {
		b.answered = t.sent
	}
	b.refusal = CallEnd{}
	held := b.batches.anyHeld(now)
	b.batches.answer(now, t)
	return b.goesOn(now, t) || held
}

// goesOn lets more calls start. The caller holds mu.
func (b *Breaker) goesOn(now time.Time, t *Ticket) (changed bool) {
	if t.shown {
		return b.phase != healthy
	}
	t.shown = true
	if !t.probe {
		b.pace.answer(t.sent)
	}
	switch b.phase {
	case healthy:
		if !t.sent.Before(b.first) {
			b.forget()
		}
		return false
	case open:
		if !t.probe && !t.sent.After(b.lastFailed) {
			return false // sent before the outage
		}
		if b.last.Verdict == Throttled && t.probe {
			b.pace.restart(t.sent)
		} else {
			b.pace = pace{}
		}
		b.phase, b.recovered, b.good, b.bad = recovering, now, 1, 0
		b.limit = b.step() * 2
		b.forget()
	case recovering:
		b.good++
		if b.limit += b.step(); b.limit >= fullSpeed {
			b.phase, b.tried, b.probes = healthy, nil, 0
			b.forget()
		}
	}
	return true
}

// step returns how many more calls each answer permits. After a rate limit the calls in flight double with each round of
// answers; otherwise they triple.
func (b *Breaker) step() int {
	if b.last.Verdict == Throttled {
		return 1
	}
	return 2
}

// fails handles a failure. The caller holds mu.
func (b *Breaker) fails(now time.Time, t *Ticket, e CallEnd) (changed bool) {
	if b.first.IsZero() {
		b.first = t.sent
		if b.phase == healthy {
			b.since = now
		}
	}
	if t.sent.After(b.lastFailed) {
		b.lastFailed = t.sent
	}
	if b.refusal.Kind == "" {
		b.refusal, b.same = e, e.Permanent
	}
	b.same = b.same && e.Kind == b.refusal.Kind && e.Reason == b.refusal.Reason && (!t.Control || t.controlled)
	b.tries++
	b.jobs = remember(b.jobs, t.job)
	b.batches.fail(t)
	switch {
	case e.Verdict == Throttled:
		b.pace.refuse(now, t.sent, e.RetryAfter)
	default:
		if len(b.failing) >= maxKept {
			clear(b.failing)
		}
		b.failing[t.job] = e.Kind
		if b.phase != open && b.batches.held(now, t.job) {
			b.acquit(BatchOf(t.job))
			return true
		}
	}
	switch b.phase {
	case open:
		if t.probe {
			b.last = e
			b.probes++
			b.refused = t.Control && !t.controlled
			b.next = now.Add(b.delay(now))
		} else if e.Verdict == Throttled {
			b.next = later(b.next, now.Add(b.asked(e)))
		}
		return t.probe
	case recovering:
		if _, suspect := b.tried[t.job]; !suspect {
			b.bad++
		}
		switch {
		case e.Verdict == Throttled, b.bad >= 2 && b.bad > b.good, b.tries >= tripTries && b.inFlightSince(b.first) == 0:
			b.open(now, e)
		}
		return true
	}
	if b.trips(e) {
		b.open(now, e)
		return true
	}
	return false
}

// trips reports whether the failures since the last answer are an outage. Calls in flight may still be answered, so more
// jobs must have failed than calls are in flight. The caller holds mu.
func (b *Breaker) trips(e CallEnd) bool {
	if e.Verdict == Refused && b.answered.IsZero() {
		return true
	}
	pending := b.inFlightSince(b.first)
	return len(b.jobs) >= tripJobs && len(b.jobs) > pending || b.tries >= tripTries && pending == 0
}

func (b *Breaker) open(now time.Time, e CallEnd) {
	b.phase, b.last, b.opened = open, e, now
	if b.tried == nil {
		b.tried = map[string]struct{}{}
	}
	b.next = now.Add(b.delay(now))
}

// acquit drops the failures of a batch's jobs as evidence about the endpoint. The caller holds mu.
func (b *Breaker) acquit(batch string) {
	for job := range b.jobs {
		if BatchOf(job) == batch {
			delete(b.jobs, job)
		}
	}
	if b.tries = len(b.jobs); b.tries == 0 {
		b.forget()
	}
}

// forget drops the failures since the last answer.
func (b *Breaker) forget() {
	b.first, b.lastFailed, b.tries = time.Time{}, time.Time{}, 0
	clear(b.jobs)
}

// delay returns the wait for the next probe. It is a fraction of the time since the last answer, so that a short outage
// ends early and a long one costs few calls. Without a hint the end of a rate limit is unpredictable, and the wait
// doubles. The caller holds mu.
func (b *Breaker) delay(now time.Time) time.Duration {
	since := now.Sub(b.opened)
	d := max(min(max(since, firstProbe), shortDelay), since/probePart)
	if b.last.Verdict == Throttled {
		d = max(since, minHold)
	}
	d = min(d, maxProbeDelay)
	d -= time.Duration(float64(d) / 4 * b.jitter())
	if asked := b.asked(b.last); asked > 0 {
		return max(d, asked+d/probePart)
	}
	return d
}

// asked returns the wait that the server requested, within limits.
func (b *Breaker) asked(e CallEnd) time.Duration {
	if e.Verdict == Throttled {
		return min(e.RetryAfter, maxHold)
	}
	return min(e.RetryAfter, maxProbeDelay)
}

// ProbeNow makes the next probe due, because the endpoint came back.
func (b *Breaker) ProbeNow(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == open && b.next.After(now) {
		b.next = now
	}
}

// inFlightSince counts the calls in flight that were sent at t or later. The caller holds mu.
func (b *Breaker) inFlightSince(t time.Time) int {
	n := 0
	for c := range b.calls {
		if !c.sent.Before(t) {
			n++
		}
	}
	return n
}

// remember adds to a set of limited size.
func remember(set map[string]struct{}, job string) map[string]struct{} {
	if set == nil || len(set) >= maxKept {
		set = map[string]struct{}{}
	}
	set[job] = struct{}{}
	return set
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
