package worker

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// liveJobs holds the live sessions: this worker renews their leases. Safe for concurrent use.
type liveJobs struct {
	kv    *admission
	claim signal // sent when a session was removed

	agents sync.WaitGroup // the goroutines of the sessions

	mu    sync.Mutex
	jobs  map[batch.Job]*session // guarded by mu
	ended int                    // guarded by mu; agents
	life  time.Duration          // guarded by mu; how old they became: a mean to which each adds a lifeWeight-th; 0 before the first
}

// lifeWeight is how many agents the mean life consists of.
const lifeWeight = 16

func newLiveJobs(kv *admission, claim signal) *liveJobs {
	return &liveJobs{kv: kv, claim: claim, jobs: map[batch.Job]*session{}}
}

// add makes a session live. It returns the session of an earlier attempt at the same job, or nil.
func (l *liveJobs) add(s *session) (earlier *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	earlier = l.jobs[s.lease.Job]
	l.jobs[s.lease.Job] = s
	return earlier
}

// remove ends the life of a session, unless a later attempt at the same job replaced it.
func (l *liveJobs) remove(s *session) {
	l.mu.Lock()
	if l.jobs[s.lease.Job] == s {
		delete(l.jobs, s.lease.Job)
		l.kv.end(s.lease.Job, false)
		lived := time.Since(s.began)
		if l.ended++; l.ended == 1 {
			l.life = lived
		}
		l.life += (lived - l.life) / lifeWeight
	}
	l.mu.Unlock()
	s.giveUp()
	l.claim.send()
}

// cancel cancels the matching sessions with a cause.
func (l *liveJobs) cancel(cause error, match func(*session) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.jobs {
		if match(s) {
			s.cancel(cause)
		}
	}
}

// cancelBatch cancels the sessions of a batch that was cancelled.
func (l *liveJobs) cancelBatch(id batch.ID) {
	l.cancel(errCancelled, func(s *session) bool { return s.lease.Job.Batch == id })
}

func (l *liveJobs) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.jobs)
}

// ages returns the mean age of the live agents, and the expected life of an agent; 0 before the first one ended. The first agents to end have
// the shortest lives. So the time that the live ones have lived already is added and shared among the ended ones, as in the estimate
// of the mean of exponential lives while some still last.
func (l *liveJobs) ages() (mean, life time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum time.Duration
	for _, s := range l.jobs {
		sum += time.Since(s.began)
	}
	if l.ended > 0 {
		life = l.life + sum/time.Duration(l.ended)
	}
	return sum / time.Duration(max(len(l.jobs), 1)), life
}

// countOf returns the number of live jobs of one batch.
func (l *liveJobs) countOf(id batch.ID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for job := range l.jobs {
		if job.Batch == id {
			n++
		}
	}
	return n
}

// runsAlone reports whether a job that must run alone is live.
func (l *liveJobs) runsAlone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.jobs) != 1 {
		return false // nothing else is admitted beside such a job
	}
	for _, s := range l.jobs {
		return s.alone
	}
	return false
}

// leases returns the leases of the live jobs by batch, in a fixed order.
func (l *liveJobs) leases() map[batch.ID][]batch.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[batch.ID][]batch.Lease)
	for job, s := range l.jobs {
		out[job.Batch] = append(out[job.Batch], s.lease)
	}
	for _, leases := range out {
		slices.SortFunc(leases, func(a, b batch.Lease) int {
			return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Job.Index, b.Job.Index))
		})
	}
	return out
}

// missing returns those of the given leases that no live session has.
func (l *liveJobs) missing(held []batch.Lease) (lost []batch.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range held {
		if s := l.jobs[lease.Job]; s == nil || s.lease.Token != lease.Token {
			lost = append(lost, lease)
		}
	}
	return lost
}

// unlimited returns the accounts of live jobs in batches that had no budget so far.
func (l *liveJobs) unlimited() map[batch.ID]*account {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[batch.ID]*account{}
	for job, s := range l.jobs {
		if !s.batch.account.budgeted.Load() {
			out[job.Batch] = s.batch.account
		}
	}
	return out
}
