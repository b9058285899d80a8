package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ResolveOptions describe the outcome of a call that was interrupted by its worker's death.
type ResolveOptions struct {
	Outcome string // done, failed or again
	Text    string // result for the model; "" for a sentence that states the outcome only
	Call    string // place of the call, such as 2.0; "" if only one call is parked
}

// Resolve records the outcome of a job's parked call. Once no call of the job is parked, the job resumes. job is
// job-<index> or the index.
func Resolve(ctx context.Context, s *statestore.Store, id batch.ID, job string, o ResolveOptions, con *Console) error {
	index, err := strconv.ParseInt(strings.TrimPrefix(job, "job-"), 10, 64)
	if err != nil || index < 0 {
		return usagef("%q is not a job; one looks like job-3", job)
	}
	outcome, err := outcomeOf(o)
	if err != nil {
		return err
	}
	p := patience{store: s, say: con.Say}
	j := batch.Job{Batch: id, Index: index}
	var asked []statestore.Asked
	err = p.do(ctx, func() (err error) {
		asked, err = s.Asked(ctx, j)
		return err
	})
	if err != nil {
		return err
	}
	place, err := chooseCall(j, asked, o.Call)
	if err != nil {
		return err
	}
	left := 0
	unsure := false
	err = p.do(ctx, func() (err error) {
		left, err = s.Resolve(ctx, j, place, outcome)
		if unsure && errors.Is(err, statestore.ErrNotAsked) {
			left, err = len(asked)-1, nil // an earlier attempt resolved it, but its reply was lost
		}
		unsure = unsure || statestore.Unreachable(err)
		return err
	})
	if errors.Is(err, statestore.ErrNotAsked) {
		return usagef("%s of batch %s waits for no answer now: it runs again, or another command has answered", batch.JobID(index), id)
	}
	if err != nil {
		return err
	}
	if left > 0 {
		con.Say(fmt.Sprintf("call %s of %s is resolved; %s of the job must still be resolved: run the command again", place, batch.JobID(index), plural(int64(left), "call", "calls")))
		return nil
	}
	err = p.do(ctx, func() error {
		_, err := s.RetryJob(ctx, j)
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return usagef("call %s of %s is resolved, but the job can resume only once the whole batch is submitted and not cancelled; run `coordinator retry %s` then: %w",
			place, batch.JobID(index), id, err)
	}
	if err != nil {
		return err
	}
	_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	con.Say(fmt.Sprintf("call %s of %s is resolved, and the job resumes", place, batch.JobID(index)))
	return nil
}

// outcomeOf returns the entry for the ledger; nil runs the call again.
func outcomeOf(o ResolveOptions) ([]byte, error) {
	var settled toolpool.Settled
	switch o.Outcome {
	case "done":
		settled.Content = "The call was carried out. (A worker stopped while it ran; a person has checked.)"
	case "failed":
		settled = toolpool.Settled{Content: "Error: the call was not carried out. (A worker stopped while it ran; a person has checked.)", Failed: true}
	case "again":
		if o.Text != "" {
			return nil, usagef("--result goes with --outcome done or failed: a call that runs again returns its own result")
		}
		return nil, nil
	default:
		return nil, usagef("--outcome must be done, failed or again: whether the call had its effect, had none, or may run again")
	}
	if o.Text != "" {
		settled.Content = o.Text
	}
	return json.Marshal(settled)
}

// chooseCall returns the place of the named call, or of the only one.
func chooseCall(j batch.Job, asked []statestore.Asked, named string) (statestore.CallRef, error) {
	if len(asked) == 0 {
		return statestore.CallRef{}, usagef("nothing is asked about %s of batch %s: no call of it is parked", batch.JobID(j.Index), j.Batch)
	}
	if named == "" && len(asked) == 1 {
		return asked[0].Call, nil
	}
	list := make([]string, len(asked))
	for i, a := range asked {
		if a.Call.String() == named {
			return a.Call, nil
		}
		list[i] = fmt.Sprintf("%s %.200s", a.Call, a.Intent)
	}
	return statestore.CallRef{}, usagef("choose a call of %s with --call:\n  %s", batch.JobID(j.Index), strings.Join(list, "\n  "))
}
