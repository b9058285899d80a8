package sim

import (
	"context"
	"encoding/json"

	"github.com/batchagent/batchagent/pkg/spec"
)

// plan is the compiled spec of the batch.
func (c Config) plan() ([]byte, error) {
	return json.Marshal(spec.Plan{
		Name: "sim", System: "You are probed.", Task: "Look at {n}.", Tools: []string{"probe"},
		MaxTurns: c.turns + 1, MaxRetries: 3, MaxAttempts: c.maxAttempts, TTL: c.ttl,
	})
}

func (w *world) runFull(ctx context.Context, p *process, drain <-chan struct{}) error { return nil }
