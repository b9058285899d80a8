package worker

import (
	"context"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

type advisorKey struct{}

func withAdvisor(ctx context.Context, a *scheduler.Advisor) context.Context {
	return context.WithValue(ctx, advisorKey{}, a)
}

// advised adds hints to model calls that follow from the calls of the agent's siblings, and learns from the answers.
type advised struct{ agent.Model }

// Generate implements [agent.Model].
func (m advised) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	a, _ := ctx.Value(advisorKey{}).(*scheduler.Advisor)
	if a == nil {
		return m.Model.Generate(ctx, r, o)
	}
	hinted := *r
	hinted.Hints.OutputTokens = a.Advice()
	resp, err := m.Model.Generate(ctx, &hinted, o)
	if err == nil {
		a.Answered(resp.Usage.CompletionTokens)
	}
	return resp, err
}
