package sglang

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// listLife is how long the server's list of models is believed. A server that is restarted with another model would
// answer in the old one's name.
const listLife = 30 * time.Second

// served remembers which models the server lists. The zero value knows none.
type served struct {
	mu     sync.Mutex
	names  []string  // guarded by mu
	at     time.Time // when they were asked for; guarded by mu
	asking bool      // a call asks for them; guarded by mu
}

// find returns the name by which a model is asked for, "" being the first. ask says that the caller has to get the list
// and hand it to asked: the model is not on it, or it is old and nobody else asks.
func (s *served) find(name string) (model string, ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	model, ok := pick(s.names, name)
	if ok && (s.asking || time.Since(s.at) < listLife) {
		return model, false
	}
	s.asking = true
	return "", true
}

// asked takes the list that was asked for.
func (s *served) asked(models []backend.Model, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = false
	if err != nil {
		return
	}
	s.at = time.Now()
	s.names = make([]string, len(models))
	for i, m := range models {
		s.names[i] = m.ID
	}
}

// doubt makes the next call ask again.
func (s *served) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

// pick finds a model among those that are served. "base:adapter" asks for an adapter on a served base.
func pick(names []string, name string) (string, bool) {
	if name == "" {
		if len(names) == 0 {
			return "", false
		}
		return names[0], true
	}
	base, _, _ := strings.Cut(name, ":")
	return name, slices.Contains(names, name) || slices.Contains(names, base)
}

// known checks that the server serves a model, since the server does not, and returns the name to ask for.
func (b *Backend) known(ctx context.Context, name string) (string, error) {
	model, ask := b.served.find(name)
	if !ask {
		return model, nil
	}
	models, err := b.Client.Models(ctx)
	b.served.asked(models, err)
	if err != nil {
		return "", err
	}
	if b.settings.Load() == nil {
		b.learn(ctx)
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.ID
	}
	model, ok := pick(names, name)
	if len(names) == 0 && name != "" {
		return name, nil // the server lists none
	}
	if !ok {
		return "", &backend.Error{Class: backend.UnknownModel, Endpoint: b.Endpoint(),
			Message: endpoint.OneLine(fmt.Sprintf("the server does not serve %q, but %q", name, names))}
	}
	return model, nil
}
