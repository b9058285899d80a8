package endpoint

import "sync"

// maxRefusals bounds what is remembered. An endpoint serves few models.
const maxRefusals = 256

// Refusals remembers what was refused, so that it is tried once and not with every call. The zero value is empty.
type Refusals struct {
	mu   sync.RWMutex
	seen map[[2]string]bool // guarded by mu
}

// Add remembers that a model does not take an ability. It reports whether that is news.
func (r *Refusals) Add(model, ability string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{model, ability}
	if r.seen[key] {
		return false
	}
	if r.seen == nil || len(r.seen) >= maxRefusals {
		r.seen = make(map[[2]string]bool)
	}
	r.seen[key] = true
	return true
}

// Remove forgets that a model does not take an ability.
func (r *Refusals) Remove(model, ability string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, [2]string{model, ability})
}

// Of returns what a model is known not to take. Later refusals do not change it. Nil if there is nothing.
func (r *Refusals) Of(model string) map[string]bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out map[string]bool
	for key := range r.seen {
		if key[0] != model {
			continue
		}
		if out == nil {
			out = make(map[string]bool, len(r.seen))
		}
		out[key[1]] = true
	}
	return out
}

// Has reports whether a model is known not to take an ability.
func (r *Refusals) Has(model, ability string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seen[[2]string{model, ability}]
}
