package scheduler

import "time"

// What ends a ramp, and what makes a level the best.
const (
	// RampGain is how much more goodput a doubled number of calls must bring for the ramp to go on.
	RampGain = 0.05
	// RampSlack is how much of the highest goodput may be given up for fewer calls in flight: they hold less of the KV cache, and
	// each is answered sooner. Repeated measurements of one level differ by about as much.
	RampSlack = 0.05
	// RampTTFT is the median time to the first token above which calls do nothing in a server but queue.
	RampTTFT = 10 * time.Second
)

// Level is what a server did with a number of calls in flight.
type Level struct {
	Inflight int
	Goodput  float64       // new prompt tokens and generated tokens per second
	TTFT     time.Duration // median
}

// good reports whether calls did more than queue.
func (l Level) good() bool { return l.TTFT <= RampTTFT }

// NextLevel says with how many calls in flight a server is to be measured next, from what was measured so far in that order: twice as many,
// up to most. 0 ends the ramp: goodput rose by less than [RampGain] twice in a row, or the time to the first token passed [RampTTFT].
// Once is not enough, because a level may be unlucky.
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

// flat reports whether the last level brought no more than those before it.
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

// BestLevel is the lowest of the measured levels whose goodput lies within [RampSlack] of the highest. Levels whose calls only queue do not
// count, unless there is no other. The zero Level if there are none.
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
