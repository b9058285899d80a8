package scheduler

import (
	"sync"
	"time"
)

const (
	// seedTokens is the length of a shared prefix from which waiting for its first agent is worthwhile. No service caches
	// shorter ones.
	seedTokens = 1_024
	// seedLimit is the longest such wait.
	seedLimit = 10 * time.Second
	// keptWarm is how long a prefix is assumed to stay in the cache after its last use. Services promise at least that.
	keptWarm = 5 * time.Minute
)

// Seeding makes the other agents of a batch wait until the first one has warmed the shared prefix. They start when its answer
// begins. It is for servers that can reuse a prefix only from then on. When many cold requests arrive there at once, each would
// compute the same prefix, and be charged for it. Servers that share a prefix while it is being computed need no Seeding.
//
// Safe for concurrent use. It reads no clock: callers pass the time. The zero value is cold.
type Seeding struct {
	mu     sync.Mutex
	seeded time.Time // guarded by mu; when the first agent started; zero while no wait is on
	used   time.Time // guarded by mu; when the prefix was last used, or the wait for its agent timed out
}

// WorthSeeding reports whether a prefix of so many bytes is long enough for [Seeding].
func WorthSeeding(prefixBytes int) bool { return prefixBytes/4 >= seedTokens }

// Room returns how many of limit agents may start now.
func (s *Seeding) Room(now time.Time, limit int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.seeded.IsZero() && now.Sub(s.seeded) < seedLimit:
		return 0
	case !s.seeded.IsZero():
		s.seeded, s.used = time.Time{}, now
		return limit
	case !s.used.IsZero() && now.Sub(s.used) < keptWarm:
		return limit
	default:
		return min(limit, 1)
	}
}

// Started records that an agent started. If the prefix is cold, other agents wait for its answer.
func (s *Seeding) Started(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seeded.IsZero() && (s.used.IsZero() || now.Sub(s.used) >= keptWarm) {
		s.seeded = now
	}
}

// Begun records that an agent's answer began, or that an agent ended. It reports whether that lets waiting agents start.
func (s *Seeding) Begun(now time.Time) (released bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	released = !s.seeded.IsZero()
	s.seeded, s.used = time.Time{}, now
	return released
}
