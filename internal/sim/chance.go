package sim

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// chance derives every random decision of a run from the seed and from what the decision is about, never from the
// order in which goroutines ask. Two runs of a seed therefore decide alike even where the Go scheduler does not.
type chance uint64

// on is the random source for one decision, named by its parts.
func (c chance) on(parts ...string) *rand.Rand {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(uint64(c), h.Sum64()))
}

// between draws a duration from [lo, hi), to the nanosecond: that two events fall on the same instant is then rare
// enough to be left to [event.rank].
func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(r.Int64N(int64(hi-lo)))
}

// likely is true with probability p.
func likely(r *rand.Rand, p float64) bool { return r.Float64() < p }
