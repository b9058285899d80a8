package operation

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// StageUse is the use of one stage of a batch.
type StageUse struct {
	Stage     batch.Stage      `json:"stage" jsonschema:"plan, jobs or reduce"`
	Batch     batch.ID         `json:"batch"`
	Phase     batch.Phase      `json:"phase"`
	Failed    int64            `json:"failed" jsonschema:"jobs that ended without an output"`
	Cancelled int64            `json:"cancelled,omitempty" jsonschema:"of these, the cancelled ones"`
	Usage     batch.Usage      `json:"usage"`
	Tools     batch.ToolCounts `json:"tools"`
	Prices    batch.Prices     `json:"prices,omitzero"`
}

// StagesOfInfo returns the stages of a batch in the order of their execution, including its jobs. It returns nil if the
// batch has only jobs. It omits removed stages.
func StagesOfInfo(ctx context.Context, s infos, info batch.Info) ([]StageUse, error) {
	if !info.Plan && !info.Reduce {
		return nil, nil
	}
	var out []StageUse
	for _, stage := range info.Stages() {
		i := info
		if stage != batch.StageJobs {
			var err error
			if i, err = s.Info(ctx, info.ID.ForStage(stage)); errors.Is(err, statestore.ErrNotFound) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		out = append(out, StageUse{
			Stage: stage, Batch: i.ID, Phase: i.Phase, Failed: i.Counts.Failed + i.Counts.Cancelled, Cancelled: i.Counts.Cancelled,
			Usage: i.Counts.Usage, Tools: i.Counts.Tools, Prices: i.Prices,
		})
	}
	return out, nil
}

// Cost returns the price of the stage's tokens; "" without prices.
func (s StageUse) Cost() string {
	if s.Prices == (batch.Prices{}) {
		return ""
	}
	return human.Dollars(s.Prices.Cost(s.Usage))
}

// use is the use of a whole batch.
type use struct {
	Usage    batch.Usage
	Tools    batch.ToolCounts
	Cost     float64 // of all stages, each at its own prices
	Uncached float64 // cost without the server's prefix cache
	Priced   bool
}

func UseOf(stages []StageUse) use {
	var all use
	for _, s := range stages {
		all.Usage.Add(s.Usage)
		all.Tools.Add(s.Tools)
		all.Cost += s.Prices.Cost(s.Usage)
		all.Uncached += s.Prices.WithoutCache(s.Usage)
		all.Priced = all.Priced || s.Prices != (batch.Prices{})
	}
	return all
}

// Parts returns the batch's stages, or only its jobs if it has no other stages.
func (r StatusReport) Parts() []StageUse {
	if len(r.Stages) > 0 {
		return r.Stages
	}
	return []StageUse{{Usage: r.Counts.Usage, Tools: r.Counts.Tools, Prices: r.Prices}}
}

// Cost returns the price of all stages; "" without prices.
func (r StatusReport) Cost() string {
	if all := UseOf(r.Parts()); all.Priced {
		return human.Dollars(all.Cost)
	}
	return ""
}

// WithoutCache returns the price of all stages without the server's prefix cache, for stages with prices.
func (r StatusReport) WithoutCache() string { return human.Dollars(UseOf(r.Parts()).Uncached) }
