package worker

import (
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
)

// counting is a model around another one that can count.
type counting struct {
	agent.Model
	backend.TokenCounter
}

// keepCounting gives outer, which makes its calls through inner, inner's ability to count.
func keepCounting(outer, inner agent.Model) agent.Model {
	if c, ok := inner.(backend.TokenCounter); ok {
		return counting{outer, c}
	}
	return outer
}
