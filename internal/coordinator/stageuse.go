package coordinator

import (
	"cmp"
	"context"
	"errors"
	"strings"

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

// stagesOfInfo returns the stages of a batch in the order of their execution, including its jobs. It returns nil if the
// batch has only jobs. It omits removed stages.
func stagesOfInfo(ctx context.Context, s infos, info batch.Info) ([]StageUse, error) {
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

// useLines writes the use of all stages of a batch: tokens, money where prices are known, and tool calls. If there is
// more than one stage, a second line lists the parts.
func useLines(line func(name, format string, args ...any), stages []StageUse) {
	all := useOf(stages)
	u, c := all.usage, all.tools
	parts := func(of func(StageUse) string) {
		if len(stages) < 2 {
			return
		}
		said := make([]string, len(stages))
		for i, s := range stages {
			said[i] = string(s.Stage) + " " + cmp.Or(of(s), "unpriced")
		}
		line("", "%s", strings.Join(said, "   "))
	}
	estimated := ""
	if u.Estimated {
		estimated = "   partly estimated: a server reported no usage"
	}
	line("tokens", "prompt %s (%s cached)   completion %s%s", count(u.PromptTokens), percent(u.CachedTokens, u.PromptTokens), count(u.CompletionTokens), estimated)
	parts(func(s StageUse) string { return count(s.Usage.PromptTokens + s.Usage.CompletionTokens) })
	if all.priced {
		line("cost", "%s   without the prefix cache %s", dollars(all.cost), dollars(all.uncached))
		parts(StageUse.Cost)
	}
	shared := ""
	if c.Asked > c.Executed {
		shared = "   shared or cached " + count(c.Asked-c.Executed)
	}
	line("tools", "asked %s   executed %s%s", count(c.Asked), count(c.Executed), shared)
}
