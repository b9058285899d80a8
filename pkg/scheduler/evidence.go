package scheduler

import "time"

// Evidence returns when the latest call was sent that proves that other jobs' calls are answered. It is a job's call
// (proven), or after controlTrust a control request. sent is zero without such a call.
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

// ControlAnswered records the answer to a control request outside of a call. It only proves that the endpoint works.
func (b *Breaker) ControlAnswered(sent time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.small = later(b.small, sent)
}

// AnsweredSince reports whether a call or control request sent after t was answered.
func (b *Breaker) AnsweredSince(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return later(later(b.answered, b.control), b.small).After(t)
}

// LastAnswered returns when the most recently sent answered call was sent; zero without one.
func (b *Breaker) LastAnswered() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered
}

// Flaky reports whether repeats of calls that failed with this kind were answered recently.
func (b *Breaker) Flaky(now time.Time, kind string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.flaky[kind]
	return ok && now.Sub(at) < flakyFor
}

// Outage describes why a breaker is open.
type Outage struct {
	CallEnd
	Since  time.Time // when the outage began
	Opened time.Time // when calls were last stopped
	Next   time.Time // when the next probe is due
	// Unproven reports that no call was ever answered and the server refuses all calls: the configuration is wrong.
	Unproven bool
}

// Outage returns the current outage, or nil unless the breaker is open.
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
