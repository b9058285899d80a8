package worker

import (
	"context"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// seeds is the batch's seeding, or nil where it would gain nothing: the prefix is short, one agent is as good as another,
// or the server shares a prefix that is still being computed.
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

// seeded makes model calls and tells the agent's batch when an answer begins.
type seeded struct {
	agent.Model
	wake func() // others may start
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
		m.begun(s) // an answer may have nothing that counts as a token
	}
	return resp, err
}

func (m seeded) begun(s *scheduler.Seeding) {
	if s.Begun(time.Now()) {
		m.wake()
	}
}
