package scheduler

import (
	"sync"
	"time"
)

// Advisor predicts, for the agents of one batch, the two values that a call can pass to a server: the length of the answer, and
// the time until the agent's next call. It derives both from the calls and tools of the batch's other agents. Safe for
// concurrent use. The zero value is ready and predicts nothing.
type Advisor struct {
	mu      sync.Mutex
	answers int            // guarded by mu
	tokens  int64          // guarded by mu; of all answers
	asked   map[string]int // guarded by mu; turns that ended with calls of a tool, by the name of the tool
	final   int            // guarded by mu; last answers of agents
}

// Answered records an answer: its length in tokens, and the names of the tools that it calls.
func (a *Advisor) Answered(tokens int64, tools []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers++
	a.tokens += tokens
	if len(tools) == 0 {
		a.final++
		return
	}
	if a.asked == nil {
		a.asked = map[string]int{}
	}
	for _, name := range tools {
		a.asked[name]++
	}
}

// Advice returns the expected length of an answer in tokens, and the expected time from the answer to the agent's next call.
// That time is the mean of the tools' P75, weighted by how often each tool was called. Each value is 0 while it is unknown. The
// time is also 0 if most answers are the last of their agent.
func (a *Advisor) Advice(p75 func(tool string) time.Duration) (tokens int, back time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answers == 0 {
		return 0, 0
	}
	tokens = int((a.tokens + int64(a.answers)/2) / int64(a.answers))
	if 2*a.final > a.answers {
		return tokens, 0
	}
	var sum, n time.Duration
	for name, times := range a.asked {
		if took := p75(name); took > 0 {
			sum += took * time.Duration(times)
			n += time.Duration(times)
		}
	}
	if n == 0 {
		return tokens, 0
	}
	return tokens, sum / n
}
