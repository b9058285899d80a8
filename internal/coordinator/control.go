package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// cancelLease is long enough for the renewals of every worker.
	cancelLease = 15 * time.Second
	cancelPoll  = 250 * time.Millisecond
)

// Cancel gives every job without a result a cancelled one, and returns when all jobs have results. It finishes waiting
// jobs itself, so no worker is needed. Workers end their running jobs. The jobs of dead workers end when their leases
// expire. Cancel also cancels a running planner and skips the reduction.
func Cancel(ctx context.Context, s *statestore.Store, id batch.ID, con *Console) error {
	c := &canceller{
		store: s, id: id, console: con, patience: patience{store: s, say: con.Say},
		consumer: "cancel-" + strings.ToLower(rand.Text()[:10]),
	}
	cancelStage := func(stage batch.ID) error { return Cancel(ctx, s, stage, con) }
	planner, reducer, err := stagesOf(ctx, s, id, &c.patience)
	if err != nil {
		return err
	}
	if err := ifThere(reducer, cancelStage); err != nil {
		return err
	}
	var before, phase batch.Phase
	err = c.patience.do(ctx, func() (err error) {
		before, err = s.Phase(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	// The planner is cancelled after the batch, so that a plan that arrives meanwhile finds the batch cancelled. If
	// this command dies in between, the same command cancels the planner when it runs again.
	cancelPlanner := func() error {
		if planner == "" {
			return nil
		}
		if phase, err := s.Phase(ctx, planner); err == nil && phase == batch.Done {
			return nil
		}
		return ifThere(planner, cancelStage)
	}
	if before == batch.Done {
		if err := cancelPlanner(); err != nil {
			return err
		}
		con.Say(fmt.Sprintf("batch %s is already done; nothing to cancel", id))
		return nil
	}
	err = c.patience.do(ctx, func() (err error) {
		phase, err = s.Cancel(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	_ = s.Ring(ctx, statestore.Event{Kind: statestore.BatchCancelled, Batch: id})
	if err := cancelPlanner(); err != nil {
		return err
	}
	if err := c.drain(ctx, phase); err != nil {
		if ctx.Err() != nil {
			con.Say(fmt.Sprintf("interrupted: batch %s stays cancelled; workers, or the same command again, end the remaining jobs", id))
		}
		return err
	}
	var info batch.Info
	err = c.patience.do(ctx, func() (err error) {
		info, err = s.Info(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	con.Say(fmt.Sprintf("batch %s is cancelled: %s cancelled, %s ended before", id,
		plural(info.Counts.Cancelled, "job", "jobs"), count(info.Counts.OK+info.Counts.Failed)))
	return nil
}

type canceller struct {
	store    *statestore.Store
	id       batch.ID
	consumer string
	console  *Console
	patience patience
	told     bool
}

// drain claims and cancels jobs until the batch is done.
func (c *canceller) drain(ctx context.Context, phase batch.Phase) error {
	for phase != batch.Done {
		next, leases, err := c.claim(ctx)
		if err != nil {
			return err
		}
		phase = next
		if len(leases) > 0 {
			if phase, err = c.finish(ctx, leases); err != nil {
				return err
			}
			continue
		}
		if phase == batch.Done {
			break
		}
		c.tell(ctx)
		if err := sleep(ctx, cancelPoll); err != nil {
			return err
		}
	}
	return nil
}

// claim claims waiting jobs and jobs with expired leases. If the reply to a claim is lost, it reads the leases that
// this consumer holds.
func (c *canceller) claim(ctx context.Context) (phase batch.Phase, leases []batch.Lease, err error) {
	phase, jobs, err := c.store.Claim(ctx, statestore.ClaimParams{
		Batch: c.id, Consumer: c.consumer, Count: statestore.MaxClaim, Lease: cancelLease,
	})
	if err == nil {
		for _, j := range jobs {
			leases = append(leases, j.Lease)
		}
		return phase, leases, nil
	}
	if !statestore.Unreachable(err) {
		return "", nil, err
	}
	err = c.patience.do(ctx, func() (err error) {
		if leases, err = c.store.Held(ctx, c.id, c.consumer, statestore.MaxClaim); err != nil {
			return err
		}
		phase, err = c.store.Phase(ctx, c.id)
		return err
	})
	return phase, leases, err
}

func (c *canceller) finish(ctx context.Context, leases []batch.Lease) (phase batch.Phase, err error) {
	for len(leases) > 0 {
		part := leases[:min(len(leases), statestore.MaxFinish)]
		leases = leases[len(part):]
		done := make([]statestore.Completion, len(part))
		for i, l := range part {
			done[i] = statestore.Completion{Lease: l, Effects: true, Result: batch.Result{
				Batch: c.id, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index, Status: batch.StatusCancelled,
				Error:    batch.NewError(batch.JobCancelled, "the batch was cancelled before the job ended"),
				Attempts: l.Attempt, Worker: "coordinator",
			}}
		}
		err = c.patience.do(ctx, func() (err error) {
			phase, _, err = c.store.Finish(ctx, c.id, done)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return phase, nil
}

// tell reports once that workers still hold jobs.
func (c *canceller) tell(ctx context.Context) {
	info, err := c.store.Info(ctx, c.id)
	if c.told || err != nil || info.Counts.Running == 0 {
		return
	}
	c.told = true
	c.console.Say(fmt.Sprintf("waiting for %s that workers hold; they stop within seconds, or if a worker is dead, when its lease expires",
		plural(info.Counts.Running, "job", "jobs")))
}

// Retry queues the failed jobs of a batch again, or its planner if the planner failed.
func Retry(ctx context.Context, s *statestore.Store, id batch.ID, con *Console) error {
	p := patience{store: s, say: con.Say}
	planner, _, err := stagesOf(ctx, s, id, &p)
	if err != nil {
		return err
	}
	if planner != "" {
		var info batch.Info
		err := p.do(ctx, func() (err error) {
			info, err = s.Info(ctx, planner)
			return err
		})
		if err == nil && info.Counts.Failed > 0 {
			con.Say(fmt.Sprintf("batch %s has no jobs because its plan failed; the planner runs again", id))
			return Retry(ctx, s, planner, con)
		}
		if err != nil && !errors.Is(err, statestore.ErrNotFound) {
			return err
		}
	}
	var queued int64
	err = p.do(ctx, func() error {
		n, err := s.Retry(ctx, id)
		queued += n
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return usagef("failed jobs can be run again once all jobs are submitted and the batch is not being cancelled: %w", err)
	}
	if err != nil {
		return err
	}
	if queued == 0 {
		con.Say(fmt.Sprintf("batch %s has no failed jobs", id))
		return nil
	}
	_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	con.Say(fmt.Sprintf("%s of batch %s run again; `coordinator results %s --follow` shows their results",
		plural(queued, "failed job", "failed jobs"), id, id.Whole()))
	return nil
}

// Remove deletes all data of a batch that is done.
func Remove(ctx context.Context, s *statestore.Store, id batch.ID, con *Console) error {
	p := patience{store: s, say: con.Say}
	var phase batch.Phase
	err := p.do(ctx, func() (err error) {
		phase, err = s.Phase(ctx, id)
		return err
	})
	if err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return err
	}
	if phase == batch.Done {
		planner, reducer, err := stagesOf(ctx, s, id, &p)
		if err != nil {
			return err
		}
		for _, stage := range []batch.ID{planner, reducer} {
			if err := ifThere(stage, func(stage batch.ID) error { return Remove(ctx, s, stage, con) }); err != nil {
				return err
			}
		}
	}
	unsure := false
	err = p.do(ctx, func() error {
		err := s.Remove(ctx, id)
		if unsure && errors.Is(err, statestore.ErrNotFound) {
			return nil // an earlier attempt removed it, but its reply was lost
		}
		unsure = unsure || statestore.Unreachable(err)
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return &UsageError{reworded{fmt.Sprintf("batch %s is not done; `coordinator cancel %s` ends it first", id, id), err}}
	}
	if err != nil {
		return err
	}
	con.Say(fmt.Sprintf("batch %s is removed", id))
	return nil
}

// sleep waits for d. It returns the cause of ctx if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
