package endpoint

import "sync"

// maxRefusals limits the remembered refusals. An endpoint serves few models.
const maxRefusals = 256

// Refusals remembers refused abilities, so that they are tried once and not with every call. The zero value is empty.
type Refusals struct {
	mu   sync.RWMutex
	seen map[[2]string]bool // guarded by mu
}

// Add records that a model refuses an ability. It returns false if that was already recorded.
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

// Remove deletes the record that a model refuses an ability.
func (r *Refusals) Remove(model, ability string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen, [2]string{model, ability})
}

// Of returns the abilities that a model refuses. Later changes do not affect the returned map. Nil if it is empty.
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

// Has reports whether a model is recorded to refuse an ability.
func (r *Refusals) Has(model, ability string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seen[[2]string{model, ability}]
}
