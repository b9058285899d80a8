package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Resolution is the outcome of a call that was interrupted by its worker's death.
type Resolution struct {
	Outcome string // done, failed or again
	Text    string // result for the model; "" for a sentence that states the outcome only
	Call    string // the call, such as 2.0 for the first one of turn 2; "" if only one call is parked
}

// Resolved is the state of a job after the outcome of one of its calls was recorded.
type Resolved struct {
	Batch batch.ID `json:"batch"`
	JobID string   `json:"job_id"`
	Call  string   `json:"call" jsonschema:"the call that was resolved, for example 2.0"`
	Left  int      `json:"calls_left" jsonschema:"calls of the job that must still be resolved; 0 means that the job resumes"`
}

// Resolve records the outcome of a job's parked call. Once no call of the job is parked, the job resumes. job is
// job-<index> or the index.
func (c *Cluster) Resolve(ctx context.Context, id batch.ID, job string, r Resolution) (Resolved, error) {
	index, err := strconv.ParseInt(strings.TrimPrefix(job, "job-"), 10, 64)
	if err != nil || index < 0 {
		return Resolved{}, fault.Usagef("%q is not a job; one looks like job-3", job)
	}
	entry, err := entryOf(r)
	if err != nil {
		return Resolved{}, err
	}
	wait := c.wait()
	j := batch.Job{Batch: id, Index: index}
	var asked []statestore.Asked
	err = wait.Do(ctx, func() (err error) {
		asked, err = c.Asked(ctx, j)
		return err
	})
	if err != nil {
		return Resolved{}, err
	}
	call, err := chooseCall(j, asked, r.Call)
	if err != nil {
		return Resolved{}, err
	}
	out := Resolved{Batch: id, JobID: batch.JobID(index), Call: call.String()}
	unsure := false
	err = wait.Do(ctx, func() (err error) {
		out.Left, err = c.Store.Resolve(ctx, j, call, entry)
		if unsure && errors.Is(err, statestore.ErrNotAsked) {
			out.Left, err = len(asked)-1, nil // an earlier attempt resolved it, but its reply was lost
		}
		unsure = unsure || statestore.Unreachable(err)
		return err
	})
	if errors.Is(err, statestore.ErrNotAsked) {
		return out, fault.Usagef("%s of batch %s waits for no answer now: it runs again, or another command has answered", out.JobID, id)
	}
	if err != nil || out.Left > 0 {
		return out, err
	}
	err = wait.Do(ctx, func() error {
		_, err := c.RetryJob(ctx, j)
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return out, fault.Usagef("call %s of %s is resolved, but the job can resume only once the whole batch is submitted and not cancelled; retry the batch then: %w",
			call, out.JobID, err)
	}
	if err != nil {
		return out, err
	}
	_ = c.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	return out, nil
}

// entryOf returns the entry of the effect log; nil runs the call again.
func entryOf(r Resolution) ([]byte, error) {
	var settled toolpool.Settled
	switch r.Outcome {
	case "done":
		settled.Content = "The call was carried out. (A worker stopped while it ran; a person has checked.)"
	case "failed":
		settled = toolpool.Settled{Content: "Error: the call was not carried out. (A worker stopped while it ran; a person has checked.)", Failed: true}
	case "again":
		if r.Text != "" {
			return nil, fault.Usagef("a result goes with the outcome done or failed: a call that runs again returns its own result")
		}
		return nil, nil
	default:
		return nil, fault.Usagef("the outcome must be done, failed or again: whether the call had its effect, had none, or may run again")
	}
	if r.Text != "" {
		settled.Content = r.Text
	}
	return json.Marshal(settled)
}

// chooseCall returns the named call, or of the only one.
func chooseCall(j batch.Job, asked []statestore.Asked, named string) (statestore.CallRef, error) {
	if len(asked) == 0 {
		return statestore.CallRef{}, fault.Usagef("nothing is asked about %s of batch %s: no call of it is parked", batch.JobID(j.Index), j.Batch)
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
	return statestore.CallRef{}, fault.Usagef("name one of the calls of %s:\n  %s", batch.JobID(j.Index), strings.Join(list, "\n  "))
}
