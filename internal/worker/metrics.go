package worker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// metrics are a worker's Prometheus metrics. docs/metrics.md lists them.
type metrics struct {
	jobs       *prometheus.CounterVec // status
	turns      prometheus.Counter
	tokens     *prometheus.CounterVec // kind
	tools      *prometheus.CounterVec // kind
	claims     prometheus.Counter
	fences     prometheus.Counter
	agentState *prometheus.GaugeVec // state
}

func newMetrics() *metrics {
	return &metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "batchagent_jobs_finished_total", Help: "Results that this worker committed, by status."}, []string{"status"}),
		turns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "batchagent_turns_total", Help: "Turns of the jobs that this worker committed."}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "batchagent_tokens_total", Help: "Tokens of the jobs that this worker committed, by kind; cached is part of prompt."}, []string{"kind"}),
		tools: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "batchagent_tool_calls_total", Help: "Tool calls of the jobs that this worker committed, asked and executed."}, []string{"kind"}),
		claims: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "batchagent_jobs_claimed_total", Help: "Jobs that this worker leased."}),
		fences: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "batchagent_leases_fenced_total", Help: "Leases that this worker lost to another one."}),
		agentState: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "batchagent_agents", Help: "Live agents, by state."}, []string{"state"}),
	}
}

// register registers the worker's metrics.
func (w *Worker) register(reg prometheus.Registerer) {
	m, server := w.shared.metrics, w.shared.server
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	reg.MustRegister(toolMetrics{w.cfg.Tools}, pauseMetrics{w}, m.jobs, m.turns, m.tokens, m.tools, m.claims, m.fences, m.agentState,
		gauge("batchagent_slots", "Model requests that may be in flight.", func() float64 { return float64(server.slots.Capacity()) }),
		gauge("batchagent_slots_in_use", "Model requests in flight.", func() float64 { return float64(server.slots.InUse()) }),
		gauge("batchagent_slot_queue", "Agents waiting for a slot.", func() float64 { return float64(server.slots.Waiting()) }),
		gauge("batchagent_live_agents", "Jobs whose lease this worker holds.", func() float64 { return float64(w.shared.live.count()) }),
		gauge("batchagent_kv_capacity_tokens", "Tokens that the server's KV cache holds, as far as is known; 0 if it does not say.", func() float64 { return float64(server.kv.state().Budget) }),
		gauge("batchagent_kv_held_tokens", "Tokens that the live agents hold of it, shared prefixes once.", func() float64 { return float64(server.kv.state().Held) }),
		gauge("batchagent_kv_away_agents", "Live agents whose part of the KV cache went to others while they wait for a tool.", func() float64 { return float64(server.kv.state().Away) }),
		gauge("batchagent_server_queue", "Requests in the server's own queue when it was last read; 0 if it does not say.", func() float64 { return float64(max(server.pressure.queue().Waiting, 0)) }),
		gauge("batchagent_server_full", "1 while no fresh agent starts because the server's own queue is too long.", func() float64 { return oneIf(server.pressure.queue().Full()) }),
		gauge("batchagent_ready", "1 if the backend answers and jobs are claimed.", func() float64 { return oneIf(w.Ready()) }),
	)
}

// pauseMetrics reports why model calls are paused.
type pauseMetrics struct{ worker *Worker }

var pausedDesc = prometheus.NewDesc("batchagent_backend_paused", "1 while no model call of a model starts, by reason; missing while calls start.", []string{"model", "reason"}, nil)

// Describe implements [prometheus.Collector].
func (pauseMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- pausedDesc }

// Collect implements [prometheus.Collector].
func (m pauseMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, p := range m.worker.Pauses() {
		ch <- prometheus.MustNewConstMetric(pausedDesc, prometheus.GaugeValue, 1, p.Model, p.Kind)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (m *metrics) claimed(n int) { m.claims.Add(float64(n)) }

func (m *metrics) fenced() { m.fences.Inc() }

// moved counts an agent's change of state.
func (m *metrics) moved(from, to batch.State) {
	if from.Leased() {
		m.agentState.WithLabelValues(string(from)).Dec()
	}
	if to.Leased() {
		m.agentState.WithLabelValues(string(to)).Inc()
	}
}

func (m *metrics) ended(r batch.Result, o statestore.FinishOutcome) {
	if o == statestore.Fenced {
		m.fences.Inc()
	}
	if o != statestore.Committed {
		return
	}
	m.jobs.WithLabelValues(string(r.Status)).Inc()
	m.turns.Add(float64(r.Turns))
	m.tokens.WithLabelValues("prompt").Add(float64(r.Usage.PromptTokens))
	m.tokens.WithLabelValues("cached").Add(float64(r.Usage.CachedTokens))
	m.tokens.WithLabelValues("completion").Add(float64(r.Usage.CompletionTokens))
	m.tokens.WithLabelValues("context").Add(float64(r.Usage.ContextTokens))
	m.tools.WithLabelValues("asked").Add(float64(r.Tools.Asked))
	m.tools.WithLabelValues("executed").Add(float64(r.Tools.Executed))
}
