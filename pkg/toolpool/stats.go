package toolpool

import "time"

// Stats are one tool's counters since the pool was made.
//
// Asked = calls that named the tool. Of those, SharedProcess joined a call of this process that was under way,
// SharedCluster waited for an execution by another process, and Cached were answered with a result that was there, here
// or in the cluster. Failed are the results that told the model of a failure, whatever the cause.
type Stats struct {
	Asked         int64
	Executed      int64 // executions started, repeats included
	Retried       int64 // executions that repeat one whose failure was transient
	SharedProcess int64
	SharedCluster int64
	Cached        int64
	Failed        int64
	Unshared      int64 // results made for this process alone because the cluster was away
	Waiting       int   // executions that wait for a limit now

	Finished      int64         // executions that ended
	Seconds       float64       // inside the tool, over those
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

// P75 is what three of four executions of a tool did not exceed; 0 if none has ended, or there is no such tool.
func (p *Pool) P75(name string) time.Duration {
	p.mu.Lock()
	e := p.tools[name]
	p.mu.Unlock()
	if e == nil {
		return 0
	}
	_, p75, _ := e.latency.quantiles()
	return p75
}

// Away reports whether other processes cannot be reached, so that calls are shared within this one only. It is false
// for a pool that has no cluster.
func (p *Pool) Away() bool { return p.cluster != nil && p.cluster.Away() }

func (p *Pool) count(e *entry, change func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&e.stats)
}
