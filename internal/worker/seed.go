package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// seeds returns the batch's seeding. It returns nil where seeding gains nothing: the prefix is short, the server has no
// prefix cache, or the server shares a prefix that it is still computing.
func seeds(c backend.Capabilities, prefixBytes int) *scheduler.Seeding {
	if !c.PrefixCache || !c.PrefixLate || !scheduler.WorthSeeding(prefixBytes) {
		return nil
	}
	return &scheduler.Seeding{}
}

type seedingKey struct{}

func withSeeding(ctx context.Context, s *scheduler.Seeding) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, seedingKey{}, s)
}

// seeded makes model calls and reports to the batch's seeding when an answer begins.
type seeded struct {
	agent.Model
	wake func() // called when other agents may start
}

// Generate implements [agent.Model].
func (m seeded) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	s, _ := ctx.Value(seedingKey{}).(*scheduler.Seeding)
	if s == nil {
		return m.Model.Generate(ctx, r, o)
	}
	next := o.FirstToken
	o.FirstToken = func() {
		m.begun(s)
		if next != nil {
			next()
		}
	}
	resp, err := m.Model.Generate(ctx, r, o)
	if err == nil {
		m.begun(s) // an answer may have no tokens
	}
	return resp, err
}

func (m seeded) begun(s *scheduler.Seeding) {
	if s.Begun(time.Now()) {
		m.wake()
	}
}
