package coordinator

import (
	"context"
	"errors"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// StageUse is the use of one stage of a batch.
type StageUse struct {
	Stage     string           `json:"stage" jsonschema:"plan, jobs or reduce"`
	Batch     batch.ID         `json:"batch"`
	Phase     batch.Phase      `json:"phase"`
	Failed    int64            `json:"failed" jsonschema:"jobs that ended without an output"`
	Cancelled int64            `json:"cancelled,omitempty" jsonschema:"of these, the cancelled ones"`
	Usage     batch.Usage      `json:"usage"`
	Tools     batch.ToolCounts `json:"tools"`
	Prices    batch.Prices     `json:"prices,omitzero"`
}

// Names of the stages.
const (
	planStage   = "plan"
	jobsStage   = "jobs"
	reduceStage = "reduce"
)

// stagesOfInfo returns the stages of a batch in the order of their execution, including its jobs. It returns nil if the
// batch has only jobs. It omits removed stages.
func stagesOfInfo(ctx context.Context, s infos, info batch.Info) ([]StageUse, error) {
	if !info.Plan && !info.Reduce {
		return nil, nil
	}
	var out []StageUse
	for _, stage := range []struct {
		there bool
		name  string
		id    batch.ID
	}{{info.Plan, planStage, info.ID.Planner()}, {true, jobsStage, info.ID}, {info.Reduce, reduceStage, info.ID.Reducer()}} {
		if !stage.there {
			continue
		}
		i := info
		if stage.id != info.ID {
			var err error
			if i, err = s.Info(ctx, stage.id); errors.Is(err, statestore.ErrNotFound) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		out = append(out, StageUse{
			Stage: stage.name, Batch: stage.id, Phase: i.Phase, Failed: i.Counts.Failed + i.Counts.Cancelled, Cancelled: i.Counts.Cancelled,
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
	return dollars(s.Prices.Cost(s.Usage))
}

// use is the use of a whole batch.
type use struct {
	usage    batch.Usage
	tools    batch.ToolCounts
	cost     float64 // of all stages, each at its own prices
	uncached float64 // cost without the server's prefix cache
	priced   bool
}

func useOf(stages []StageUse) use {
	var all use
	for _, s := range stages {
		all.usage.Add(s.Usage)
		all.tools.Add(s.Tools)
		all.cost += s.Prices.Cost(s.Usage)
		all.uncached += s.Prices.WithoutCache(s.Usage)
		all.priced = all.priced || s.Prices != (batch.Prices{})
	}
	return all
}

// parts returns the batch's stages, or only its jobs if it has no other stages.
func (r StatusReport) parts() []StageUse {
	if len(r.Stages) > 0 {
		return r.Stages
	}
	return []StageUse{{Usage: r.Counts.Usage, Tools: r.Counts.Tools, Prices: r.Prices}}
}

// Cost returns the price of all stages; "" without prices.
func (r StatusReport) Cost() string {
	if all := useOf(r.parts()); all.priced {
		return dollars(all.cost)
	}
	return ""
}

// WithoutCache returns the price of all stages without the server's prefix cache, for stages with prices.
func (r StatusReport) WithoutCache() string { return dollars(useOf(r.parts()).uncached) }
