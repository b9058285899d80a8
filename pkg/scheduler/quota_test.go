package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// limitedServer answers at most calls requests per window and refuses the others. Windows slide, or begin at fixed times.
type limitedServer struct {
	calls  int
	window time.Duration
	fixed  bool
	hint   bool
	taken  []time.Time
}

func (s *limitedServer) call(now time.Time) CallEnd {
	from := now.Add(-s.window)
	if s.fixed {
		from = now.Truncate(s.window).Add(-1)
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
	}
	return end
}

// drain runs jobs in 16 agents until all are answered. It returns how long that took and how many calls were refused.
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

func TestQuotaKeepsRefusedCallsFew(t *testing.T) {
	for name, c := range map[string]struct {
		server  limitedServer
		jobs    int
		refused int // at most
		longer  float64
	}{
		"sliding":   {limitedServer{calls: 50, window: time.Minute}, 2000, 100, 1.2},
		"fixed":     {limitedServer{calls: 50, window: time.Minute, fixed: true}, 2000, 100, 1.2},
		"free tier": {limitedServer{calls: 5, window: 10 * time.Second}, 300, 60, 1.2},
		// The servers below are not paced. Their limits must not cost much all the same.
		"hints":            {limitedServer{calls: 50, window: time.Minute, hint: true}, 2000, 600, 1.1},
		"hints for hours":  {limitedServer{calls: 100, window: time.Hour, hint: true}, 400, 60, 1.1},
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
