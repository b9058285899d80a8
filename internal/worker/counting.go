package worker

import (
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
)

// counting combines a model with the token counter of the model that it wraps.
type counting struct {
	agent.Model
	backend.TokenCounter
}

// keepCounting returns outer, with the token counter of inner if inner has one. outer makes its calls through inner.
func keepCounting(outer, inner agent.Model) agent.Model {
	if c, ok := inner.(backend.TokenCounter); ok {
		return counting{outer, c}
	}
	return outer
}
