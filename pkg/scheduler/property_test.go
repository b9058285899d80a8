package scheduler

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// dumbSlots computes every waiter's urgency from scratch at each hand-over, straight from the rule in AgeingStep's comment.
type dumbSlots struct {
	capacity, inUse int
	waiting         []dumbWaiter // in the order of arrival
}

type dumbWaiter struct {
	id, turns int
	since     time.Time
}

func (d *dumbSlots) handOver(now time.Time) (granted []int) {
	for d.inUse < d.capacity && len(d.waiting) > 0 {
		best, bestUrgency := -1, math.Inf(1)
		for i, w := range d.waiting {
			urgency := float64(w.turns) - float64(now.Sub(w.since))/float64(AgeingStep)
			if urgency < bestUrgency-1e-9 {
				best, bestUrgency = i, urgency
			}
		}
		granted = append(granted, d.waiting[best].id)
		d.waiting = slices.Delete(d.waiting, best, best+1)
		d.inUse++
	}
	return granted
}

// agents drives real Slots; each agent is one goroutine inside Acquire.
type agents struct {
	slots   *Slots
	cancel  map[int]context.CancelFunc
	granted chan grantOf
	holding map[int]func()
}

type grantOf struct {
	id      int
	release func()
}

// end cancels all waiters and releases all slots.
func (a *agents) end() {
	for _, cancel := range a.cancel {
		cancel()
	}
	for _, release := range a.holding {
		release()
	}
	a.settle()
}

func (a *agents) acquire(id, turns int) {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel[id] = cancel
	go func() {
		if release, err := a.slots.Acquire(ctx, turns); err == nil {
			a.granted <- grantOf{id, release}
		}
	}()
}

// settle returns the new holders of slots once all goroutines block.
func (a *agents) settle() (got []int) {
	synctest.Wait()
	for len(a.granted) > 0 {
		g := <-a.granted
		a.holding[g.id] = g.release
		got = append(got, g.id)
	}
	return got
}

type step struct {
	op    string
	turns int
	pick  int
	ms    int
}

var anyStep = rapid.Custom(func(rt *rapid.T) step {
	return step{
		op:    rapid.SampledFrom([]string{"acquire", "acquire", "acquire", "release", "cancel", "resize", "sleep"}).Draw(rt, "op"),
		turns: rapid.IntRange(0, 6).Draw(rt, "turns"),
		pick:  rapid.IntRange(0, 100).Draw(rt, "pick"),
		ms:    rapid.IntRange(1, 30_000).Draw(rt, "ms"),
	}
})

func TestSlotsMatchSimpleImplementation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		capacity := rapid.IntRange(0, 3).Draw(rt, "capacity")
		steps := rapid.SliceOfN(anyStep, 20, 100).Draw(rt, "steps")
		var difference string
		synctest.Test(t, func(*testing.T) { difference = play(capacity, steps) })
		if difference != "" {
			rt.Fatal(difference)
		}
	})
}

// play runs the steps on both implementations and returns the first difference.
func play(capacity int, steps []step) string {
	real := &agents{slots: NewSlots(capacity), cancel: map[int]context.CancelFunc{}, granted: make(chan grantOf, len(steps)), holding: map[int]func(){}}
	defer real.end()
	dumb := &dumbSlots{capacity: capacity}
	for id, st := range steps {
		switch st.op {
		case "acquire":
			real.acquire(id, st.turns)
			dumb.waiting = append(dumb.waiting, dumbWaiter{id, st.turns, time.Now()})
		case "release":
			held := slices.Sorted(maps.Keys(real.holding))
			if len(held) == 0 {
				continue
			}
			who := held[st.pick%len(held)]
			real.holding[who]()
			delete(real.holding, who)
			dumb.inUse--
		case "cancel":
			if len(dumb.waiting) == 0 {
				continue
			}
			i := st.pick % len(dumb.waiting)
			real.cancel[dumb.waiting[i].id]()
			dumb.waiting = slices.Delete(dumb.waiting, i, i+1)
		case "resize":
			// Grows by one at a time, so that the order of the real grants is known.
			n := min(st.pick%4, real.slots.Capacity()+1)
			real.slots.Resize(n)
			dumb.capacity = n
		case "sleep":
			time.Sleep(time.Duration(st.ms) * time.Millisecond)
		}
		want, got := dumb.handOver(time.Now()), real.settle()
		if !slices.Equal(want, got) {
			return fmt.Sprintf("step %d (%s): granted %v, want %v", id, st.op, got, want)
		}
		if real.slots.InUse() != dumb.inUse || real.slots.Waiting() != len(dumb.waiting) {
			return fmt.Sprintf("step %d (%s): %d in use and %d waiting, want %d and %d",
				id, st.op, real.slots.InUse(), real.slots.Waiting(), dumb.inUse, len(dumb.waiting))
		}
	}
	real.end()
	if real.slots.InUse() != 0 || real.slots.Waiting() != 0 {
		return "slots or waiters are left after all agents ended"
	}
	return ""
}

func TestRankStaysInRange(t *testing.T) {
	t.Parallel()
	assert.Equal(t, rank(0, 0), rank(math.MinInt, 0))
	assert.Positive(t, rank(math.MaxInt, 100*365*24*time.Hour))
}

func TestClaimSize(t *testing.T) {
	t.Parallel()
	ok := Snapshot{Ready: true, MaxAgents: 200, LiveAgents: 0, Slots: 100, MaxBatch: 64}
	with := func(f func(*Snapshot)) Snapshot { s := ok; f(&s); return s }
	for _, c := range []struct {
		name string
		s    Snapshot
		want int
	}{
		{"MaxBatch limits a claim", ok, 64},
		{"backend down", with(func(s *Snapshot) { s.Ready = false }), 0},
		{"room for a few agents", with(func(s *Snapshot) { s.LiveAgents = 195 }), 5},
		{"full", with(func(s *Snapshot) { s.LiveAgents = 200 }), 0},
		{"over full, after the ceiling was lowered", with(func(s *Snapshot) { s.LiveAgents = 300 }), 0},
		{"slots are few", with(func(s *Snapshot) { s.Slots = 8 }), 8},
		{"a queue for slots", with(func(s *Snapshot) { s.Slots = 8; s.SlotQueue = 6 }), 2},
		{"a long queue for slots", with(func(s *Snapshot) { s.Slots = 8; s.SlotQueue = 60 }), 0},
		{"slots are shut", with(func(s *Snapshot) { s.Slots = 0 }), 0},
	} {
		assert.Equal(t, c.want, ClaimSize(c.s), c.name)
	}
}

func TestClaimSizeStaysWithinLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 500)
		s := Snapshot{
			Ready: rapid.Bool().Draw(rt, "ready"), MaxAgents: n.Draw(rt, "max"), LiveAgents: n.Draw(rt, "live"),
			Slots: n.Draw(rt, "slots"), SlotQueue: n.Draw(rt, "queue"), MaxBatch: n.Draw(rt, "batch"),
		}
		got := ClaimSize(s)
		assert.GreaterOrEqual(rt, got, 0)
		if got == 0 {
			return
		}
		assert.True(rt, s.Ready)
		assert.LessOrEqual(rt, s.LiveAgents+got, s.MaxAgents)
		assert.LessOrEqual(rt, s.SlotQueue+got, s.Slots)
		// It is also greedy: one more would exceed a limit.
		full := s.LiveAgents+got == s.MaxAgents || s.SlotQueue+got == s.Slots || got == s.MaxBatch
		assert.True(rt, full)
	})
}

// New callers keep arriving, always with fewer turns to go than the watched caller. A call that arrives later than turns x
// AgeingStep after the watched one is served behind it. So the number of calls that overtake it is limited, and so is its wait:
// that time, plus the calls in front of it then.
func TestSlotWaitIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		capacity := rapid.IntRange(1, 4).Draw(rt, "capacity")
		turns := rapid.IntRange(0, 12).Draw(rt, "turns")
		call := time.Duration(rapid.IntRange(500, 8_000).Draw(rt, "call")) * time.Millisecond
		// Calls arrive at 1 to 3 times the rate at which they can be served.
		every := call / time.Duration(capacity) / time.Duration(rapid.IntRange(1, 3).Draw(rt, "load"))
		others := rapid.SliceOfN(rapid.IntRange(0, turns), 1, 20).Draw(rt, "others")
		var problem string
		synctest.Test(t, func(*testing.T) { problem = overtaken(capacity, turns, call, every, others) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// overtaken sends steady competing calls while one caller waits. It returns an error text if the caller waited longer than
// allowed.
func overtaken(capacity, turns int, call, every time.Duration, others []int) string {
	s := NewSlots(capacity)
	ctx, cancel := context.WithCancel(context.Background())
	hold := func(turns int) {
		if release, err := s.Acquire(ctx, turns); err == nil {
			time.Sleep(call)
			release()
		}
	}
	for range capacity { // all slots are taken when it arrives
		go hold(0)
	}
	synctest.Wait()
	began, served := time.Now(), make(chan time.Duration, 1)
	go func() {
		if release, err := s.Acquire(ctx, turns); err == nil {
			served <- time.Since(began)
			release()
		}
	}()
	synctest.Wait()
	ages := time.Duration(turns) * AgeingStep
	passing := int(ages/every) + 1 // arrivals before it has aged
	bound := (time.Duration(passing/capacity) + 2) * call
	var waited time.Duration
	for i := 0; waited == 0; i++ {
		if time.Since(began) > bound {
			waited = time.Since(began)
			break
		}
		go hold(others[i%len(others)])
		time.Sleep(every)
		select {
		case waited = <-served:
		default:
		}
	}
	cancel()
	time.Sleep(call)
	synctest.Wait()
	if waited > bound {
		return fmt.Sprintf("an agent with %d turns to go waited %s for one of %d slots, more than %s", turns, waited, capacity, bound)
	}
	return ""
}
