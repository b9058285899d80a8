package sim

import (
	"math/rand/v2"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
)

// refusal is a time in which every model server refuses all calls with an error that a single bad request may get, too. No job may fail
// because of it.
type refusal struct {
	from, to time.Duration
	class    backend.Class
}

// refusals are the classes of errors of which a job fails at its second one.
var refusals = []backend.Class{backend.InvalidRequest, backend.Auth, backend.QuotaExhausted, backend.UnknownModel}

// drawRefusals draws the outages of a run. They end when faults do.
func drawRefusals(r *rand.Rand, c Config) []refusal {
	if !likely(r, 0.4) {
		return nil
	}
	var out []refusal
	for range 1 + r.IntN(3) {
		from := between(r, 0, c.calmAt)
		out = append(out, refusal{from, min(from+between(r, 100*time.Millisecond, 4*c.lease), c.calmAt), refusals[r.IntN(len(refusals))]})
	}
	return out
}

// refused returns the error with which a call fails now, if an outage is under way.
func (w *world) refused() *backend.Error {
	for _, o := range w.cfg.refusals {
		if now := w.now(); now >= o.from && now < o.to {
			return &backend.Error{Class: o.class, Status: 400, Message: "refused"}
		}
	}
	return nil
}

// Judges lists broken judges of failed calls. Each fails jobs during an outage, and the simulation must notice.
var Judges = map[string]func(agent.Endpoint) agent.Endpoint{
	"every failure counts":             func(e agent.Endpoint) agent.Endpoint { return hasty{e} },
	"answers before the failure count": func(e agent.Endpoint) agent.Endpoint { return forgiving{e} },
}

// hasty takes every failure for the job's own.
type hasty struct{ agent.Endpoint }

// Answered implements [agent.Endpoint].
func (hasty) Answered(_, _ string) (time.Time, bool) { return time.Now().Add(time.Hour), true }

// Doubtful implements [agent.Endpoint].
func (hasty) Doubtful(string, *backend.Error) bool { return false }

// forgiving takes an answer of any time for one that came since the failure.
type forgiving struct{ agent.Endpoint }

// Answered implements [agent.Endpoint].
func (f forgiving) Answered(model, job string) (time.Time, bool) {
	at, proven := f.Endpoint.Answered(model, job)
	if at.IsZero() {
		return at, proven
	}
	return at.Add(time.Hour), proven
}

// Doubtful implements [agent.Endpoint].
func (forgiving) Doubtful(string, *backend.Error) bool { return false }
