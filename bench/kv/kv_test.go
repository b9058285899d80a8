package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAdmissionKeepsItsThroughput checks the main figures of the benchmark. Time is the engine's and agents are drawn from a
// seed, so the figures are equal on every machine. The limits leave room for small losses.
func TestAdmissionKeepsItsThroughput(t *testing.T) {
	t.Parallel()
	for workload, c := range map[string]struct {
		over  string
		times float64
	}{
		"b":      {"fixed 128", 0.96},
		"c":      {"fixed 8", 0.93},
		"c-big":  {"fixed 72", 0.95},
		"d":      {"fixed 4", 1},
		"d-long": {"fixed 2", 1},
		"f":      {"fixed 192", 0.98},
		"g":      {"fixed 5", 1},
		"h":      {"fixed 12", 0.95},
		"j":      {"fixed 12", 1},
		"i":      {"fixed 192", 0.97},
		"e":      {"ours, never leave", 2},
	} {
		t.Run(workload, func(t *testing.T) {
			t.Parallel()
			s := scenarios[workload]
			p, err := s.profile()
			require.NoError(t, err)
			load := s.load(s.agents, rand.New(rand.NewPCG(1, 1)))
			hours := map[string]float64{}
			for _, a := range s.arms() {
				if a.name == "ours" || a.name == c.over {
					ran, err := play(load, p, a.policy(load, p))
					require.NoError(t, err)
					hours[a.name] = ran.now.Hours()
				}
			}
			require.Len(t, hours, 2)
			assert.GreaterOrEqual(t, hours[c.over]/hours["ours"], c.times, "throughput of ours over %s: %v", c.over, hours)
		})
	}
}
