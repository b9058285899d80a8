package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// limitedServer answers at most calls requests per window and refuses the others. Its windows are sliding or fixed.
type limitedServer struct {
	calls  int
	window time.Duration
	fixed  bool
	bucket bool // a bucket that regains one call every window/calls
	hint   bool
	taken  []time.Time
}

func (s *limitedServer) call(now time.Time) CallEnd {
	from := now.Add(-s.window)
	switch {
	case s.fixed:
		from = now.Truncate(s.window).Add(-1)
	case s.bucket:
		return s.fromBucket(now)
	}
	for len(s.taken) > 0 && !s.taken[0].After(from) {
		s.taken = s.taken[1:]
	}
	if len(s.taken) < s.calls {
		s.taken = append(s.taken, now)
		return CallEnd{Verdict: Answered}
	}
	end := CallEnd{Verdict: Throttled, Kind: "rate_limited"}
	if s.hint {
		end.RetryAfter = s.taken[0].Add(s.window).Sub(now)
		if s.fixed {
			end.RetryAfter = now.Truncate(s.window).Add(s.window).Sub(now)
		}
	}
	return end
}

// fromBucket answers if the bucket has a call. taken[0] is when the bucket will be full again.
func (s *limitedServer) fromBucket(now time.Time) CallEnd {
	each := s.window / time.Duration(s.calls)
	if s.taken == nil {
		s.taken = []time.Time{now}
	}
	full := later(s.taken[0], now).Add(each)
	if wait := full.Add(-s.window).Sub(now); wait > 0 {
		end := CallEnd{Verdict: Throttled, Kind: "rate_limited"}
		if s.hint {
			end.RetryAfter = wait
		}
		return end
	}
	s.taken[0] = full
	return CallEnd{Verdict: Answered}
}

// drain runs jobs in 16 agents until all are answered. It returns the duration and the number of refused calls.
func drain(b *Breaker, s *limitedServer, jobs int) (took time.Duration, refused int) {
	const tick = 50 * time.Millisecond
	type flight struct {
		ticket *Ticket
		end    CallEnd
		at     time.Time
	}
	start := time.Unix(1_800_000_007, 0)
	var flying []flight
	now, done := start, 0
	for ; done < jobs && now.Sub(start) < 24*time.Hour; now = now.Add(tick) {
		var rest []flight
		for _, f := range flying {
			if f.at.After(now) {
				rest = append(rest, f)
				continue
			}
			b.End(now, f.ticket, f.end)
			if f.end.Verdict == Answered {
				done++
			} else {
				refused++
			}
		}
		flying = rest
		for agent := len(flying); agent < min(16, jobs-done); agent++ {
			ticket := b.Admit(now, fmt.Sprint("job-", done+agent))
			if ticket == nil {
				break
			}
			end := s.call(now)
			wait := 300 * time.Millisecond
			if end.Verdict == Throttled {
				wait = tick
			}
			flying = append(flying, flight{ticket, end, now.Add(wait)})
		}
	}
	return now.Sub(start), refused
}

func TestPaceKeepsRefusedCallsFew(t *testing.T) {
	for name, c := range map[string]struct {
		server  limitedServer
		jobs    int
		refused int // at most
		longer  float64
	}{
		"sliding":              {limitedServer{calls: 50, window: time.Minute}, 2000, 100, 1.2},
		"fixed":                {limitedServer{calls: 50, window: time.Minute, fixed: true}, 2000, 100, 1.2},
		"free tier":            {limitedServer{calls: 5, window: 10 * time.Second}, 300, 60, 1.2},
		"hints":                {limitedServer{calls: 50, window: time.Minute, hint: true}, 2000, 100, 1.2},
		"fixed with hints":     {limitedServer{calls: 50, window: time.Minute, hint: true, fixed: true}, 2000, 100, 1.2},
		"free tier with hints": {limitedServer{calls: 5, window: 10 * time.Second, hint: true}, 300, 30, 1.2},
		"bucket":               {limitedServer{calls: 50, window: time.Minute, bucket: true}, 2000, 100, 1.2},
		"bucket with hints":    {limitedServer{calls: 50, window: time.Minute, bucket: true, hint: true}, 2000, 100, 1.2},
		// This quota is too small to be paced. Each hour, the calls in flight are refused.
		"hints for hours": {limitedServer{calls: 100, window: time.Hour, hint: true}, 2000, 300, 1.1},
		// This limit ends before pace has learned it.
		"hardly any limit": {limitedServer{calls: 2000, window: time.Minute}, 4000, 200, 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			took, refused := drain(NewBreaker(func() float64 { return .5 }), &c.server, c.jobs)
			windows := (c.jobs - 1) / c.server.calls
			least := max(time.Duration(windows)*c.server.window, time.Duration(c.jobs)*300*time.Millisecond/16)
			t.Logf("%s, at least %s; %d refused of %d", took, least, refused, c.jobs+refused)
			assert.LessOrEqual(t, refused, c.refused)
			assert.LessOrEqual(t, took.Seconds(), c.longer*least.Seconds())
		})
	}
}

func TestPaceForgetsIdleTime(t *testing.T) {
	var p pace
	at := time.Unix(1_800_000_000, 0)
	for range 5 { // five calls, then a pause; then no calls for a while
		for range 5 {
			p.send(at, 20*time.Second)
			p.answer(at)
		}
		at = at.Add(time.Second)
		p.restart(at)
		at = at.Add(20 * time.Second)
	}
	assert.Zero(t, p.every, "calls were rare because there was little work")
}
