package toolpool

import (
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"
)

const (
	latencyAccuracy = 0.01 // relative, of a quantile
	latencyBins     = 512  // spans 10 µs to 3 h at this accuracy
)

// latency estimates quantiles of durations in bounded memory. Safe for concurrent use.
type latency struct {
	mu     sync.Mutex
	sketch *ddsketch.DDSketch // guarded by mu; seconds
}

func newLatency() (*latency, error) {
	s, err := ddsketch.LogCollapsingLowestDenseDDSketch(latencyAccuracy, latencyBins)
	if err != nil {
		return nil, err
	}
	return &latency{sketch: s}, nil
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.sketch.Add(max(d, time.Microsecond).Seconds()) // fails only for values that are no durations
}

// each calls yield for each duration, the shortest first.
func (l *latency) each(yield func(d time.Duration, count float64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sketch.ForEach(func(v, count float64) (stop bool) {
		yield(seconds(v), count)
		return false
	})
}

// quantiles returns P50, P75 and P99; zero before the first execution.
func (l *latency) quantiles() (p50, p75, p99 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, err := l.sketch.GetValuesAtQuantiles([]float64{0.5, 0.75, 0.99})
	if err != nil {
		return 0, 0, 0
	}
	return seconds(q[0]), seconds(q[1]), seconds(q[2])
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }
