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

// listLife is how long the server's list of models is valid. A server that restarted with another model would answer
// under the old model's name.
const listLife = 30 * time.Second

// served caches the server's list of models. The zero value is empty.
type served struct {
	mu     sync.Mutex
	names  []string  // guarded by mu
	at     time.Time // when they were listed; guarded by mu
	asking bool      // a call is reading the list; guarded by mu
}

// find returns the name to send for a model; "" means the first model. If ask is true, the caller must read the list
// and pass it to asked: the model is missing, or the list is old and no other caller is reading it.
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

// asked stores the result of reading the list.
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

// doubt makes the next call read the list again.
func (s *served) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

// pick finds a model in the list. "base:adapter" means an adapter on a served base.
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

// known checks that the server serves a model, because the server itself does not check it, and returns the name to send.
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
		return name, nil // the server's list is empty
	}
	if !ok {
		return "", &backend.Error{Class: backend.UnknownModel, Endpoint: b.Endpoint(),
			Message: endpoint.OneLine(fmt.Sprintf("the server does not serve %q, but %q", name, names))}
	}
	return model, nil
}
