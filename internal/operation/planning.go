package operation

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// stagesOf returns the planner and the reducer of a batch, "" for a missing one. A stage has no stages itself. A
// missing batch has none either; the caller's own operation reports it as missing.
func stagesOf(ctx context.Context, s *statestore.Store, id batch.ID, p *outage.Wait) (planner, reducer batch.ID, err error) {
	var h batch.Header
	err = p.Do(ctx, func() (err error) {
		h, err = s.Header(ctx, id)
		return err
	})
	if errors.Is(err, statestore.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if h.Plan {
		planner = id.ForStage(batch.StagePlan)
	}
	if h.Reduce {
		reducer = id.ForStage(batch.StageReduce)
	}
	return planner, reducer, nil
}

// ifThere calls do for a stage, and ignores a stage that is missing.
func ifThere(stage batch.ID, do func(batch.ID) error) error {
	if stage == "" {
		return nil
	}
	if err := do(stage); err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return err
	}
	return nil
}

// Planning is the state of a batch's planner.
type Planning struct {
	Batch batch.ID     `json:"batch"`
	Phase batch.Phase  `json:"phase"`
	Error *batch.Error `json:"error"` // why the plan failed; nil if it exists or is still being made
}

// PlanningOf reads the planner of a batch; nil if the batch has none or it was removed.
func PlanningOf(ctx context.Context, s collect.Source, h batch.Header) (*Planning, error) {
	if !h.Plan {
		return nil, nil
	}
	info, err := s.Info(ctx, h.ID.ForStage(batch.StagePlan))
	if errors.Is(err, statestore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Planning{Batch: info.ID, Phase: info.Phase}
	if info.Counts.Failed+info.Counts.Cancelled == 0 {
		return p, nil // do not read the plan, which may be long
	}
	entries, err := s.Results(ctx, p.Batch, 0, 1)
	if err != nil || len(entries) == 0 {
		return p, err
	}
	r, err := collect.Decode(p.Batch, entries[0])
	p.Error = r.Error
	return p, err
}
