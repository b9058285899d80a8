package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestSeeding(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000, 0)
	after := func(d time.Duration) time.Time { return at.Add(d) }
	t.Run("the rest start when the first answer begins", func(t *testing.T) {
		t.Parallel()
		var s Seeding
		assert.Equal(t, 1, s.Room(at, 64))
		assert.Equal(t, 1, s.Room(at, 64), "no agent started")
		s.Started(at)
		assert.Zero(t, s.Room(after(time.Second), 64))
		assert.True(t, s.Begun(after(2*time.Second)))
		assert.Equal(t, 64, s.Room(after(2*time.Second), 64))
		s.Started(after(2 * time.Second))
		assert.Equal(t, 64, s.Room(after(3*time.Second), 64), "a warm prefix has no seed")
		assert.False(t, s.Begun(after(4*time.Second)))
	})
	t.Run("the wait for the first answer times out", func(t *testing.T) {
		t.Parallel()
		var s Seeding
		s.Started(at)
		assert.Zero(t, s.Room(after(seedLimit-1), 64))
		assert.Equal(t, 64, s.Room(after(seedLimit), 64))
		assert.Equal(t, 64, s.Room(after(seedLimit+time.Second), 64))
	})
	t.Run("an unused prefix grows cold", func(t *testing.T) {
		t.Parallel()
		var s Seeding
		s.Started(at)
		s.Begun(at)
		s.Begun(after(keptWarm - 1))
		assert.Equal(t, 64, s.Room(after(keptWarm), 64))
		assert.Equal(t, 1, s.Room(after(2*keptWarm), 64))
	})
	assert.False(t, WorthSeeding(4_000))
	assert.True(t, WorthSeeding(5_000))
}

// No agent is held for longer than the limit, and at most one starts while a prefix is cold.
func TestSeedingNeverHoldsForLong(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var s Seeding
		now, heldSince, started := time.Unix(1_000, 0), time.Time{}, 0
		begun := false
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4_000).Draw(rt, "ms")) * time.Millisecond)
			if started > 0 && rapid.IntRange(0, 9).Draw(rt, "begins") == 0 {
				s.Begun(now)
				begun = true
			}
			n := s.Room(now, 10)
			switch {
			case n > 0:
				heldSince = time.Time{}
			case heldSince.IsZero():
				heldSince = now
			default:
				assert.Less(rt, now.Sub(heldSince), seedLimit)
			}
			if started == 0 {
				assert.Equal(rt, 1, n)
			} else if n > 0 && started == 1 {
				assert.True(rt, begun || now.Sub(time.Unix(1_000, 0)) >= seedLimit)
			}
			if n > 0 {
				s.Started(now)
				started += n
			}
		}
	})
}
