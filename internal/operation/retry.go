package operation

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Retried is the outcome of a retry.
type Retried struct {
	Batch batch.ID `json:"batch" jsonschema:"the batch whose jobs run again: its planner if the plan failed"`
	Jobs  int64    `json:"jobs" jsonschema:"failed jobs that run again"`
}

// Retry queues the failed jobs of a batch again, or its planner if the planner failed.
func (c *Cluster) Retry(ctx context.Context, id batch.ID) (Retried, error) {
	wait := c.wait()
	planner, _, err := stagesOf(ctx, c.Store, id, wait)
	if err != nil {
		return Retried{}, err
	}
	if planner != "" {
		var info batch.Info
		err := wait.Do(ctx, func() (err error) {
			info, err = c.Info(ctx, planner)
			return err
		})
		if err == nil && info.Counts.Failed > 0 {
			return c.Retry(ctx, planner)
		}
		if err != nil && !errors.Is(err, statestore.ErrNotFound) {
			return Retried{}, err
		}
	}
	out := Retried{Batch: id}
	err = wait.Do(ctx, func() error {
		n, err := c.Store.Retry(ctx, id)
		out.Jobs += n
		return err
	})
	if errors.Is(err, statestore.ErrConflict) {
		return out, fault.Usagef("failed jobs can be run again once all jobs are submitted and the batch is not being cancelled: %w", err)
	}
	if err == nil && out.Jobs > 0 {
		_ = c.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	}
	return out, err
}
