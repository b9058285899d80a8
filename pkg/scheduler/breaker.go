package scheduler

import (
	"sync"
	"time"
)

// Verdict is what the end of a model call shows about its endpoint.
type Verdict int

// The verdicts.
const (
	NoVerdict Verdict = iota // shows nothing: the call was cancelled, or its prompt is too long
	Answered                 // the endpoint works
	Failed                   // the endpoint or the request is at fault
	Throttled                // too many requests
	Refused                  // wrong key, empty account or unknown model: other requests are refused too
)

// CallEnd is how a model call ended.
type CallEnd struct {
	Verdict    Verdict
	Kind       string        // a short name; calls of one kind fail in the same way
	Reason     string        // for people
	RetryAfter time.Duration // 0 if the server did not ask for a wait
	Permanent  bool          // the server says that the same call will fail again
	Foreign    bool          // no model server answers so; it may be another server, or pass
}

const (
	tripJobs  = 3 // failed jobs in a row that open a breaker
	tripTries = 4 // failed calls in a row that open it when nothing else is in flight

	// The wait for a probe doubles from firstProbe to shortDelay. Then it is a part of the outage's length, up to maxProbeDelay.
	firstProbe    = 500 * time.Millisecond
	shortDelay    = 4 * time.Second
	maxProbeDelay = time.Minute
	probePart     = 10
	minHold       = time.Second      // after a rate limit without a hint
	probePatience = 15 * time.Second // a second probe starts if the first has not ended by then
	plainProbes   = 2                // probes that fail before control requests take their place
	newcomersOnly = 100 * time.Millisecond

	// controlTrust is how long no job was answered before an answered control request shows that the jobs are at fault. A server may
	// answer a small request and fail all others for a while.
	controlTrust = 30 * time.Second
	// sameTrust is the same if jobs were answered before and the server refuses all calls in the same words since.
	sameTrust = 10 * time.Second
	// uselessAfter and uselessJobs bound how long, and for how many jobs, a server that never answered refuses calls before its
	// configuration or the batch's is held to be wrong.
	uselessAfter = 10 * time.Second
	uselessJobs  = 8
	// foreignAfter is the same for answers that no model server gives.
	foreignAfter = time.Minute

	fullSpeed = 64 // calls in flight at which a recovery is complete
	flakyFor  = time.Minute
	maxKept   = 1024 // jobs in each set
)

// Breaker judges one model of an endpoint by the calls of all jobs. While it is open, no call may start except a probe.
// Safe for concurrent use; it has no clock of its own.
type Breaker struct {
	jitter func() float64 // numbers in [0,1)

	mu       sync.Mutex           // guards all below
	phase    phase                // of the endpoint
	calls    map[*Ticket]struct{} // in flight
	ended    time.Time            // when the last call ended
	answered time.Time            // when the latest of the answered calls was sent; zero if none was answered
	control  time.Time            // when the latest of the answered control requests was sent
	refused  bool                 // a control request was refused, too
	small    time.Time            // when the latest of the answered control requests was sent that came outside of an outage
	failing  map[string]string    // job → kind of its last failure, until it is answered
	flaky    map[string]time.Time // kind → when a call that had failed so was answered at a repetition
	refusal  CallEnd              // the first failure since a call was answered
	same     bool                 // all others were like it, permanent, and no control request failed
	pace     pace
	batches  batchCallsBy

	// The failures since the last answer.
	first      time.Time           // when the first failed call was sent; zero if there is none
	lastFailed time.Time           // when the latest failed call was sent
	jobs       map[string]struct{} // that failed
	tries      int

	// While open or recovering.
	last      CallEnd             // the failure that users see
	since     time.Time           // of the outage
	opened    time.Time           // when calls were last stopped
	next      time.Time           // of the next probe
	tried     map[string]struct{} // jobs that were probes
	probes    int                 // that failed
	recovered time.Time
	limit     int // calls in flight that started after recovered
	good, bad int // ends since recovered
}

type phase int

const (
	healthy phase = iota
	open
	recovering
)

// NewBreaker makes a breaker that is closed.
func NewBreaker(jitter func() float64) *Breaker {
	return &Breaker{jitter: jitter, calls: map[*Ticket]struct{}{}, failing: map[string]string{}, flaky: map[string]time.Time{}, jobs: map[string]struct{}{}, batches: batchCallsBy{}}
}

// Ticket is one call in flight.
type Ticket struct {
	job   string
	sent  time.Time
	probe bool
	shown bool // it was counted as answered before it ended
	// Control asks for a small request of known good form before the call, because probes failed and may be at fault themselves.
	Control    bool
	controlled bool // it was answered
}

// MayStart reports whether a call of the job would be admitted now. again is when to ask next; zero: when something changed.
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

// Admit notes a call that starts now. It returns nil if none may start; the caller waits as MayStart advises. Each ticket must end.
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

// End notes how a call ended. It reports whether waiting calls should ask again.
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

// Streams notes that a call that is still in flight has been answered for a while.
func (b *Breaker) Streams(now time.Time, t *Ticket) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.calls[t]; !ok {
		return false
	}
	return b.works(now, t)
}

// Controlled notes that the control request of a call was answered. Calls start again, but no job has proof that others are answered.
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

// step is how many more calls each answer lets through. After a rate limit they double with each round of answers, else they triple.
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

// trips reports whether the failures since the last answer are an outage. Calls that are in flight may still be answered, so
// more jobs must have failed than those. The caller holds mu.
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

// acquit takes back what the failures of a batch's jobs say about the endpoint. The caller holds mu.
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

// delay is the wait for the next probe: part of the time since the last answer, so that a short outage is left at once and a long one
// costs few calls. Without a hint, the end of a rate limit cannot be seen coming, and the wait doubles. The caller holds mu.
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

// asked is the wait that the server asked for, within bounds.
func (b *Breaker) asked(e CallEnd) time.Duration {
	if e.Verdict == Throttled {
		return min(e.RetryAfter, maxHold)
	}
	return min(e.RetryAfter, maxProbeDelay)
}

// ProbeNow makes the next probe due: the endpoint was seen to come back.
func (b *Breaker) ProbeNow(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == open && b.next.After(now) {
		b.next = now
	}
}

// Evidence returns when the latest call was sent that shows that other jobs' calls are answered: a job's, or after controlTrust a control
// request. Proven: it was a job's. Zero without one.
func (b *Breaker) Evidence() (sent time.Time, proven bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	trust := controlTrust
	if b.same && !b.answered.IsZero() {
		trust = sameTrust
	}
	if b.control.After(b.answered) && b.control.Sub(later(b.answered, b.since)) >= trust {
		return b.control, false
	}
	return b.answered, true
}

// ControlAnswered notes that a control request was answered that belongs to no call. It shows that the endpoint works, and no more.
func (b *Breaker) ControlAnswered(sent time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.small = later(b.small, sent)
}

// AnsweredSince reports whether a call or control request was answered that was sent after t.
func (b *Breaker) AnsweredSince(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return later(later(b.answered, b.control), b.small).After(t)
}

// LastAnswered is when the latest of the answered calls was sent; zero if none was answered.
func (b *Breaker) LastAnswered() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered
}

// Flaky reports whether calls that failed with this kind were lately answered when they were repeated.
func (b *Breaker) Flaky(now time.Time, kind string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.flaky[kind]
	return ok && now.Sub(at) < flakyFor
}

// Outage is what an open breaker reports.
type Outage struct {
	CallEnd
	Since  time.Time // when the outage began
	Opened time.Time // when the last call was answered, or later
	Next   time.Time // of the next probe
	// Unproven: no call was ever answered, and the server refuses all. The configuration is wrong.
	Unproven bool
}

// Outage returns nil unless the breaker is open.
func (b *Breaker) Outage() *Outage {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != open {
		return nil
	}
	return &Outage{CallEnd: b.last, Since: b.since, Opened: b.opened, Next: b.next, Unproven: b.answered.IsZero() && b.useless()}
}

// useless reports whether the endpoint refuses all calls. The caller holds mu.
func (b *Breaker) useless() bool {
	if b.last.Verdict == Refused {
		return true
	}
	lasted := b.lastFailed.Sub(b.since)
	return b.last.Permanent && lasted >= uselessAfter && (b.refused || len(b.failing) >= uselessJobs) || b.last.Foreign && lasted >= foreignAfter && b.refused
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

// remember adds to a set of bounded size.
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
