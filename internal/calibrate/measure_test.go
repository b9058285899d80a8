package calibrate

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// modelled is a server simulated by an engine model, in the bubble's time.
type modelled struct {
	driver *batching.Driver
	caps   backend.Capabilities
	load   backend.Load
	fail   error
	calls  atomic.Int64
}

func newModelled(t *testing.T, profile string) *modelled {
	t.Helper()
	p, err := batching.LookupProfile(profile)
	require.NoError(t, err)
	d, err := batching.NewDriver(batching.DriverConfig{Profile: p})
	require.NoError(t, err)
	return &modelled{driver: d}
}

func (m *modelled) Capabilities() backend.Capabilities { return m.caps }

func (m *modelled) Load(context.Context) (backend.Load, error) { return m.load, nil }

func (m *modelled) Generate(ctx context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	const prompt = promptWords + 20
	if m.calls.Add(1) > 8 && m.fail != nil {
		return nil, m.fail
	}
	began := time.Now()
	run, err := m.driver.Admit(batching.Request{PromptTokens: prompt, OutputTokens: r.Sampling.MaxTokens})
	if err != nil {
		return nil, err
	}
	resp := &backend.Response{Usage: backend.Usage{PromptTokens: prompt, CompletionTokens: int64(r.Sampling.MaxTokens)}}
	err = run.Wait(ctx, 0, func(now batching.Progress) error {
		if resp.TTFT == 0 && now.Generated > 0 {
			resp.TTFT = time.Since(began)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp.Duration = time.Since(began)
	return resp, nil
}

// The level that the ramp finds lies in the flat part of a sweep over all numbers, and not far above the start of that part.
func TestMeasureFindsFlatPartOfEngine(t *testing.T) {
	t.Parallel()
	for _, profile := range batching.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newModelled(t, profile)
				levels, err := Measure(t.Context(), server, Limits{}, func(l Level) { t.Logf("%3d: %6.0f tokens/s, TTFT %s", l.Inflight, l.Goodput, l.TTFT) })
				require.NoError(t, err)
				found := Best(Server{}, levels, time.Now()).MaxInflight

				m := measurement{server: server, limits: Limits{Level: time.Hour}.withDefaults()}
				at := map[int]float64{}
				highest := 0.0
				for _, n := range []int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256} {
					l, err := m.level(t.Context(), n)
					require.NoError(t, err)
					if l.TTFT <= scheduler.RampTTFT {
						highest = max(highest, l.Goodput)
					}
					at[n] = l.Goodput
				}
				t.Logf("found %d of %v", found, at)
				assert.GreaterOrEqual(t, at[found], (1-scheduler.RampGain-scheduler.RampSlack)*highest, "%d calls in flight", found)
				assert.Less(t, at[found/4], 0.9*highest, "a quarter of the calls is too few")
			})
		})
	}
}

func TestMeasureRefusesServers(t *testing.T) {
	t.Parallel()
	broken := errors.New("out of memory")
	for name, c := range map[string]struct {
		change func(*modelled)
		want   error
		calls  int64
	}{
		"a provider's account": {func(m *modelled) { m.caps.StartConcurrent = 1 }, ErrPaid, 0},
		"a busy server":        {func(m *modelled) { m.load.Running = 3 }, ErrBusy, 0},
		"calls fail":           {func(m *modelled) { m.fail = broken }, broken, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newModelled(t, "a10g-7b")
				c.change(server)
				_, err := Measure(t.Context(), server, Limits{}, func(Level) {})
				require.ErrorIs(t, err, c.want)
				assert.LessOrEqual(t, server.calls.Load(), c.calls)
			})
		})
	}
}

func TestMeasureObeysLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		levels int
	}{
		"calls in flight": {Limits{Most: 2}, 2},
		"tokens":          {Limits{Tokens: 1}, 1},
		"time":            {Limits{Total: time.Second}, 1},
		"time of a level": {Limits{Level: 5 * time.Second}, 4}, // the calls of a fifth level end no second round in it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				levels, err := Measure(t.Context(), newModelled(t, "a10g-7b"), c.limits, func(Level) {})
				require.NoError(t, err)
				assert.Len(t, levels, c.levels)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := Measure(t.Context(), newModelled(t, "a10g-7b"), Limits{Level: time.Second}, func(Level) {})
		require.ErrorIs(t, err, errTooSlow)
	})
}
