package scheduler

import "sync"

// Advisor predicts the length of an agent's next answer from the answers of the batch's other agents. Safe for concurrent use. The
// zero value is ready and predicts nothing.
type Advisor struct {
	mu      sync.Mutex
	answers int   // guarded by mu
	tokens  int64 // guarded by mu; of all answers
}

// Answered records the length of an answer in tokens.
func (a *Advisor) Answered(tokens int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers++
	a.tokens += tokens
}

// Advice returns the expected length of an answer in tokens; 0 while it is unknown.
func (a *Advisor) Advice() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answers == 0 {
		return 0
	}
	return int((a.tokens + int64(a.answers)/2) / int64(a.answers))
}
