package scheduler

import (
	"sync"
	"time"
)

// Advisor foresees, for the agents of one batch, what a server can be told with a call: how long its answer will be, and how soon
// the agent will be back. Both come from the calls and tools of its siblings. Safe for concurrent use; the zero value knows nothing.
type Advisor struct {
	mu      sync.Mutex
	answers int            // guarded by mu
	tokens  int64          // guarded by mu; of all answers
	asked   map[string]int // guarded by mu; turns that ended with calls of a tool, by its name
	final   int            // guarded by mu; answers after which the agent does not come back
}

// Answered notes an answer: its tokens, and the tools that it asks for.
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

// Advice is how many tokens an answer is expected to have, and when the agent is expected back after it: the mean of its tools' P75,
// each as often as it is asked for. Zero stands for what is not known, and for agents that mostly do not come back.
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
