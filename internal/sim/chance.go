package sim

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// chance derives every random decision of a run from the seed and from the subject of the decision. The order of the goroutines
// has no influence. Two runs of a seed therefore decide alike even if the Go scheduler does not.
type chance uint64

// on returns the random source for one decision, named by its parts.
func (c chance) on(parts ...string) *rand.Rand {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p))
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(uint64(c), h.Sum64()))
}

// between draws a duration from [lo, hi), to the nanosecond. Two events of one instant are therefore rare; [event.rank] orders
// them.
func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(r.Int64N(int64(hi-lo)))
}

// likely returns true with probability p.
func likely(r *rand.Rand, p float64) bool { return r.Float64() < p }
