package worker

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Programs runs the programs of jobs. internal/programs implements it.
type Programs interface {
	// Names lists the programs that specs can name.
	Names() []string
	// Runs returns why it cannot run the agent of a spec, or nil.
	Runs(a *spec.Agent) error
	// Run runs the program of one job; see [agent.Program].
	Run(ctx context.Context, job batch.Job, model string, task agent.ProgramTask, calls *agent.ProgramCalls) (agent.ProgramAnswer, error)
}

// RunProgram implements [agent.Program].
func (s *session) RunProgram(ctx context.Context, task agent.ProgramTask, calls *agent.ProgramCalls) (agent.ProgramAnswer, error) {
	return s.programs.Run(ctx, s.lease.Job, s.batch.model(), task, calls)
}

// talks are the conversations of one program besides its first one, which has the name of the job. Each is an agent of its own in the
// server's KV cache. Safe for concurrent use.
type talks struct {
	mu    sync.Mutex
	known map[string]bool // guarded by mu; by session
}

// meet reports whether a session is new.
func (t *talks) meet(session string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[session] {
		return false
	}
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[session] = true
	return true
}

// all returns the sessions in a fixed order, so that a simulated run can be replayed.
func (t *talks) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.known))
}

// entry returns the name of a call's conversation in the server's KV cache, and counts a new one.
func (s *session) entry(w agent.Wait) string {
	job := s.lease.Job.String()
	if w.Session == "" || w.Session == job || s.batch.reduces != "" {
		return job
	}
	if s.talks.meet(w.Session) {
		s.server.kv.startTalk(s.batch, w.Session)
	}
	return w.Session
}

// paceTalk is [Config.Pace] for a call of one conversation. Those of one program may act at the same instant, too.
func (s *session) paceTalk(talk string) {
	if job := s.lease.Job; talk == "" || talk == job.String() {
		s.pace(job)
	} else {
		s.pace(batch.Job{Batch: batch.ID(talk), Index: job.Index})
	}
}

// leave frees the agent's part of the server's KV cache while it makes no call.
func (s *session) leave() {
	s.server.kv.leave(s.lease.Job.String())
	for _, talk := range s.talks.all() {
		s.server.kv.leave(talk)
	}
}

// closeSessions frees what the server keeps for an agent that has ended.
func (s *session) closeSessions() {
	if s.called.Load() {
		s.server.closeSession(s.lease.Job.String())
	}
	for _, talk := range s.talks.all() {
		s.server.kv.endTalk(talk)
		s.server.closeSession(talk)
	}
}
