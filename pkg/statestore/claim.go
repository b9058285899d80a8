package statestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxClaim bounds the jobs of one claim.
const MaxClaim = 256

// ClaimParams say who claims how much from where.
type ClaimParams struct {
	Batch    batch.ID
	Consumer string        // unique for every start of a process
	Count    int           // 1 to MaxClaim
	Lease    time.Duration // the same for all workers of a cluster
	// Idle: the caller runs no job of any batch. If it gets one that must run alone, it claims nothing until that has ended.
	Idle bool
}

// Claimed is one leased job.
type Claimed struct {
	Lease   batch.Lease
	Payload []byte
	Journal [][]byte // turns of earlier attempts, oldest first
	// Exhausted: the job's last allowed attempt ended without a result. It must not run; finish it as WorkerLost.
	Exhausted bool
	// Alone: this is the job's last attempt, and all those before ended with their worker gone. Nothing may run beside it.
	Alone bool
	// Queued is for how long nobody held the job, by Redis' clock: since it was fed, released or retried. 0 if its lease had lapsed.
	Queued time.Duration
}

// Claim leases up to p.Count jobs: released ones, then those whose lease lapsed, then new ones. It returns the
// batch's phase too: in [batch.Cancelling] the jobs must not run, only be finished as cancelled.
//
// A job that has one attempt left, because its others ended with their workers gone, may be what killed them. It is kept for
// a caller that runs nothing else and finds nothing else, so that it cannot use up its neighbours' attempts; see
// [Store.Volunteer].
//
// A lapsed lease is taken over only after a whole lease in which workers could have renewed: an outage of Redis does
// not count against the holders.
//
// Not repeatable: after ErrUnknownOutcome jobs may be leased to the caller without its knowing. Ask [Store.Held], and
// release what it names and the caller does not run, before the next claim from this batch.
func (s *Store) Claim(ctx context.Context, p ClaimParams) (batch.Phase, []Claimed, error) {
	op := "claim from batch " + string(p.Batch)
	keys := []string{keyMeta(p.Batch), keyJobs(p.Batch), keyLease(p.Batch), keyBack(p.Batch), keyAlone(p.Batch), keyCalls(p.Batch)}
	v, err := s.run(ctx, op, s.scripts.claim, keys,
		p.Consumer, min(p.Count, MaxClaim), p.Lease.Milliseconds(), prefixJournal(p.Batch), p.Idle)
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

// Volunteer reports whether jobs of the batch wait to run alone and this consumer should make itself free for them: let its
// jobs end, claim no others, and then claim with Idle. Of the workers that are busy one per batch is told so, for two
// leases; it asks again before. Workers that run nothing get such jobs unasked. Repeatable.
func (s *Store) Volunteer(ctx context.Context, id batch.ID, consumer string, lease time.Duration) (bool, error) {
	v, err := s.run(ctx, "ask for jobs of batch "+string(id)+" that wait to run alone", s.scripts.volunteer,
		[]string{keyMeta(id), keyAlone(id)}, consumer, lease.Milliseconds())
	return reply{v}.num() == 1, err
}

// Held lists the leases that consumer holds in a batch, at most limit. Repeatable.
func (s *Store) Held(ctx context.Context, id batch.ID, consumer string, limit int) ([]batch.Lease, error) {
	v, err := s.run(ctx, "list the leases of "+consumer+" in batch "+string(id), s.scripts.held,
		[]string{keyJobs(id), keyLease(id)}, consumer, limit)
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

// Active lists the batches that workers should look at, oldest first. A batch that has ended may still be listed;
// [Store.Retire] takes it off. Repeatable.
func (s *Store) Active(ctx context.Context) ([]batch.ID, error) {
	ids, err := s.cmd.SMembers(ctx, keyActive).Result()
	if err != nil {
		return nil, classify("list active batches", err)
	}
	slices.Sort(ids) // IDs begin with their time
	out := make([]batch.ID, len(ids))
	for i, id := range ids {
		out[i] = batch.ID(id)
	}
	return out, nil
}

// Retire takes a batch off the active list if it is done or gone. A batch that is retried meanwhile is listed again
// by [Store.Retry], which adds it after it changed the phase. Repeatable.
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
		// Looking again closes the gap: whoever made the batch live before the removal is seen here, whoever does so
		// later adds it himself.
		if over, err = s.over(ctx, id); err != nil || over {
			return err
		}
	}
	return classify(op, s.cmd.SAdd(ctx, keyActive, string(id)).Err())
}

// over reports whether a batch is done or gone. A reducer that is done begins anew when the batch that it reduces was retried
// and ends; so it is over only if that one is, which is asked first because its end queues the reducer in the same step.
func (s *Store) over(ctx context.Context, id batch.ID) (bool, error) {
	if of, ok := id.Reduces(); ok {
		if over, err := s.over(ctx, of); err != nil || !over {
			return false, err
		}
	}
	phase, err := s.Phase(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return phase.Terminal(), err
}
