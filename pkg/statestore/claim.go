package statestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxClaim is the limit of jobs per claim.
const MaxClaim = 256

// ClaimParams are the parameters of a claim.
type ClaimParams struct {
	Batch    batch.ID
	Consumer string        // unique for every start of a process
	Count    int           // 1 to MaxClaim
	Lease    time.Duration // the same for all workers of a cluster
	// Idle: the caller runs no job of any batch. If it gets a job that must run alone, it claims nothing until that job has
	// ended.
	Idle bool
}

// Claimed is one leased job.
type Claimed struct {
	Lease   batch.Lease
	Payload []byte   // the job's input, as fed
	Journal [][]byte // turns of earlier attempts, oldest first
	// Exhausted: the job's last allowed attempt ended without a result. The job must not run; finish it as WorkerLost.
	Exhausted bool
	// Alone: this is the job's last attempt, and the worker died in all earlier ones. No other job may run beside it.
	Alone bool
	// Queued is how long the job waited without a lease after it was fed, released or retried, by Redis' clock. It is 0 after
	// an expired lease.
	Queued time.Duration
}

// Claim leases up to p.Count jobs: first released ones, then those with an expired lease, then those that are parked for the caller,
// then new ones. It parks the rest of the last new job's group for the caller. If no new jobs wait, it takes jobs that are parked for
// others. Jobs parked for a worker that neither claimed nor renewed for a lease come before new ones. It also returns the batch's phase. In [batch.Cancelling] the jobs must not run, only be finished as cancelled.
//
// A job that lost its worker in all attempts but the last may have killed those workers. Claim keeps it for a caller
// that runs no other job and finds no other job, so that it cannot use up the attempts of its neighbours; see
// [Store.Volunteer].
//
// Claim takes over an expired lease only after workers were able to renew for a whole lease. So an outage of Redis does not
// expire leases.
//
// Not repeatable: after ErrUnknownOutcome the caller may hold leases without knowing. Before the next claim from this batch,
// call [Store.Held] and release the leases that the caller does not run.
func (s *Store) Claim(ctx context.Context, p ClaimParams) (batch.Phase, []Claimed, error) {
	op := "claim from batch " + string(p.Batch)
	v, err := s.call(ctx, op, s.scripts.claim, p.Batch, named{
		"consumer": p.Consumer, "count": min(p.Count, MaxClaim), "lease": p.Lease.Milliseconds(), "idle": p.Idle,
	})
	if err != nil {
		return "", nil, err
	}
	r := reply{v}
	phase := batch.Phase(r.at(0).str())
	if phase == "" {
		return "", nil, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	jobs := make([]Claimed, 0, len(r.list())-1)
	for _, j := range r.list()[1:] {
		j := reply{j}
		c := Claimed{
			Lease: batch.Lease{
				Job:     batch.Job{Batch: p.Batch, Index: j.at(0).num()},
				Entry:   j.at(1).str(),
				Token:   j.at(2).num(),
				Attempt: int(j.at(3).num()),
				Holder:  p.Consumer,
			},
			Exhausted: j.at(4).num() == 1,
			Payload:   []byte(j.at(5).str()),
			Alone:     j.at(7).num() == 1,
			Queued:    time.Duration(j.at(8).num()) * time.Millisecond,
		}
		for _, t := range j.at(6).list() {
			c.Journal = append(c.Journal, []byte(reply{t}.str()))
		}
		jobs = append(jobs, c)
	}
	return phase, jobs, nil
}

// Volunteer reports whether this consumer should free itself for jobs of the batch that wait to run alone. It then lets its
// jobs end, claims no others, and claims with Idle when it is free. Of the busy workers, one per batch gets true. That holds
// for two leases, and the consumer calls again before they end. Idle workers get such jobs without calling Volunteer.
// Repeatable.
func (s *Store) Volunteer(ctx context.Context, id batch.ID, consumer string, lease time.Duration) (bool, error) {
	v, err := s.call(ctx, "ask for jobs of batch "+string(id)+" that wait to run alone", s.scripts.volunteer, id,
		named{"consumer": consumer, "lease": lease.Milliseconds()})
	return reply{v}.num() == 1, err
}

// Held lists the leases that consumer holds in a batch, at most limit. Repeatable.
func (s *Store) Held(ctx context.Context, id batch.ID, consumer string, limit int) ([]batch.Lease, error) {
	v, err := s.call(ctx, "list the leases of "+consumer+" in batch "+string(id), s.scripts.held, id,
		named{"consumer": consumer, "limit": limit})
	if err != nil {
		return nil, err
	}
	var out []batch.Lease
	for _, l := range (reply{v}).list() {
		l := reply{l}
		out = append(out, batch.Lease{
			Job:     batch.Job{Batch: id, Index: l.at(0).num()},
			Entry:   l.at(1).str(),
			Token:   l.at(2).num(),
			Attempt: int(l.at(3).num()),
			Holder:  consumer,
		})
	}
	return out, nil
}

// Active lists the batches that workers claim from, oldest first. It may still list a batch that has ended; [Store.Retire]
// removes it. Repeatable.
func (s *Store) Active(ctx context.Context) ([]batch.ID, error) {
	ids, err := s.cmd.SMembers(ctx, keyActive).Result()
	if err != nil {
		return nil, classify("list active batches", err)
	}
	slices.Sort(ids) // IDs start with their time
	out := make([]batch.ID, len(ids))
	for i, id := range ids {
		out[i] = batch.ID(id)
	}
	return out, nil
}

// Retire removes a batch from the active list if it is done or gone. [Store.Retry] lists a batch again after it changed the
// phase, so a concurrent retry keeps the batch listed. Repeatable.
func (s *Store) Retire(ctx context.Context, id batch.ID) error {
	op := "retire batch " + string(id)
	over, err := s.over(ctx, id)
	if err != nil {
		return err
	}
	if over {
		if err := s.cmd.SRem(ctx, keyActive, string(id)).Err(); err != nil {
			return classify(op, err)
		}
		// A second look closes the gap. It sees a batch that became live before the removal. A later change lists the batch
		// itself.
		if over, err = s.over(ctx, id); err != nil || over {
			return err
		}
	}
	return classify(op, s.cmd.SAdd(ctx, keyActive, string(id)).Err())
}

// over reports whether a batch is done or gone. A finished reduce stage runs again when its batch is retried and ends. So it is over
// only if that batch is over. The batch is read first, because its end queues the reduction in the same step.
func (s *Store) over(ctx context.Context, id batch.ID) (bool, error) {
	if id.Stage() == batch.StageReduce {
		if over, err := s.over(ctx, id.Whole()); err != nil || !over {
			return false, err
		}
	}
	phase, err := s.Phase(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return phase.Terminal(), err
}
