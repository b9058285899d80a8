package dynamo

import (
	"context"
	"fmt"
	"net/http"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/scrape"
)

// Load reads the frontend's metrics, which cover all its workers. KV usage is unknown: the frontend's count of blocks is far too low.
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

func parseLoad(page []byte) (backend.Load, error) {
	m, err := scrape.Parse(page)
	if err != nil {
		return backend.Load{}, err
	}
	load := backend.Load{
		Running:          int(m.Sum("dynamo_frontend_active_requests", "dynamo_frontend_inflight_requests")),
		Waiting:          int(m.Sum("dynamo_frontend_router_queue_pending_requests", "dynamo_frontend_queued_requests")),
		KVUsage:          -1,
		KVCapacityTokens: capacity(m),
		Preemptions:      -1,
	}
	if load.Running >= 0 && load.Waiting > 0 { // waiting requests count as active too
		load.Waiting = min(load.Waiting, load.Running)
		load.Running -= load.Waiting
	}
	return load, nil
}

// capacity returns the KV cache, in tokens, of all workers of the model with the largest cache. The metric is per
// worker. -1 if it is missing.
func capacity(m scrape.Page) int {
	workers := map[string]bool{}
	for _, s := range m.Samples("dynamo_frontend_worker_active_decode_blocks") {
		if kind, _ := s.Label("worker_type"); kind == "prefill" {
			continue // other workers hold the blocks that it computes
		}
		worker, _ := s.Label("worker_id")
		workers[worker] = true
	}
	sizes := map[string]float64{}
	for _, s := range m.Samples("dynamo_frontend_model_kv_cache_block_size") {
		model, _ := s.Label("model")
		sizes[model] = s.Value()
	}
	total := -1
	for _, s := range m.Samples("dynamo_frontend_model_total_kv_blocks") {
		model, _ := s.Label("model")
		if tokens := int(s.Value() * sizes[model]); tokens > 0 {
			total = max(total, tokens*max(len(workers), 1))
		}
	}
	return total
}
