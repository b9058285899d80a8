package operation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const (
	// cancelLease is long enough for the renewals of every worker.
	cancelLease = 15 * time.Second
	cancelPoll  = 250 * time.Millisecond
)

// Cancelled is the outcome of a cancellation.
type Cancelled struct {
	CancelledJobs
	Stages []CancelledJobs `json:"stages,omitempty" jsonschema:"of the other stages of the batch, which were cancelled before it"`
	// Recorded reports that the batch is cancelled. After an error, workers still end its jobs.
	Recorded bool `json:"-"`
}

// CancelledJobs counts the jobs of one stage of a cancelled batch.
type CancelledJobs struct {
	Batch       batch.ID `json:"batch"`
	AlreadyDone bool     `json:"already_done" jsonschema:"it was done before, so that nothing was cancelled"`
	Jobs        int64    `json:"cancelled_jobs" jsonschema:"jobs without a result that got a cancelled one"`
	Ended       int64    `json:"ended_jobs" jsonschema:"jobs that had ended before"`
}

// Cancel gives every job without a result a cancelled one, and returns when all jobs have results. It finishes waiting
// jobs itself, so no worker is needed. Workers end their running jobs. The jobs of dead workers end when their leases
// expire. Cancel also cancels a running planner and skips the reduction.
func (c *Cluster) Cancel(ctx context.Context, id batch.ID) (Cancelled, error) {
	out := Cancelled{CancelledJobs: CancelledJobs{Batch: id}}
	k := &canceller{
		store: c.Store, id: id, notify: c.notify, wait: c.wait(), consumer: "cancel-" + strings.ToLower(rand.Text()[:10]),
	}
	cancelStage := func(stage batch.ID) error {
		s, err := c.Cancel(ctx, stage)
		if err == nil {
			out.Stages = append(out.Stages, s.CancelledJobs)
		}
		return err
	}
	planner, reducer, err := stagesOf(ctx, c.Store, id, k.wait)
	if err != nil {
		return out, err
	}
	if err := ifThere(reducer, cancelStage); err != nil {
		return out, err
	}
	var before, phase batch.Phase
	err = k.wait.Do(ctx, func() (err error) {
		before, err = c.Phase(ctx, id)
		return err
	})
	if err != nil {
		return out, err
	}
	// The planner is cancelled after the batch, so that a plan that arrives meanwhile finds the batch cancelled. If
	// this command dies in between, the same command cancels the planner when it runs again.
	cancelPlanner := func() error {
		if planner == "" {
			return nil
		}
		if phase, err := c.Phase(ctx, planner); err == nil && phase == batch.Done {
			return nil
		}
		return ifThere(planner, cancelStage)
	}
	if before == batch.Done {
		out.AlreadyDone = true
		return out, cancelPlanner()
	}
	err = k.wait.Do(ctx, func() (err error) {
		phase, err = c.Store.Cancel(ctx, id)
		return err
	})
	if err != nil {
		return out, err
	}
	out.Recorded = true
	_ = c.Ring(ctx, statestore.Event{Kind: statestore.BatchCancelled, Batch: id})
	if err := cancelPlanner(); err != nil {
		return out, err
	}
	if err := k.drain(ctx, phase); err != nil {
		return out, err
	}
	var info batch.Info
	err = k.wait.Do(ctx, func() (err error) {
		info, err = c.Info(ctx, id)
		return err
	})
	out.Jobs, out.Ended = info.Counts.Cancelled, info.Counts.OK+info.Counts.Failed
	return out, err
}

type canceller struct {
	store    *statestore.Store
	id       batch.ID
	consumer string
	notify   notice.Func
	wait     *outage.Wait
	reported bool
	compiled *spec.Compiled // nil until the first job
}

// drain claims and cancels jobs until the batch is done.
func (c *canceller) drain(ctx context.Context, phase batch.Phase) error {
	for phase != batch.Done {
		next, jobs, err := c.claim(ctx)
		if err != nil {
			return err
		}
		phase = next
		if len(jobs) > 0 {
			if phase, err = c.finish(ctx, jobs); err != nil {
				return err
			}
			continue
		}
		if phase == batch.Done {
			break
		}
		c.reportRunning(ctx)
		if err := sleep.For(ctx, cancelPoll); err != nil {
			return err
		}
	}
	return nil
}

// claim claims waiting jobs and jobs with expired leases. If the reply to a claim is lost, it reads the leases that
// this consumer holds.
func (c *canceller) claim(ctx context.Context) (phase batch.Phase, jobs []statestore.Claimed, err error) {
	phase, jobs, err = c.store.Claim(ctx, statestore.ClaimParams{
		Batch: c.id, Consumer: c.consumer, Count: statestore.MaxClaim, Lease: cancelLease,
	})
	if err == nil {
		return phase, jobs, nil
	}
	if !statestore.Unreachable(err) {
		return "", nil, err
	}
	err = c.wait.Do(ctx, func() (err error) {
		jobs, phase, err = c.held(ctx)
		return err
	})
	return phase, jobs, err
}

// held returns the jobs that this consumer holds, with their inputs.
func (c *canceller) held(ctx context.Context) (jobs []statestore.Claimed, phase batch.Phase, err error) {
	leases, err := c.store.Held(ctx, c.id, c.consumer, statestore.MaxClaim)
	if err != nil {
		return nil, "", err
	}
	for _, l := range leases {
		seen, err := c.store.Inspect(ctx, l.Job, 0)
		if err != nil {
			return nil, "", err
		}
		jobs = append(jobs, statestore.Claimed{Lease: l, Payload: seen.Payload})
	}
	phase, err = c.store.Phase(ctx, c.id)
	return jobs, phase, err
}

// row returns the ID and the carried fields of a job. Both are empty if the payload is unknown or cannot be read.
func (c *canceller) row(ctx context.Context, payload []byte) (id string, input json.RawMessage, err error) {
	if c.compiled == nil {
		var text []byte
		err := c.wait.Do(ctx, func() (err error) {
			text, err = c.store.Plan(ctx, c.id)
			return err
		})
		if err != nil {
			return "", nil, err
		}
		if c.compiled, err = spec.ParseCompiled(text); err != nil {
			c.compiled = &spec.Compiled{} // a batch of another version can be cancelled, too
		}
	}
	p, err := spec.DecodePayload(payload)
	if err != nil {
		return "", nil, nil
	}
	return c.compiled.Row(&p)
}

func (c *canceller) finish(ctx context.Context, jobs []statestore.Claimed) (phase batch.Phase, err error) {
	for len(jobs) > 0 {
		part := jobs[:min(len(jobs), statestore.MaxFinish)]
		jobs = jobs[len(part):]
		done := make([]statestore.Completion, len(part))
		for i, j := range part {
			l := j.Lease
			id, input, err := c.row(ctx, j.Payload)
			if err != nil {
				return "", err
			}
			done[i] = statestore.Completion{Lease: l, Effects: true, Result: batch.Result{
				Batch: c.id, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index, ID: id, Input: input, Status: batch.StatusCancelled,
				Error:    batch.NewError(batch.JobCancelled, "the batch was cancelled before the job ended"),
				Attempts: l.Attempt, Worker: "coordinator", Row: spec.RowOf(j.Payload),
			}}
		}
		err = c.wait.Do(ctx, func() (err error) {
			phase, _, err = c.store.Finish(ctx, c.id, done)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return phase, nil
}

// reportRunning reports once that workers still hold jobs.
func (c *canceller) reportRunning(ctx context.Context) {
	info, err := c.store.Info(ctx, c.id)
	if c.reported || err != nil || info.Counts.Running == 0 {
		return
	}
	c.reported = true
	c.notify.Send(notice.Waiting, "waiting for %s that workers hold; they stop within seconds, or if a worker is dead, when its lease expires",
		human.Plural(info.Counts.Running, "job", "jobs"))
}
