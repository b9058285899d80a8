package batching

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// call is one model call of a calibration run, with its measurements.
type call struct {
	Request
	ttft, wall time.Duration
	cached     int
}

// generate runs one call on a driver.
func (c *call) generate(ctx context.Context, d *Driver) error {
	began := time.Now()
	run, err := d.Admit(c.Request)
	if err != nil {
		return err
	}
	err = run.Wait(ctx, 0, func(p Progress) error {
		if c.ttft == 0 {
			c.ttft, c.cached = time.Since(began), p.Cached
		}
		return nil
	})
	c.wall = time.Since(began)
	return err
}

// hashes returns the block hashes of a sequence. Blocks within the shared tokens are equal for all; the others depend on own.
func hashes(shared, total int, own uint64, size int) []uint64 {
	out := make([]uint64, total/size)
	for i := range out {
		out[i] = uint64(i) + 1
		if (i+1)*size > shared {
			out[i] += own << 32
		}
	}
	return out
}

func quantile(of []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// published is the table of a shared-prefix run on an A10G with Qwen2.5-7B and vLLM 0.6.6. N concurrent requests have 2,047
// shared and about 500 own prompt tokens each, and at most 200 output tokens. Times are in seconds. Source: batch-agent 0.1.0,
// results of May 2026.
var published = []struct {
	n                                           int
	wallCold, ttftCold, wallWarm, ttftWarm, hit float64
}{
	{5, 4.48, 1.192, 2.08, 0.184, 0.81},
	{10, 9.89, 2.771, 4.67, 0.220, 0.92},
	{20, 15.41, 5.453, 4.70, 0.216, 0.97},
	{50, 33.25, 13.550, 5.61, 0.533, 0.99},
	{100, 63.75, 28.687, 6.55, 0.451, 0.99},
}

// batchOf runs n concurrent calls on the A10G profile. Outputs have 40 to 200 tokens.
func batchOf(t *testing.T, n int, warm bool) (calls []*call, wall time.Duration) {
	t.Helper()
	profile, err := LookupProfile("a10g-7b")
	require.NoError(t, err)
	profile.NoPrefixCache = !warm
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDriver(DriverConfig{Profile: profile})
		require.NoError(t, err)
		lengths := rand.New(rand.NewPCG(7, uint64(n)))
		const shared, prompt = 2_047, 2_547
		for i := range n {
			out := 40 + lengths.IntN(161)
			calls = append(calls, &call{Request: Request{
				PromptTokens: prompt, OutputTokens: out, Blocks: hashes(shared, prompt, uint64(i+1), profile.BlockSize),
			}})
		}
		if warm {
			// The published server had already processed these prompts: each further request costs it 5 ms, but 500 tokens would
			// cost 75. All except about two blocks of each prompt are cached.
			for _, c := range calls {
				seen := *c
				seen.OutputTokens = 1
				require.NoError(t, seen.generate(t.Context(), d))
				c.Blocks = c.Blocks[:len(c.Blocks)-2]
			}
		}
		began := time.Now()
		var all sync.WaitGroup
		for i, c := range calls {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond) // a fixed order of arrival makes runs equal
				assert.NoError(t, c.generate(t.Context(), d))
			})
		}
		all.Wait()
		wall = time.Since(began)
	})
	return calls, wall
}

func measured(calls []*call) (p50, hit float64) {
	var ttfts []time.Duration
	cached, prompt := 0, 0
	for _, c := range calls {
		ttfts = append(ttfts, c.ttft)
		cached += c.cached
		prompt += c.PromptTokens
	}
	return quantile(ttfts, 0.5).Seconds(), float64(cached) / float64(prompt)
}

func TestCalibrationOfTheA10G(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	fmt.Fprintf(&table, "%5s | %28s | %28s | %s\n", "", "without a cache", "with a warm cache", "hit rate")
	fmt.Fprintf(&table, "%5s | %13s %14s | %13s %14s |\n", "N", "wall pub/sim", "TTFT pub/sim", "wall pub/sim", "TTFT pub/sim")
	for _, row := range published {
		cold, coldWall := batchOf(t, row.n, false)
		warm, warmWall := batchOf(t, row.n, true)
		coldP50, _ := measured(cold)
		warmP50, hit := measured(warm)
		fmt.Fprintf(&table, "%5d | %6.2f %6.2f %7.2f %6.2f | %6.2f %6.2f %7.3f %6.3f | %.2f %.2f\n", row.n,
			row.wallCold, coldWall.Seconds(), row.ttftCold, coldP50, row.wallWarm, warmWall.Seconds(), row.ttftWarm, warmP50, row.hit, hit)
		assert.InEpsilonf(t, row.ttftCold, coldP50, 0.25, "P50 TTFT without a cache, N=%d", row.n)
		assert.InEpsilonf(t, row.ttftWarm, warmP50, 0.25, "P50 TTFT with a cache, N=%d", row.n)
		if row.n >= 20 { // the readings at 5 and 10 include earlier work of the server
			assert.InDeltaf(t, row.hit, hit, 0.05, "hit rate, N=%d", row.n)
		}
	}
	t.Log("published / simulated\n" + table.String())
}
