package sglang

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/scrape"
)

// unknown is a load without any known value.
var unknown = backend.Load{
	Running: -1, Waiting: -1, KVUsage: -1, KVCapacityTokens: -1, Preemptions: -1,
}

// Load reads the server's metrics, and the size of the KV cache from its settings. Without metrics it returns that size only.
func (b *Backend) Load(ctx context.Context) (backend.Load, error) {
	load := unknown
	page, err := b.Fetch(ctx, http.MethodGet, "/metrics", nil)
	e, refused := errors.AsType[*backend.Error](err)
	switch {
	case refused && e.Status == http.StatusNotFound:
		if b.blind.CompareAndSwap(false, true) {
			b.log.Warn("the server has no metrics, so its load is not known; start SGLang with --enable-metrics", "endpoint", b.Endpoint())
		}
	case err != nil:
		return backend.Load{}, err
	default:
		if load, err = parseLoad(page); err != nil {
			return backend.Load{}, fmt.Errorf("read metrics of %s: %w", b.Endpoint(), err)
		}
	}
	s := b.settings.Load()
	if s == nil {
		learnt := b.learn(ctx)
		s = &learnt
	}
	if s.KVTokens > 0 {
		load.KVCapacityTokens = s.KVTokens
	}
	return load, nil
}

// generating are the routes whose requests count as load.
var generating = map[string]bool{"/v1/chat/completions": true, "/v1/messages": true, "/v1/completions": true}

// parseLoad reads a page of metrics.
//
// The scheduler's gauges become stale: they change at a prefill and every 40 decode steps. The count of HTTP requests
// is current. It limits the number of waiting requests; the others are running. A counter appears with its first event,
// so a missing counter on a page of this server is 0.
func parseLoad(page []byte) (backend.Load, error) {
	m, err := scrape.Parse(page)
	if err != nil {
		return backend.Load{}, err
	}
	missing := 0.0
	if m["sglang:num_running_reqs"] == nil && m["sglang:http_requests_active"] == nil && m["sglang:max_total_num_tokens"] == nil {
		missing = -1
	}
	load := backend.Load{
		Running:          int(scrape.Sum(total(m, "sglang:num_running_reqs"))),
		Waiting:          int(scrape.Sum(total(m, "sglang:num_queue_reqs"))),
		KVUsage:          scrape.Highest(total(m, "sglang:token_usage")),
		KVCapacityTokens: int(scrape.Highest(total(m, "sglang:max_total_num_tokens"))),
		Preemptions:      int64(max(m.Sum("sglang:num_retracted_requests_total"), missing)),
	}
	if active := active(m); active >= 0 {
		load.Waiting = min(max(load.Waiting, 0), active)
		load.Running = active - load.Waiting
	}
	return load, nil
}

// total returns a gauge's samples without those that other samples include. With priority scheduling, priority="" is
// the total of the priorities. Each rank of tensor parallelism repeats the values of rank 0.
func total(m scrape.Page, name string) []scrape.Sample {
	var out []scrape.Sample
	for _, s := range m.Samples(name) {
		priority, _ := s.Label("priority")
		if rank, ok := s.Label("tp_rank"); priority == "" && (!ok || rank == "0") {
			out = append(out, s)
		}
	}
	return out
}

// active returns the number of unanswered requests; -1 if the metric is missing.
func active(m scrape.Page) int {
	samples := m.Samples("sglang:http_requests_active")
	if samples == nil {
		return -1
	}
	n := 0.0
	for _, s := range samples {
		method, _ := s.Label("method")
		if route, _ := s.Label("endpoint"); method == http.MethodPost && generating[route] {
			n += s.Value()
		}
	}
	return int(n)
}
