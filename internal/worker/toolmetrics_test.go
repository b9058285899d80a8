package worker

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
)

// absent is a cluster that can be made unreachable.
type absent struct{ away bool }

func (a *absent) Away() bool { return a.away }
func (a *absent) Join(context.Context, toolpool.Window) (toolpool.Joined, error) {
	if a.away {
		return toolpool.Joined{}, toolpool.ErrAway
	}
	return toolpool.Joined{Outcome: toolpool.Shared{Content: "theirs"}, Waited: true, By: "node-2"}, nil
}
func (a *absent) Take(context.Context, toolpool.Bucket, int) (toolpool.Grant, error) {
	return toolpool.Grant{}, toolpool.ErrAway
}

// /metrics shows the counters of a pool, and also an outage of Redis.
func TestToolMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		redis := &absent{away: true}
		pool, err := toolpool.New(toolpool.Config{Cluster: redis})
		require.NoError(t, err)
		calls := 0
		require.NoError(t, pool.Register(toolpool.Tool{
			Name: "slow", Description: "slow", Parameters: []byte(`{"type":"object"}`), Share: toolpool.Pure,
			Run: func(_ context.Context, args json.RawMessage) (string, error) {
				calls++
				time.Sleep(time.Duration(calls) * time.Second) // 1 s to 100 s
				if calls == 100 {
					return "", errors.New("no")
				}
				return "ours", nil
			},
		}))
		call := func(args string) {
			_, err := pool.Call(t.Context(), toolpool.Call{Name: "slow", Arguments: args, Timeout: time.Hour})
			require.NoError(t, err)
		}
		for i := range 100 {
			args, err := json.Marshal(map[string]int{"n": i})
			require.NoError(t, err)
			call(string(args))
		}
		call(`{"n":0}`)
		reg := prometheus.NewRegistry()
		reg.MustRegister(toolMetrics{pool})
		got := scrape(t, reg)
		assert.Equal(t, 1.0, got["batchagent_tools_alone"])
		for kind, want := range map[string]float64{
			"asked": 101, "executed": 100, "unshared": 100, "cached": 1, "failed": 1, "shared_process": 0, "shared_cluster": 0, "retried": 0,
		} {
			assert.Equal(t, want, got["batchagent_tool_answers_total kind="+kind+" tool=slow"], kind)
		}
		assert.Equal(t, 5050.0, got["batchagent_tool_seconds sum tool=slow"])
		for quantile, want := range map[string]float64{"0.5": 50, "0.75": 75, "0.99": 99} {
			assert.InEpsilon(t, want, got["batchagent_tool_seconds "+quantile+" tool=slow"], 0.03, quantile)
		}

		redis.away = false
		call(`{"new":1}`)
		got = scrape(t, reg)
		assert.Zero(t, got["batchagent_tools_alone"])
		assert.Equal(t, 1.0, got["batchagent_tool_answers_total kind=shared_cluster tool=slow"])
	})
}

// scrape returns a registry's values by name and labels.
func scrape(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += " " + l.GetName() + "=" + l.GetValue()
			}
			switch {
			case m.GetSummary() != nil:
				out[f.GetName()+" sum"+labels] = m.GetSummary().GetSampleSum()
				for _, q := range m.GetSummary().GetQuantile() {
					key, err := json.Marshal(q.GetQuantile())
					require.NoError(t, err)
					out[f.GetName()+" "+string(key)+labels] = q.GetValue()
				}
			case m.GetCounter() != nil:
				out[f.GetName()+labels] = m.GetCounter().GetValue()
			default:
				out[f.GetName()+labels] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}
