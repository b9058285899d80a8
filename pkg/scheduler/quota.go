package scheduler

import "time"

const (
	leastWindow = time.Second     // shorter windows are no quota: the server limits calls in flight
	mostWindow  = 2 * time.Minute // longer ones are not waited for without a probe
	holdQuota   = 8               // windows after a refusal in which the quota is not raised
)

// quota learns how many calls a server takes per window of time. After two windows with the same number of answered calls it
// holds further calls back until the next window, so that they are not refused. It is for servers that do not tell when to come back.
// The zero value has learned nothing.
//
// A window begins with its first call. Its length is between the last refused probe and the first answered one; each new window
// begins halfway between the two until they are close. A quota that was never reached is raised, by twice as much each time.
type quota struct {
	calls     int           // per window; 0 while unknown
	low, high time.Duration // bounds of the window's length; high 0 while unknown
	raise     int           // more calls in the next window
	hold      int           // windows until the quota may be raised

	began    time.Time // of the window; zero before the first call
	sent     int       // calls that began in the window
	answered int       // of those
	last     int       // answered calls of the window before

	trying time.Time // when the window before began, until a call of a window that began by the clock is answered
}

// mayStart reports whether a call may begin. again is when to ask next; zero: when a call ended.
func (q *quota) mayStart(now time.Time) (ok bool, again time.Time) {
	switch next := q.began.Add(q.length()); {
	case q.calls == 0:
		return true, time.Time{}
	case !q.trying.IsZero() && q.sent > 0 && q.answered == 0:
		return false, time.Time{} // one call tries whether the window has begun
	case q.sent >= q.calls:
		return !now.Before(next), next
	default:
		return true, time.Time{}
	}
}

// length is the time from the start of a window to the next.
func (q *quota) length() time.Duration {
	if q.high-q.low > q.high/8 {
		return (q.low + q.high) / 2
	}
	return q.high
}

// send notes a call that begins.
func (q *quota) send(now time.Time) {
	switch {
	case q.began.IsZero():
		q.began = now
	case q.calls > 0 && !now.Before(q.began.Add(q.length())):
		if q.hold > 0 {
			q.hold--
		} else {
			q.calls, q.raise = q.calls+q.raise, 2*q.raise
		}
		q.trying, q.began, q.sent, q.answered = q.began, now, 0, 0
	}
	q.sent++
}

// answer notes that a call was answered. It reports whether that lets more calls begin.
func (q *quota) answer(sent time.Time) (more bool) {
	if sent.Before(q.began) {
		return false
	}
	q.answered++
	if q.trying.IsZero() {
		return false
	}
	q.high, q.trying = max(q.began.Sub(q.trying), leastWindow), time.Time{}
	return true
}

// refuse notes that a call was refused by a rate limit.
func (q *quota) refuse(sent time.Time) {
	if sent.Before(q.began) {
		return
	}
	if q.trying.IsZero() || q.answered > 0 {
		if q.calls > 0 && q.sent >= q.calls && q.raise > 1 {
			q.calls, q.raise, q.hold = max(q.calls-q.raise/2, 1), 1, holdQuota
		}
		return
	}
	q.low = sent.Sub(q.trying) // the window before has not ended
	q.began, q.sent, q.answered, q.trying = q.trying, q.calls, q.calls, time.Time{}
}

// pass notes that a call ended otherwise. It reports whether that lets more calls begin.
func (q *quota) pass(sent time.Time) (more bool) {
	if q.trying.IsZero() || sent.Before(q.began) {
		return false
	}
	q.trying = time.Time{}
	return true
}

// probed notes that a probe was refused.
func (q *quota) probed(sent time.Time) { q.low = sent.Sub(q.began) }

// restart begins a window with an answered probe, and compares the window that ended with the one before.
func (q *quota) restart(probe time.Time) {
	length := probe.Sub(q.began)
	switch got := q.answered; {
	case length < leastWindow || length > mostWindow || got == 0:
		*q = quota{}
	case q.last > 0 && near(got, q.last):
		*q = quota{calls: got, low: q.low, high: length, raise: 1, hold: holdQuota, last: got}
	default:
		*q = quota{low: q.low, high: length, last: got}
	}
	if q.low >= q.high {
		q.low = 0
	}
	q.began, q.sent, q.answered = probe, 1, 1
}

// near reports whether two counts differ by a tenth at most.
func near(a, b int) bool { return 10*max(a-b, b-a) <= max(a, b) }
