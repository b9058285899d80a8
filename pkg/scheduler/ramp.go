package scheduler

import "time"

// The thresholds of a ramp.
const (
	// RampGain is the relative rise in goodput that a doubled number of calls must bring. Two smaller rises in a row end the
	// ramp.
	RampGain = 0.05
	// RampSlack is the share of the highest goodput that may be given up for fewer calls in flight. Fewer calls hold less of
	// the KV cache, and each is answered sooner. Repeated measurements of one level differ by about as much.
	RampSlack = 0.05
	// RampTTFT is the median time to the first token above which additional calls only queue in the server.
	RampTTFT = 10 * time.Second
)

// Level is the measured performance of a server with a number of calls in flight.
type Level struct {
	Inflight int
	Goodput  float64       // new prompt tokens and generated tokens per second
	TTFT     time.Duration // median
}

// good reports whether calls did not merely queue.
func (l Level) good() bool { return l.TTFT <= RampTTFT }

// NextLevel returns how many calls in flight to measure next: twice as many as in the last of levels, up to most. It returns 0
// to end the ramp: goodput rose by less than [RampGain] twice in a row, or the time to the first token exceeded [RampTTFT].
// Once is not enough, because one measurement may be unlucky.
func NextLevel(levels []Level, most int) int {
	n := len(levels)
	if n == 0 {
		return min(1, most)
	}
	last := levels[n-1]
	if !last.good() || last.Inflight >= most || flat(levels) && flat(levels[:n-1]) {
		return 0
	}
	return min(2*last.Inflight, most)
}

// flat reports whether the goodput of the last level exceeds that of all earlier ones by less than [RampGain].
func flat(levels []Level) bool {
	n := len(levels)
	return n >= 2 && levels[n-1].Goodput < (1+RampGain)*highest(levels[:n-1])
}

func highest(levels []Level) (most float64) {
	for _, l := range levels {
		most = max(most, l.Goodput)
	}
	return most
}

// BestLevel returns the lowest measured level whose goodput lies within [RampSlack] of the highest. It ignores levels at which
// calls only queue, unless there are no others. It returns the zero Level if levels is empty.
func BestLevel(levels []Level) (best Level) {
	var good []Level
	for _, l := range levels {
		if l.good() {
			good = append(good, l)
		}
	}
	if len(good) == 0 {
		good = levels
	}
	for _, l := range good {
		if l.Goodput >= (1-RampSlack)*highest(good) && (best.Inflight == 0 || l.Inflight < best.Inflight) {
			best = l
		}
	}
	return best
}
