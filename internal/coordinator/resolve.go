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

// ResolveOptions say how a call ended of which no worker knows.
type ResolveOptions struct {
	Outcome string // done, failed or again
	Text    string // what the model reads; "" for a sentence that says no more than the outcome
	Call    string // which call, as 2.0; "" if only one is asked about
}

// Resolve says how a parked call of a job ended, and lets the job go on once nothing is asked about it any more. job is
// job-<index>, or the index.
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
			left, err = len(asked)-1, nil // the try whose reply was lost resolved it
		}
		unsure = unsure || statestore.Unreachable(err)
		return err
	})
	if errors.Is(err, statestore.ErrNotAsked) {
		return usagef("%s of batch %s waits for no answer now: it runs again, or somebody else has answered", batch.JobID(index), id)
	}
	if err != nil {
		return err
	}
	if left > 0 {
		con.Say(fmt.Sprintf("call %s of %s is resolved; %s of the job still to be: run the command again", place, batch.JobID(index), plural(int64(left), "call", "calls")))
		return nil
	}
	err = p.do(ctx, func() error {
		_, err := s.RetryJob(ctx, j)
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return usagef("call %s of %s is resolved, but the job can go on only when the whole batch is submitted and not cancelled; `coordinator retry %s` then: %w",
			place, batch.JobID(index), id, err)
	}
	if err != nil {
		return err
	}
	_ = s.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	con.Say(fmt.Sprintf("call %s of %s is resolved, and the job goes on", place, batch.JobID(index)))
	return nil
}

// outcomeOf is what the ledger gets; nil runs the call again.
func outcomeOf(o ResolveOptions) ([]byte, error) {
	var settled toolpool.Settled
	switch o.Outcome {
	case "done":
		settled.Content = "The call was carried out. (A worker stopped while it ran; a person has checked.)"
	case "failed":
		settled = toolpool.Settled{Content: "Error: the call was not carried out. (A worker stopped while it ran; a person has checked.)", Failed: true}
	case "again":
		if o.Text != "" {
			return nil, usagef("--result goes with --outcome done or failed: a call that runs again has a result of its own")
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

// chooseCall finds the call that is meant.
func chooseCall(j batch.Job, asked []statestore.Asked, named string) (statestore.Place, error) {
	if len(asked) == 0 {
		return statestore.Place{}, usagef("nothing is asked about %s of batch %s: no call of it is parked", batch.JobID(j.Index), j.Batch)
	}
	if named == "" && len(asked) == 1 {
		return asked[0].Place, nil
	}
	list := make([]string, len(asked))
	for i, a := range asked {
		if a.Place.String() == named {
			return a.Place, nil
		}
		list[i] = fmt.Sprintf("%s %.200s", a.Place, a.Intent)
	}
	return statestore.Place{}, usagef("say with --call which one of %s is meant:\n  %s", batch.JobID(j.Index), strings.Join(list, "\n  "))
}
