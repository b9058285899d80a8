package vllmsim

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's counters under vLLM's names, in a separate registry.
type metrics struct {
	handler http.Handler

	promptTokens, cachedTokens, queries, hits, generated prometheus.Counter
	finished                                             map[string]prometheus.Counter
	rejected                                             prometheus.Counter
	firstToken, latency                                  prometheus.Histogram
}

func newMetrics(c Config, current func() load) (*metrics, error) {
	labels := prometheus.Labels{"model_name": c.Model, "engine": "0"}
	reg := prometheus.NewRegistry()
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		m := prometheus.NewCounter(prometheus.CounterOpts{Name: "vllm:" + name, Help: help, ConstLabels: labels})
		all = append(all, m)
		return m
	}
	gauge := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vllm:" + name, Help: help, ConstLabels: labels}, value))
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		m := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vllm:" + name, Help: help, ConstLabels: labels, Buckets: buckets})
		all = append(all, m)
		return m
	}
	gauge("num_requests_running", "Requests in execution batches.", func() float64 { return float64(current().running) })
	gauge("num_requests_waiting", "Requests waiting to be processed.", func() float64 { return float64(current().waiting) })
	gauge("kv_cache_usage_perc", "KV cache usage; 1 is full.", func() float64 { return current().kvUsage })
	m := &metrics{
		promptTokens: counter("prompt_tokens_total", "Prompt tokens processed."),
		cachedTokens: counter("prompt_tokens_cached_total", "Prompt tokens that were cached."),
		queries:      counter("prefix_cache_queries_total", "Tokens looked up in the prefix cache."),
		hits:         counter("prefix_cache_hits_total", "Tokens found in the prefix cache."),
		generated:    counter("generation_tokens_total", "Tokens generated."),
		firstToken: histogram("time_to_first_token_seconds", "Time to first token.",
			[]float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}),
		latency: histogram("e2e_request_latency_seconds", "Time from arrival to the last token.",
			[]float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}),
		finished: map[string]prometheus.Counter{},
	}
	all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "vllm:num_preemptions_total", Help: "Preemptions by the engine.", ConstLabels: labels,
	}, func() float64 { return float64(current().preemptions) }))
	success := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vllm:request_success_total", Help: "Requests processed.", ConstLabels: labels}, []string{"finished_reason"})
	for _, reason := range []string{"stop", "length", "abort", "error", "repetition"} {
		m.finished[reason] = success.WithLabelValues(reason)
	}
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vllm:admission_rejections_total", Help: "Requests refused by a queue limit.",
		ConstLabels: prometheus.Labels{"model_name": c.Model},
	}, []string{"reason"})
	m.rejected = rejected.WithLabelValues("max_num_queued_reqs")
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vllm:cache_config_info", Help: "The cache's configuration, in labels.",
		ConstLabels: prometheus.Labels{
			"engine": "0", "block_size": strconv.Itoa(blockSize), "num_gpu_blocks": strconv.Itoa(c.KVBlocks),
			"kv_cache_size_tokens": strconv.Itoa(c.KVBlocks * blockSize), "enable_prefix_caching": "True",
		},
	})
	info.Set(1)
	for _, collector := range append(all, success, rejected, info) {
		if err := reg.Register(collector); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	return m, nil
}

func (m *metrics) started(u *usage) {
	m.promptTokens.Add(float64(u.prompt))
	m.queries.Add(float64(u.prompt))
	m.hits.Add(float64(u.cached))
	m.cachedTokens.Add(float64(u.cached))
}
