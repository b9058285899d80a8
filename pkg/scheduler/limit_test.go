package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestLimitGrowsOnlyWhenUsedAndQuiet(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimit(1, 3, now)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	slots := func(d time.Duration) int { n, _ := l.Slots(at(d)); return n }

	l.Succeeded(at(QuietWindow/2), at(QuietWindow/2), 1, 1, 0)
	assert.Equal(t, 1, slots(QuietWindow/2), "the window is not over")
	l.Succeeded(at(QuietWindow), at(QuietWindow), 1, 0.05, 0)
	assert.Equal(t, 1, slots(QuietWindow), "little is left of the rate limit")
	l.Succeeded(at(QuietWindow), at(QuietWindow), 1, 1, 0)
	assert.Equal(t, 2, slots(QuietWindow))
	l.Succeeded(at(3*QuietWindow), at(3*QuietWindow), 1, 1, 0)
	assert.Equal(t, 2, slots(3*QuietWindow), "two requests were never in flight")
	l.Succeeded(at(3*QuietWindow), at(3*QuietWindow), 2, 1, 0)
	assert.Equal(t, 3, slots(3*QuietWindow))
	l.Succeeded(at(9*QuietWindow), at(9*QuietWindow), 3, 1, 0)
	assert.Equal(t, 3, slots(9*QuietWindow), "the ceiling holds")
}

func TestOneOverloadHalvesOnce(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimit(16, 16, now)
	cut := now.Add(time.Second)
	for range 10 {
		l.Throttled(cut, now, 0) // all on their way when the first was refused
		cut = cut.Add(time.Millisecond)
	}
	n, _ := l.Slots(cut)
	assert.Equal(t, 8, n)
	l.Throttled(cut.Add(time.Second), cut, 0)
	n, _ = l.Slots(cut)
	assert.Equal(t, 8, n, "no answer shows that the server takes eight requests")
	l.Succeeded(cut.Add(2*time.Second), cut, 1, 1, 0)
	l.Throttled(cut.Add(3*time.Second), cut.Add(2*time.Second), 0)
	n, _ = l.Slots(cut)
	assert.Equal(t, 4, n, "a refusal of a later request is another overload")
}

func TestRetryAfterHolds(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimit(4, 4, now)
	l.Throttled(now, now, 30*time.Second)
	l.Throttled(now, now, 5*time.Second) // a shorter wait does not end a longer one
	n, again := l.Slots(now.Add(29 * time.Second))
	assert.Zero(t, n)
	assert.Equal(t, now.Add(30*time.Second), again)
	n, _ = l.Slots(now.Add(30 * time.Second))
	assert.Positive(t, n)
	l.Throttled(now, now, 1000*time.Hour)
	_, again = l.Slots(now)
	assert.Equal(t, now.Add(maxHold), again)
}

func TestOutageDoesNotLowerTheLimit(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimit(16, 16, now)
	now = now.Add(time.Minute)
	for range 16 { // in flight when the outage began
		l.Throttled(now, now.Add(-time.Second), 0)
	}
	l.Succeeded(now, now.Add(-time.Second), 3, 1, 0) // one of them was answered
	for range 10 {                                   // probes
		now = now.Add(4 * time.Second)
		l.Throttled(now, now, 0)
	}
	n, _ := l.Slots(now)
	assert.Equal(t, 8, n)
	l.Succeeded(now.Add(time.Second), now, 1, 1, 0)
	n, _ = l.Slots(now)
	assert.Equal(t, 16, n)
}

// The limit always stays within 1..ceiling and obeys holds. It rises by one, or to its value before an outage.
func TestLimitProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		ceiling := rapid.IntRange(1, 64).Draw(t, "ceiling")
		l := NewLimit(rapid.IntRange(-1, 80).Draw(t, "start"), ceiling, now)
		hold, halved := now, 0
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "passes")))
			before := l.limit
			wait := time.Duration(rapid.Int64Range(-5, 30).Draw(t, "wait")) * time.Second
			if rapid.Bool().Draw(t, "throttled") {
				sent := now.Add(-time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "took")))
				l.Throttled(now, sent, wait)
				if until := now.Add(wait); until.After(hold) {
					hold = until
				}
				if l.limit < before {
					halved = before
				}
				if l.limit > before || l.limit < before/2 {
					t.Fatalf("throttled: %d became %d", before, l.limit)
				}
			} else {
				l.Succeeded(now, now.Add(-time.Second), rapid.IntRange(0, 70).Draw(t, "in flight"), rapid.Float64Range(0.001, 1).Draw(t, "left"), wait)
				if l.limit < before || l.limit > before+1 && l.limit != halved && l.limit != halved+1 {
					t.Fatalf("succeeded: %d became %d", before, l.limit)
				}
			}
			n, again := l.Slots(now)
			switch {
			case l.limit < 1 || l.limit > ceiling:
				t.Fatalf("%d is not within 1..%d", l.limit, ceiling)
			case now.Before(hold) && (n != 0 || !again.Equal(hold)):
				t.Fatalf("%d slots during a hold", n)
			case !now.Before(hold) && n != l.limit:
				t.Fatalf("%d slots of %d", n, l.limit)
			}
		}
	})
}

// The model is an account that refuses requests over its capacity. The limit finds the capacity from below and stays near.
func TestLimitSettlesNearTheCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 32).Draw(t, "capacity")
		now := time.Unix(0, 0)
		l := NewLimit(1, 64, now)
		refusals := 0
		for range 600 { // one round a second: all slots in use
			now = now.Add(time.Second)
			n, _ := l.Slots(now)
			for range min(n, capacity) {
				l.Succeeded(now, now.Add(-time.Second/2), n, 1, 0)
			}
			for range max(n-capacity, 0) {
				refusals++
				l.Throttled(now, now.Add(-time.Second/2), 0)
			}
		}
		n, _ := l.Slots(now)
		if n > capacity+1 || n < capacity/2 {
			t.Fatalf("%d slots at a capacity of %d", n, capacity)
		}
		if refusals > 600/int(QuietWindow/time.Second) {
			t.Fatalf("%d refusals", refusals)
		}
	})
}
