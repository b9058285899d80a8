package prefixorder

import (
	"math"
	"slices"
)

// MayGain reports whether sorting total jobs may save prompt bytes, judged by a random sample of their prompts. Prompts of the sample
// may be cut. It errs on the side of sorting: [Sorter.Gains] is exact.
func MayGain(sample []string, total int64) bool {
	n := float64(len(sample))
	if len(sample) < 2 {
		return false
	}
	sorted := slices.Sorted(slices.Values(sample))
	mates := 0.0
	for i, prompt := range sorted[1:] {
		if n := common(sorted[i], prompt); counts(n, len(sorted[i]), len(prompt)) {
			mates++
		}
	}
	if n < float64(total) && mates < minMates {
		return false // chance alone may bring so few together
	}
	// Two jobs of one group are both in the sample with the square of the sample's share.
	share := n / float64(total)
	return math.Min(1, mates/(share*share)/float64(total)) >= minGain
}

// minMates is how many prompts of a sample have to share a prefix with another one.
const minMates = 3

// common returns the length of the common prefix.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
