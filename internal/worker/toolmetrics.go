package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// toolMetrics exports a pool's counters to Prometheus.
type toolMetrics struct{ pool *toolpool.Pool }

var (
	toolCalls = prometheus.NewDesc("batchagent_tool_answers_total",
		"Calls of each tool, by what became of them.", []string{"tool", "kind"}, nil)
	toolSeconds = prometheus.NewDesc("batchagent_tool_seconds",
		"Time inside each tool, per execution, since the worker started.", []string{"tool"}, nil)
	toolWaiting = prometheus.NewDesc("batchagent_tool_queue",
		"Executions that wait for a limit of their tool.", []string{"tool"}, nil)
	toolsAlone = prometheus.NewDesc("batchagent_tools_alone",
		"1 while Redis is away, so that tool calls are shared within this worker only.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (toolMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{toolCalls, toolSeconds, toolWaiting, toolsAlone} {
		c <- d
	}
}

// Collect implements [prometheus.Collector].
func (m toolMetrics) Collect(c chan<- prometheus.Metric) {
	for tool, s := range m.pool.Stats() {
		for kind, n := range map[string]int64{
			"asked": s.Asked, "executed": s.Executed, "retried": s.Retried, "shared_process": s.SharedProcess,
			"shared_cluster": s.SharedCluster, "cached": s.Cached, "failed": s.Failed, "unshared": s.Unshared,
		} {
			c <- prometheus.MustNewConstMetric(toolCalls, prometheus.CounterValue, float64(n), tool, kind)
		}
		c <- prometheus.MustNewConstMetric(toolWaiting, prometheus.GaugeValue, float64(s.Waiting), tool)
		quantiles := map[float64]float64{}
		for q, d := range map[float64]time.Duration{0.5: s.P50, 0.75: s.P75, 0.99: s.P99} {
			quantiles[q] = d.Seconds()
		}
		c <- prometheus.MustNewConstSummary(toolSeconds, uint64(s.Finished), s.Seconds, quantiles, tool)
	}
	c <- prometheus.MustNewConstMetric(toolsAlone, prometheus.GaugeValue, oneIf(m.pool.Away()))
}

// toolUse returns the pool's counters by tool, for the worker's record.
func toolUse(p *toolpool.Pool) map[string]batch.ToolUse {
	out := map[string]batch.ToolUse{}
	for tool, s := range p.Stats() {
		if s.Asked > 0 {
			out[tool] = batch.ToolUse{
				Asked: s.Asked, Executed: s.Executed, Shared: s.SharedProcess + s.SharedCluster, Cached: s.Cached, Failed: s.Failed,
				Finished: s.Finished, Seconds: s.Seconds,
			}
		}
	}
	return out
}
