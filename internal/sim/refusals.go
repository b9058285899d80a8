package sim

import (
	"math/rand/v2"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
)

// refusal is a period in which every model server refuses all calls, with an error that a single bad request may also get. No job
// may fail because of it.
type refusal struct {
	from, to time.Duration
	class    backend.Class
}

// refusals lists the error classes that fail a job when they occur twice.
var refusals = []backend.Class{backend.InvalidRequest, backend.Auth, backend.QuotaExhausted, backend.UnknownModel}

// drawRefusals draws the refusals of a run. All end before calmAt.
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

// refused returns the error of a refusal that is active now, or nil.
func (w *world) refused() *backend.Error {
	for _, o := range w.cfg.refusals {
		if now := w.now(); now >= o.from && now < o.to {
			return &backend.Error{Class: o.class, Status: 400, Message: "refused"}
		}
	}
	return nil
}

// Judges lists deliberately broken judges of failed calls. Each fails jobs during a refusal, and the simulation must catch it.
var Judges = map[string]func(agent.Endpoint) agent.Endpoint{
	"every failure counts": func(e agent.Endpoint) agent.Endpoint { return hasty{e} },
	"old answers count":    func(e agent.Endpoint) agent.Endpoint { return forgiving{e} },
}

// hasty blames the job for every failure.
type hasty struct{ agent.Endpoint }

// Answered implements [agent.Endpoint].
func (hasty) Answered(_, _ string) (time.Time, bool) { return time.Now().Add(time.Hour), true }

// Doubtful implements [agent.Endpoint].
func (hasty) Doubtful(string, *backend.Error) bool { return false }

// forgiving treats an answer of any time as one after the failure.
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
