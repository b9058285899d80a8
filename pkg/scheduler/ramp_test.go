package scheduler

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestNextLevel(t *testing.T) {
	t.Parallel()
	level := func(n int, goodput float64) Level { return Level{Inflight: n, Goodput: goodput, TTFT: time.Second} }
	for name, c := range map[string]struct {
		levels []Level
		most   int
		want   int
	}{
		"starts with one":           {nil, 256, 1},
		"doubles while it helps":    {[]Level{level(1, 100), level(2, 190), level(4, 350)}, 256, 8},
		"one flat level may be bad": {[]Level{level(1, 100), level(2, 190), level(4, 192)}, 256, 8},
		"two are the end":           {[]Level{level(1, 100), level(2, 190), level(4, 192), level(8, 193)}, 256, 0},
		"falling is no rise either": {[]Level{level(1, 100), level(2, 190), level(4, 150), level(8, 191)}, 256, 0},
		"calls only queue":          {[]Level{level(1, 100), {Inflight: 2, Goodput: 200, TTFT: RampTTFT + 1}}, 256, 0},
		"never exceeds the limit":   {[]Level{level(1, 100), level(2, 200)}, 3, 3},
		"stops at the limit":        {[]Level{level(1, 100), level(2, 200), level(3, 300)}, 3, 0},
	} {
		assert.Equal(t, c.want, NextLevel(c.levels, c.most), name)
	}
}

func TestBestLevel(t *testing.T) {
	t.Parallel()
	level := func(n int, goodput float64) Level { return Level{Inflight: n, Goodput: goodput, TTFT: time.Second} }
	late := Level{Inflight: 16, Goodput: 500, TTFT: RampTTFT + 1}
	for name, c := range map[string]struct {
		levels []Level
		want   int
	}{
		"nothing was measured":            {nil, 0},
		"the highest":                     {[]Level{level(1, 100), level(2, 190), level(4, 150)}, 2},
		"fewer calls for nearly the same": {[]Level{level(1, 100), level(2, 192), level(4, 200), level(8, 200)}, 2},
		"calls that queue do not count":   {[]Level{level(4, 200), level(8, 300), late}, 8},
		"unless there are no others":      {[]Level{late}, 16},
	} {
		assert.Equal(t, c.want, BestLevel(c.levels).Inflight, name)
	}
}

// The goodput of the server rises to any ceiling and stays there. The ramp ends, and finds a level near the ceiling.
func TestRampFindsTheFlatPart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		knee := rapid.Float64Range(1, 200).Draw(t, "knee")
		goodput := func(n int) float64 { return 1000 * math.Min(float64(n)/knee, 1) }
		var levels []Level
		for n := NextLevel(nil, 256); n > 0; n = NextLevel(levels, 256) {
			levels = append(levels, Level{Inflight: n, Goodput: goodput(n)})
		}
		assert.LessOrEqual(t, len(levels), 9)
		best := BestLevel(levels)
		assert.GreaterOrEqual(t, best.Goodput, (1-RampSlack)*1000)
		assert.Less(t, float64(best.Inflight), math.Max(2*knee, 2))
	})
}
