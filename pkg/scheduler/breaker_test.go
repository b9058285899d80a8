package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// calls drives a breaker with a clock that the test advances.
type calls struct {
	t   *testing.T
	b   *Breaker
	now time.Time
	n   int
}

func newCalls(t *testing.T) *calls {
	return &calls{t: t, b: NewBreaker(func() float64 { return 0 }), now: time.Unix(1_800_000_000, 0)}
}

func (c *calls) wait(d time.Duration) { c.now = c.now.Add(d) }

// start starts a call of a new job.
func (c *calls) start() *Ticket {
	c.n++
	return c.startOf(fmt.Sprint("job-", c.n))
}

func (c *calls) startOf(job string) *Ticket {
	c.wait(time.Millisecond)
	ticket := c.b.Admit(c.now, job)
	require.NotNil(c.t, ticket, "a call may start")
	return ticket
}

func (c *calls) end(ticket *Ticket, v Verdict) {
	c.wait(time.Millisecond)
	c.b.End(c.now, ticket, CallEnd{Verdict: v, Kind: "k", Reason: "because"})
}

func (c *calls) call(v Verdict) { c.end(c.start(), v) }

func (c *calls) isOpen() bool { return c.b.Outage() != nil }

// outage opens the breaker after an answer.
func (c *calls) outage(v Verdict) {
	c.call(Answered)
	for range tripJobs {
		c.call(v)
	}
	require.True(c.t, c.isOpen())
}

// probe waits for the next probe and ends it.
func (c *calls) probe(v Verdict) *Ticket {
	c.now = later(c.now, c.b.Outage().Next).Add(newcomersOnly)
	ticket := c.start()
	c.end(ticket, v)
	return ticket
}

func TestBreakerOpens(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(c *calls)
		want bool
	}{
		"three jobs fail in a row":          {func(c *calls) { c.call(Answered); c.call(Failed); c.call(Failed); c.call(Failed) }, true},
		"two jobs fail":                     {func(c *calls) { c.call(Answered); c.call(Failed); c.call(Failed) }, false},
		"an answer comes between":           {func(c *calls) { c.call(Failed); c.call(Failed); c.call(Answered); c.call(Failed) }, false},
		"three are throttled":               {func(c *calls) { c.call(Throttled); c.call(Throttled); c.call(Throttled) }, true},
		"the first call is refused":         {func(c *calls) { c.call(Refused) }, true},
		"a later call is refused":           {func(c *calls) { c.call(Answered); c.call(Refused) }, false},
		"the first call fails":              {func(c *calls) { c.call(Failed) }, false},
		"cancelled calls and too long ones": {func(c *calls) { c.call(NoVerdict); c.call(NoVerdict); c.call(NoVerdict); c.call(NoVerdict) }, false},
		"one job alone fails four times":    {func(c *calls) { fourTimes(c) }, true},
		"one job fails beside a slow call":  {func(c *calls) { c.end(c.startOf("poison"), Failed); c.start(); fourTimes(c) }, false},
		"calls before the outage are answered": {func(c *calls) {
			before := []*Ticket{c.start(), c.start(), c.start()}
			for _, old := range before {
				c.call(Failed)
				c.end(old, Answered)
			}
		}, true},
		"more calls may still be answered": {func(c *calls) {
			c.call(Failed)
			c.start()
			c.start()
			c.start()
			c.call(Failed)
			c.call(Failed)
		}, false},
		"one in twenty fails at once, and others take long": {func(c *calls) {
			for i := range 60 {
				if call := c.start(); i%20 == 0 {
					c.end(call, Failed)
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCalls(t)
			test.do(c)
			assert.Equal(t, test.want, c.isOpen())
		})
	}
}

func fourTimes(c *calls) {
	for range tripTries {
		c.end(c.startOf("poison"), Failed)
	}
}

func TestBreakerAllowsOnlyProbesWhileOpen(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	assert.Nil(t, c.b.Admit(c.now, "other"))
	began := c.b.Outage().Since
	var at []time.Duration
	for c.now.Sub(began) < time.Hour {
		c.probe(Failed)
		at = append(at, c.now.Sub(began).Round(100*time.Millisecond))
		require.Nil(t, c.b.Admit(c.now, "other"), "one probe at a time")
	}
	assert.Equal(t, []time.Duration{600 * time.Millisecond, 1300 * time.Millisecond, 2700 * time.Millisecond}, at[:3])
	for i := 1; i < len(at); i++ {
		gap, length := at[i]-at[i-1], at[i-1]
		assert.LessOrEqual(t, gap, max(shortDelay, length/probePart)+200*time.Millisecond)
		assert.LessOrEqual(t, gap, maxProbeDelay+200*time.Millisecond)
	}
	assert.Less(t, len(at), 120, "an hour costs few probes")
}

func TestBreakerRecovers(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	c.probe(Answered)
	require.False(t, c.isOpen())
	var rounds []int
	for range 4 {
		var flying []*Ticket
		for len(flying) < 100 {
			c.wait(time.Millisecond)
			ticket := c.b.Admit(c.now, fmt.Sprint("job-", len(flying)))
			if ticket == nil {
				break
			}
			flying = append(flying, ticket)
		}
		rounds = append(rounds, len(flying))
		for _, f := range flying {
			c.end(f, Answered)
		}
	}
	assert.Equal(t, []int{4, 12, 36, 100}, rounds, "few calls start at first, and more after each answer")
}

func TestBreakerOpensAgainIfTheRecoveryFails(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	since := c.b.Outage().Since
	c.probe(Answered)
	c.call(Failed)
	assert.False(t, c.isOpen(), "one failure may be its own fault")
	c.call(Failed)
	require.True(t, c.isOpen())
	assert.Equal(t, since, c.b.Outage().Since, "users see one outage")
}

func TestBreakerSendsControlRequestsAfterFailedProbes(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	assert.False(t, c.probe(Failed).Control)
	assert.False(t, c.probe(Failed).Control)
	assert.True(t, c.probe(Failed).Control)

	throttled := newCalls(t)
	throttled.outage(Throttled)
	for range 4 {
		assert.False(t, throttled.probe(Throttled).Control, "a small request may pass where others do not")
	}
}

func TestBreakerPrefersNewProbes(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	c.wait(time.Second)
	c.end(c.startOf("poison"), Failed)
	due := c.b.Outage().Next
	ok, again := c.b.MayStart(due, "poison")
	assert.False(t, ok)
	assert.Equal(t, due.Add(newcomersOnly), again)
	ok, _ = c.b.MayStart(due, "other")
	assert.True(t, ok)
}

func TestBreakerWaitsForRateLimits(t *testing.T) {
	c := newCalls(t)
	c.call(Answered)
	for range tripJobs {
		ticket := c.start()
		c.b.End(c.now, ticket, CallEnd{Verdict: Throttled, RetryAfter: 20 * time.Second})
	}
	wait := c.b.Outage().Next.Sub(c.now)
	assert.GreaterOrEqual(t, wait, 20*time.Second)
	assert.Less(t, wait, 25*time.Second)

	plain := newCalls(t)
	plain.outage(Throttled)
	var gaps []time.Duration
	for range 8 {
		gaps = append(gaps, plain.b.Outage().Next.Sub(plain.now).Round(time.Second))
		plain.probe(Throttled)
	}
	assert.Equal(t, []time.Duration{1, 1, 2, 5, 10, 19, 38, 60}, seconds(gaps), "without a hint the wait doubles, up to a minute")
}

func seconds(ds []time.Duration) []time.Duration {
	out := make([]time.Duration, len(ds))
	for i, d := range ds {
		out[i] = d / time.Second
	}
	return out
}

func TestBreakerReportsMisconfiguration(t *testing.T) {
	c := newCalls(t)
	c.call(Refused)
	assert.True(t, c.b.Outage().Unproven)
	proven := newCalls(t)
	proven.outage(Refused)
	assert.False(t, proven.b.Outage().Unproven)
}

func TestBreakerTracksFlakyKinds(t *testing.T) {
	c := newCalls(t)
	c.end(c.startOf("a"), Failed)
	assert.False(t, c.b.Flaky(c.now, "k"))
	c.end(c.startOf("b"), Answered)
	assert.False(t, c.b.Flaky(c.now, "k"), "another job's answer shows nothing about repeats")
	c.end(c.startOf("a"), Answered)
	assert.True(t, c.b.Flaky(c.now, "k"))
	assert.False(t, c.b.Flaky(c.now, "other"))
	c.wait(flakyFor)
	assert.False(t, c.b.Flaky(c.now, "k"))
}

func TestBreakerCountsStreamAsAnswer(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	c.wait(time.Second)
	long := c.start()
	c.wait(5 * time.Second)
	assert.True(t, c.b.Streams(c.now, long))
	assert.False(t, c.isOpen())
	limit := c.b.limit
	c.end(long, Answered)
	assert.Equal(t, limit, c.b.limit, "it counts once")
}

// TestBreakerNeverBlocksForever plays random ends of calls. After any sequence, a working server gets all calls.
func TestBreakerNeverBlocksForever(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newCalls(t)
		var flying []*Ticket
		for range 200 {
			c.wait(time.Duration(r.Int64N(int64(3 * time.Second))))
			if ticket := c.b.Admit(c.now, fmt.Sprint(r.IntN(40))); ticket != nil {
				flying = append(flying, ticket)
			}
			if len(flying) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(flying))
				c.end(flying[i], Verdict(r.IntN(5)))
				flying = append(flying[:i], flying[i+1:]...)
			}
		}
		for _, f := range flying {
			c.end(f, NoVerdict)
		}
		answered := 0
		for until := c.now.Add(maxHold); c.now.Before(until) && answered < 200; c.wait(100 * time.Millisecond) {
			if ticket := c.b.Admit(c.now, "job"); ticket != nil {
				c.end(ticket, Answered)
				answered++
			}
		}
		require.Equal(t, 200, answered, "seed %d", seed)
		require.Empty(t, c.b.calls)
		require.LessOrEqual(t, len(c.b.failing), maxKept)
	}
}

// control ends the control request of a probe and then its call.
func (c *calls) control(answered bool, v Verdict, permanent bool) {
	c.now = later(c.now, c.b.Outage().Next).Add(newcomersOnly)
	ticket := c.start()
	require.True(c.t, ticket.Control)
	if answered {
		c.b.Controlled(c.now, ticket)
	}
	c.wait(time.Millisecond)
	c.b.End(c.now, ticket, CallEnd{Verdict: v, Kind: "k", Reason: "because", Permanent: permanent})
}

func TestControlRequestIsWeakProof(t *testing.T) {
	c := newCalls(t)
	c.outage(Failed)
	last := c.b.LastAnswered()
	for range plainProbes {
		c.probe(Failed)
	}
	c.control(true, Failed, true)
	sent, proven := c.b.Evidence()
	assert.Equal(t, last, sent, "a server may answer small requests alone")
	assert.True(t, proven)

	c.wait(controlTrust)
	for c.b.Outage() == nil {
		c.call(Failed)
	}
	for c.b.probes < plainProbes {
		c.probe(Failed)
	}
	c.now = later(c.now, c.b.Outage().Next).Add(newcomersOnly)
	c.b.Controlled(c.now, c.start())
	sent, proven = c.b.Evidence()
	assert.True(t, sent.After(last))
	assert.False(t, proven)
	assert.False(t, c.isOpen(), "calls start again")
}

// TestSameRefusalIsProofSooner plays an outage with answered control requests.
func TestSameRefusalIsProofSooner(t *testing.T) {
	for name, test := range map[string]struct {
		permanent bool
		other     string // a different reason in between
		control   bool   // all control requests are answered
		want      time.Duration
	}{
		"the same words":            {true, "because", true, sameTrust},
		"other words in between":    {true, "perhaps", true, controlTrust},
		"a failure that may pass":   {false, "because", true, controlTrust},
		"a control request refused": {true, "because", false, controlTrust},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCalls(t)
			c.call(Answered)
			began, n, controls := c.now, 0, test.control
			for proven := true; proven && c.now.Sub(began) < time.Minute; n++ {
				if o := c.b.Outage(); o != nil {
					c.now = later(c.now, o.Next).Add(newcomersOnly)
				}
				c.wait(100 * time.Millisecond)
				ticket, reason := c.start(), "because"
				if ticket.Control && controls {
					c.b.Controlled(c.now, ticket)
				}
				controls = controls || ticket.Control
				if n == 5 {
					reason = test.other
				}
				c.b.End(c.now, ticket, CallEnd{Verdict: Failed, Kind: "k", Reason: reason, Permanent: test.permanent})
				_, proven = c.b.Evidence()
			}
			assert.InDelta(t, test.want.Seconds(), c.now.Sub(began).Seconds(), 6)
		})
	}
}

func TestServerThatRefusesEveryCallIsUnproven(t *testing.T) {
	for name, test := range map[string]struct {
		end     CallEnd
		control bool // the control request is answered
		least   time.Duration
	}{
		"control request answered": {CallEnd{Verdict: Failed, Kind: "k", Permanent: true}, true, uselessAfter},
		"control request refused":  {CallEnd{Verdict: Failed, Kind: "k", Permanent: true}, false, uselessAfter},
		"web page":                 {CallEnd{Verdict: Failed, Kind: "k", Foreign: true}, false, foreignAfter},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCalls(t)
			for began := c.now; c.now.Sub(began) < 2*time.Minute; {
				if o := c.b.Outage(); o != nil {
					if o.Unproven {
						assert.GreaterOrEqual(t, c.now.Sub(began), test.least)
						return
					}
					c.now = later(c.now, o.Next).Add(newcomersOnly)
				}
				ticket := c.start()
				if ticket.Control && test.control {
					c.b.Controlled(c.now, ticket)
				}
				c.wait(time.Millisecond)
				c.b.End(c.now, ticket, test.end)
			}
			assert.Fail(t, "it was never reported")
		})
	}
}
