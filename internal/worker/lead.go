package worker

import (
	"sync/atomic"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
)

// lead learns how many bytes of preloaded results the prompts of a batch begin with. Nil is empty. Safe for concurrent use.
type lead struct {
	calls  int  // of one job
	shared bool // the calls are the same for every job

	sum, n atomic.Int64
}

func newLead(compiled *spec.Compiled) *lead {
	l := &lead{calls: len(compiled.Preload), shared: true}
	for i := range compiled.Preload {
		l.shared = l.shared && !compiled.Preload[i].Varies()
	}
	return l
}

// sent records the lead of a request.
func (l *lead) sent(r *backend.Request) {
	if l == nil || l.calls == 0 {
		return
	}
	bytes := 0
	for _, m := range r.Messages {
		bytes += m.Lead
	}
	l.sum.Add(int64(bytes))
	l.n.Add(1)
}

// average returns the average length, or an assumption before the first request.
func (l *lead) average() int {
	n := l.n.Load()
	if n == 0 {
		return l.calls * spec.AssumedResult
	}
	return int(l.sum.Load() / n)
}

// each returns the average length of one call's result.
func (l *lead) each() int {
	if l == nil || l.calls == 0 {
		return 0
	}
	return l.average() / l.calls
}

// prefix returns the part that belongs to the prefix of all jobs.
func (l *lead) prefix() int {
	if l == nil || !l.shared {
		return 0
	}
	return l.average()
}

// own returns the part that may differ between jobs. Jobs with equal calls share it.
func (l *lead) own() int {
	if l == nil || l.shared {
		return 0
	}
	return l.average()
}
