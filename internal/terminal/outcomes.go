package terminal

import (
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Cancelled prints the outcome of a cancellation.
func (c *Console) Cancelled(o operation.Cancelled) {
	for _, stage := range o.Stages {
		c.Cancelled(operation.Cancelled{CancelledJobs: stage})
	}
	if o.AlreadyDone {
		c.Say(fmt.Sprintf("batch %s is already done; nothing to cancel", o.Batch))
		return
	}
	c.Say(fmt.Sprintf("batch %s is cancelled: %s cancelled, %s ended before", o.Batch, human.Plural(o.Jobs, "job", "jobs"), human.Count(o.Ended)))
}

// CancelInterrupted prints what happens to a batch whose cancellation was interrupted.
func (c *Console) CancelInterrupted(id batch.ID) {
	c.Say(fmt.Sprintf("interrupted: batch %s stays cancelled; workers, or the same command again, end the remaining jobs", id))
}

// Retried prints the outcome of a retry of a batch.
func (c *Console) Retried(id batch.ID, o operation.Retried) {
	if o.Batch != id {
		c.Say(fmt.Sprintf("batch %s has no jobs because its plan failed; the planner runs again", id))
	}
	if o.Jobs == 0 {
		c.Say(fmt.Sprintf("batch %s has no failed jobs", o.Batch))
		return
	}
	c.Say(fmt.Sprintf("%s of batch %s run again; `coordinator results %s --follow` shows their results",
		human.Plural(o.Jobs, "failed job", "failed jobs"), o.Batch, o.Batch.Whole()))
}

// Removed prints the batches that were removed.
func (c *Console) Removed(ids []batch.ID) {
	for _, id := range ids {
		c.Say(fmt.Sprintf("batch %s is removed", id))
	}
}

// Budget prints the budget of a batch after it was set.
func (c *Console) Budget(i batch.Info) {
	state := "it continues"
	switch {
	case i.Phase == batch.Done:
		state = "it is done, so this changes nothing"
	case i.Paused:
		state = "this is used up, so no model call starts"
	}
	c.Say(fmt.Sprintf("batch %s has used %s and may use %s: %s", i.ID, human.Spent(i), human.Budget(i.Budget), state))
}

// Resolved prints the outcome of a resolved call.
func (c *Console) Resolved(o operation.Resolved) {
	if o.Left > 0 {
		c.Say(fmt.Sprintf("call %s of %s is resolved; %s of the job must still be resolved: run the command again", o.Call, o.JobID, human.Plural(int64(o.Left), "call", "calls")))
		return
	}
	c.Say(fmt.Sprintf("call %s of %s is resolved, and the job resumes", o.Call, o.JobID))
}

// PartlySubmitted prints what a failed submission left behind, if it left anything.
func (c *Console) PartlySubmitted(err error) {
	e, ok := errors.AsType[*operation.PartError](err)
	switch {
	case !ok:
	case e.Unsafe:
		c.Say(fmt.Sprintf("all %s jobs of batch %s are submitted, and run, but Redis has not confirmed that they are safe.  "+
			"The same command again waits on; `coordinator cancel %s` stops it.", human.Count(e.Total), e.Stage, e.Batch))
	case errors.Is(err, spec.ErrInputsChanged):
		c.Say(fmt.Sprintf("%s of %s jobs of batch %s are submitted, made from the earlier inputs; `coordinator cancel %s` stops it",
			human.Count(e.Fed), human.Count(e.Total), e.Stage, e.Batch))
	default:
		c.Say(fmt.Sprintf("stopped: %s of %s jobs of batch %s are submitted, and run. The same command again submits the rest; `coordinator cancel %s` stops it.",
			human.Count(e.Fed), human.Count(e.Total), e.Stage, e.Batch))
	}
}
