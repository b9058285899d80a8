package vllm

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Load reads the server's metrics. Of several engines behind one server the counts are added, and the fullest one's
// KV usage is taken.
func (b *Backend) Load(ctx context.Context) (backend.Load, error) {
	page, err := b.Fetch(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return backend.Load{}, err
	}
	load, err := parseLoad(page)
	if err != nil {
		return backend.Load{}, fmt.Errorf("read metrics of %s: %w", b.Endpoint(), err)
	}
	return load, nil
}

// parseLoad reads a page of metrics. A name in a list stands only where the ones before it are missing.
func parseLoad(page []byte) (backend.Load, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return backend.Load{}, err
	}
	m := metrics(families)
	return backend.Load{
		Running: int(m.sum("vllm:num_requests_running")),
		Waiting: int(m.sum("vllm:num_requests_waiting")),
		// gpu_cache_usage_perc is the name before 0.9. The old gpu_prefix_cache_* are left out: they count blocks.
		KVUsage:          m.highest("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
		KVCapacityTokens: m.capacity(),
		PromptTokens:     int64(m.sum("vllm:prompt_tokens_total")),
		CachedTokens:     int64(m.sum("vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total")),
		GeneratedTokens:  int64(m.sum("vllm:generation_tokens_total")),
		Preemptions:      int64(m.sum("vllm:num_preemptions_total")),
	}, nil
}

type metrics map[string]*dto.MetricFamily

// samples returns the samples of the first name that is there.
func (m metrics) samples(names []string) []*dto.Metric {
	for _, name := range names {
		if f := m[name]; f != nil && len(f.GetMetric()) > 0 {
			return f.GetMetric()
		}
	}
	return nil
}

// sum adds a metric's samples; -1 if there are none.
func (m metrics) sum(names ...string) float64 {
	samples := m.samples(names)
	if samples == nil {
		return -1
	}
	total := 0.0
	for _, s := range samples {
		total += value(s)
	}
	return total
}

// highest returns the highest of a metric's samples; -1 if there are none.
func (m metrics) highest(names ...string) float64 {
	top := -1.0
	for _, s := range m.samples(names) {
		top = max(top, value(s))
	}
	return top
}

// capacity adds up the KV cache of all engines in tokens; -1 if a server does not tell. The blocks are the second
// choice, because engines with several kinds of cache hold fewer tokens than they suggest.
func (m metrics) capacity() int {
	total := 0
	for _, s := range m.samples([]string{"vllm:cache_config_info"}) {
		if tokens := label(s, "kv_cache_size_tokens"); tokens > 0 {
			total += tokens
		} else {
			total += label(s, "block_size") * label(s, "num_gpu_blocks")
		}
	}
	if total == 0 {
		return -1
	}
	return total
}

// label reads a label that holds a number; 0 if it does not.
func label(s *dto.Metric, name string) int {
	for _, l := range s.GetLabel() {
		if l.GetName() == name {
			n, _ := strconv.Atoi(l.GetValue())
			return max(n, 0)
		}
	}
	return 0
}

func value(s *dto.Metric) float64 {
	switch {
	case s.GetCounter() != nil:
		return s.GetCounter().GetValue()
	case s.GetGauge() != nil:
		return s.GetGauge().GetValue()
	default:
		return s.GetUntyped().GetValue()
	}
}
