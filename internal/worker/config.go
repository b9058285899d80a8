package worker

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Config configures a worker. ID, Store, Backend and Tools are required. The caller closes Store, Backend and Tools
// after Run.
type Config struct {
	ID      string // shown to users and in every result
	Store   *statestore.Store
	Backend backend.Backend
	Tools   *toolpool.Pool
	// Programs runs the programs of jobs. The caller closes it after Run. Nil runs none.
	Programs Programs

	Slots        int                   // model requests in flight. Defaults to the backend's MaxConcurrent, or 64.
	Peers        int                   // workers of this process at the same server, this one included. Each gets a part of the KV cache. Defaults to 1.
	MaxAgents    int                   // live agents, including those that wait for tools. Defaults to 4 x Slots.
	Lease        time.Duration         // the same for all workers of a cluster. Defaults to 15 s.
	DrainTimeout time.Duration         // how long a drain waits for agents to reach a turn boundary. Defaults to 30 s.
	Logger       *slog.Logger          // Defaults to none.
	Metrics      prometheus.Registerer // Defaults to none.
	Tracer       trace.Tracer          // made by internal/tracing, so that all attempts at a job share one trace. Defaults to none.
	Consumer     string                // unique for every start of a process. Defaults to ID and a random part.

	// Check returns an error for an output that matches its schema but cannot be used. The model then gets a repair turn.
	// It is called concurrently. Nil accepts all outputs.
	Check func(id batch.ID, output json.RawMessage) error

	// Pace is called wherever the agents of a worker would act at the same instant: when they begin, when the backend came
	// back, when they end. A simulation waits in it, so that no two agents act at the same instant and a run can be
	// replayed. Nil does not wait.
	Pace func(job batch.Job)
	// Judge replaces the judge of failed model calls, so that a simulation can try faulty ones. Nil changes nothing.
	Judge func(agent.Endpoint) agent.Endpoint
	// Jitter replaces the random source of the agents' waits, numbers in [0,1), so that a run can be replayed. Nil uses
	// math/rand.
	Jitter func() float64
}

func (c Config) withDefaults() (Config, error) {
	var missing []string
	for name, ok := range map[string]bool{
		"ID": c.ID != "", "Store": c.Store != nil, "Backend": c.Backend != nil, "Tools": c.Tools != nil,
	} {
		if !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return c, fmt.Errorf("worker config: %s must be set", strings.Join(missing, ", "))
	}
	if c.Slots <= 0 {
		c.Slots = c.Backend.Capabilities().MaxConcurrent
	}
	if c.Slots <= 0 {
		c.Slots = 64
	}
	if c.MaxAgents <= 0 {
		c.MaxAgents = 4 * c.Slots
	}
	if c.Lease <= 0 {
		c.Lease = 15 * time.Second
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = mathrand.Float64
	}
	if c.Pace == nil {
		c.Pace = func(batch.Job) {}
	}
	if c.Consumer == "" {
		c.Consumer = c.ID + "-" + strings.ToLower(rand.Text()[:10])
	}
	return c, nil
}
