package toolpool

import "time"

// Stats are one tool's counters since the pool was created.
//
// Asked counts the calls that named the tool. Of those, SharedProcess joined a running call of this process,
// SharedCluster waited for an execution by another process, and Cached found a stored result, here or in the cluster.
// Failed counts failed results of any cause.
type Stats struct {
	Asked         int64
	Executed      int64 // executions started, retries included
	Retried       int64 // executions that retried a transient failure
	SharedProcess int64
	SharedCluster int64
	Cached        int64
	Failed        int64
	Unshared      int64 // results for this process alone because the cluster was unreachable
	Waiting       int   // executions in the queue of a limit now

	Finished      int64         // executions that have ended
	Seconds       float64       // their total time inside the tool
	P50, P75, P99 time.Duration // of one execution; within 1 %
}

// Stats returns every registered tool's counters by name.
func (p *Pool) Stats() map[string]Stats {
	p.mu.Lock()
	all := make(map[string]Stats, len(p.tools))
	entries := make(map[string]*entry, len(p.tools))
	for name, e := range p.tools {
		all[name], entries[name] = e.stats, e
	}
	p.mu.Unlock()
	for name, e := range entries {
		s := all[name]
		s.P50, s.P75, s.P99 = e.latency.quantiles()
		if e.gate != nil {
			s.Waiting = e.gate.waiting()
		}
		all[name] = s
	}
	return all
}

// Durations calls yield with the durations of a tool's executions, within 1 % and the shortest first, and the number of executions of
// each. It does not for an unknown tool.
func (p *Pool) Durations(name string, yield func(d time.Duration, count float64)) {
	p.mu.Lock()
	e := p.tools[name]
	p.mu.Unlock()
	if e != nil {
		e.latency.each(yield)
	}
}

// Away reports whether the cluster is unreachable, so that calls are shared within this process only. It is false for
// a pool without a cluster.
func (p *Pool) Away() bool { return p.cluster != nil && p.cluster.Away() }

func (p *Pool) count(e *entry, change func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&e.stats)
}
