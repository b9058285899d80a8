package agent

import (
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// awaitTwin takes the result of a twin, if the batch runs only one of several twins. A job with a journal continues: its turns
// are paid for. The time limit does not include the wait.
func (a *attempt) awaitTwin(s *scope, payload spec.Payload) error {
	mayHave := payload.Twin || payload.Item != nil
	if a.session.Twins == nil || !a.def.once || !mayHave || a.fingerprint == "" || a.reused != nil || len(a.job.Turns) > 0 {
		return nil
	}
	resume := s.clock.Stop()
	r, err := a.session.Twins.AwaitTwin(s.pause, a.fingerprint)
	resume()
	if err != nil {
		return s.ended(err)
	}
	if a.usable(r) {
		a.reused = r
	}
	return nil
}

// usable reports whether an earlier result answers this job.
func (a *attempt) usable(r *spec.Reuse) bool {
	return r != nil && r.Fingerprint == a.fingerprint && r.Simulated == a.def.simulated && a.def.passes(r.Output) == nil
}

// runsOnce reports whether one of several twins runs: the spec sets identical, and equal calls of every tool have equal results.
func (d *Definition) runsOnce(compiled *spec.Compiled) bool {
	once := compiled.Identical == spec.IdenticalOnce
	for _, calls := range []map[string]toolpool.Call{d.calls, d.preloads} {
		for name, c := range calls {
			once = once && compiled.CheckOnce(name, string(c.Share)) == nil
		}
	}
	return once
}
