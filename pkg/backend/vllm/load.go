package vllm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/scrape"
)

// Load reads the server's metrics. For several engines behind one server it adds the counts, and uses the KV usage of
// the fullest engine. Without metrics every value is unknown.
func (b *Backend) Load(ctx context.Context) (backend.Load, error) {
	page, err := b.Fetch(ctx, http.MethodGet, "/metrics", nil)
	if e, refused := errors.AsType[*backend.Error](err); refused && e.Status == http.StatusNotFound {
		// A gateway may forward the API only.
		b.tell("metrics", "the server has no metrics, so its load and the size of its KV cache are not known; let the gateway pass on /metrics")
		page, err = nil, nil
	}
	if err != nil {
		return backend.Load{}, err
	}
	load, err := parseLoad(page)
	if err != nil {
		return backend.Load{}, fmt.Errorf("read metrics of %s: %w", b.Endpoint(), err)
	}
	return load, nil
}

// parseLoad reads a page of metrics.
func parseLoad(page []byte) (backend.Load, error) {
	m, err := scrape.Parse(page)
	if err != nil {
		return backend.Load{}, err
	}
	return backend.Load{
		Running: int(m.Sum("vllm:num_requests_running")),
		Waiting: int(m.Sum("vllm:num_requests_waiting")),
		// gpu_cache_usage_perc is the name before 0.9.
		KVUsage:          m.Highest("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
		KVCapacityTokens: capacity(m),
		Preemptions:      int64(m.Sum("vllm:num_preemptions_total")),
		Tier:             m.Sum("vllm:external_prefix_cache_queries_total") > 0, // counts only with a KV connector
	}, nil
}

// capacity returns the KV cache of all engines in tokens; -1 if it is missing. The number of blocks is the second
// choice, because engines with several kinds of cache hold fewer tokens than their blocks suggest.
func capacity(m scrape.Page) int {
	total := 0
	for _, s := range m.Samples("vllm:cache_config_info") {
		if tokens := s.Number("kv_cache_size_tokens"); tokens > 0 {
			total += tokens
		} else {
			total += s.Number("block_size") * s.Number("num_gpu_blocks")
		}
	}
	if total == 0 {
		return -1
	}
	return total
}

// Version returns the server's version, such as "0.32.0".
func (b *Backend) Version(ctx context.Context) (string, error) {
	page, err := b.Fetch(ctx, http.MethodGet, "/version", nil)
	if err != nil {
		return "", err
	}
	var v struct{ Version string }
	if err := json.Unmarshal(page, &v); err != nil {
		return "", fmt.Errorf("read the version of %s: %w", b.Endpoint(), err)
	}
	return v.Version, nil
}
