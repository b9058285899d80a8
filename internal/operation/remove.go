package operation

import (
	"context"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Remove deletes all data of a batch that is done. It returns the stages and the batch in the order of their removal.
func (c *Cluster) Remove(ctx context.Context, id batch.ID) (removed []batch.ID, err error) {
	wait := c.wait()
	var phase batch.Phase
	err = wait.Do(ctx, func() (err error) {
		phase, err = c.Phase(ctx, id)
		return err
	})
	if err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return nil, err
	}
	if phase == batch.Done {
		planner, reducer, err := stagesOf(ctx, c.Store, id, wait)
		if err != nil {
			return nil, err
		}
		for _, stage := range []batch.ID{planner, reducer} {
			err := ifThere(stage, func(stage batch.ID) error {
				of, err := c.Remove(ctx, stage)
				removed = append(removed, of...)
				return err
			})
			if err != nil {
				return removed, err
			}
		}
	}
	unsure := false
	err = wait.Do(ctx, func() error {
		err := c.Store.Remove(ctx, id)
		if unsure && errors.Is(err, statestore.ErrNotFound) {
			return nil // an earlier attempt removed it, but its reply was lost
		}
		unsure = unsure || statestore.Unreachable(err)
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return removed, &fault.UsageError{Err: reworded{fmt.Sprintf("batch %s is not done; cancel it first", id), err}}
	}
	if err != nil {
		return removed, err
	}
	return append(removed, id), nil
}

// reworded is an error with its own text. It wraps its cause.
type reworded struct {
	text  string
	cause error
}

func (e reworded) Error() string { return e.text }
func (e reworded) Unwrap() error { return e.cause }
