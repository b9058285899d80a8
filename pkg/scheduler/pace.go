package scheduler

import "time"

const (
	pacedAfter = 2                // cycles from one pause to the next before calls are paced
	mostEvery  = 25 * time.Second // a quota with longer waits between calls is left to probes
	fewAnswers = 3                // a cycle with fewer answers gives a rate only
	fewEvery   = 5 * time.Second  // if they came at least this fast
	idleAfter  = time.Second      // without a call in flight: calls are rare because there is little work
	paceCredit = 100 * time.Millisecond

	firstRaise  = .1 // of the rate
	firstStreak = 5  // answers before a raise
	laterRaise  = .03
	laterStreak = 100
	mostRaise   = .5
	mostSlower  = .15
)

// pace learns how many calls per time a server with a rate limit accepts, and spreads calls evenly so that few are
// refused. Even calls suit a sliding window, a fixed window, and a bucket that fills slowly. The zero value has learned
// nothing.
//
// A cycle lasts from the answered probe of one pause to that of the next. Its answers divided by its length are the
// first rate. The rate is raised while it is not refused. The raises are frequent until the first refusal. After that
// they are rare, and each is twice the previous one.
type pace struct {
	every time.Duration // between two calls; 0 while unknown
	due   time.Time     // when the next call may start

	began    time.Time // start of the cycle
	answered int       // answered calls of the cycle
	cycles   int       // number of ended cycles

	limited bool      // a paced call was refused
	slowed  time.Time // when the rate was last lowered; calls sent before do not count
	raise   float64   // the next raise, as a part of the rate
	streak  int       // answers since the last change
}

// mayStart reports whether a call may start. again is when to try next.
func (p *pace) mayStart(now time.Time) (ok bool, again time.Time) {
	return p.every == 0 || !now.Before(p.due), p.due
}

// send records the start of a call. idle is how long no call was in flight. A call that starts late lets the next ones
// start a little sooner.
func (p *pace) send(now time.Time, idle time.Duration) {
	if p.began.IsZero() || p.every == 0 && idle > idleAfter {
		p.began, p.answered, p.cycles = now, 0, 0
	}
	if p.every > 0 {
		p.due = later(p.due, now.Add(-paceCredit)).Add(p.every)
	}
}

// answer records that a call was answered.
func (p *pace) answer(sent time.Time) {
	if !sent.Before(p.began) {
		p.answered++
	}
	if p.every == 0 || !sent.After(p.slowed) {
		return
	}
	p.streak++
	switch {
	case !p.limited && p.streak >= firstStreak:
		p.every, p.streak = slower(p.every, 1/(1+firstRaise)), 0
	case p.limited && p.streak >= laterStreak:
		p.every, p.streak = slower(p.every, 1/(1+p.raise)), 0
		p.raise = min(2*p.raise, mostRaise)
	}
}

// refuse records that a call was refused. wait is the server's hint.
func (p *pace) refuse(now, sent time.Time, wait time.Duration) {
	if p.every == 0 || !sent.After(p.slowed) {
		return
	}
	p.slow(now, 1+max(p.raise/2, laterRaise))
	p.due = later(p.due, now.Add(max(wait, p.every)))
}

func (p *pace) slow(now time.Time, factor float64) {
	p.every = min(slower(p.every, factor), mostEvery)
	p.limited, p.slowed, p.raise, p.streak = true, now, laterRaise, 0
}

// restart starts a cycle with an answered probe.
func (p *pace) restart(probe time.Time) {
	p.cycles++
	if p.cycles >= pacedAfter && p.answered > 0 {
		measured := probe.Sub(p.began) / time.Duration(p.answered)
		switch {
		case measured > mostEvery, measured > fewEvery && p.answered < fewAnswers:
			*p = pace{cycles: p.cycles}
		case p.every == 0:
			p.every = measured
		default:
			p.slow(probe, min(max(float64(measured)/float64(p.every), 1+laterRaise), 1+mostSlower))
		}
	}
	p.began, p.answered, p.due = probe, 1, probe.Add(p.every)
}

func slower(d time.Duration, factor float64) time.Duration {
	return time.Duration(float64(d) * factor)
}
