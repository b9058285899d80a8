package scheduler

import (
	"sync"
	"time"
)

const (
	// seedTokens is how long a shared prefix must be for its first agent to be waited for; no service caches shorter ones.
	seedTokens = 1_024
	// seedLimit bounds that wait.
	seedLimit = 10 * time.Second
	// keptWarm is how long a prefix is taken to be in the cache after its last use: what services promise at least.
	keptWarm = 5 * time.Minute
)

// Seeding lets the first agent of a batch warm the prefix that all share, and the rest start when its answer begins: seed,
// then flood. It is for servers that can reuse a prefix only from then on; where many cold requests arrive at once, each
// would compute, and be charged for, the same prefix. Servers that share what is still being computed need no seed.
//
// Safe for concurrent use; it has no clock of its own. The zero value is cold.
type Seeding struct {
	mu     sync.Mutex
	seeded time.Time // guarded by mu; when the first agent started; zero if none is waited for
	used   time.Time // guarded by mu; the prefix was last used, or its agent waited for in vain
}

// WorthSeeding reports whether a prefix of so many bytes is long enough to wait for.
func WorthSeeding(prefixBytes int) bool { return prefixBytes/4 >= seedTokens }

// Room is how many of limit agents may start now.
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

// Started notes that an agent started. If the prefix is cold, its answer is waited for.
func (s *Seeding) Started(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seeded.IsZero() && (s.used.IsZero() || now.Sub(s.used) >= keptWarm) {
		s.seeded = now
	}
}

// Begun notes that some agent's answer began, or that an agent ended. It reports whether that lets others start.
func (s *Seeding) Begun(now time.Time) (released bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	released = !s.seeded.IsZero()
	s.seeded, s.used = time.Time{}, now
	return released
}
