package coordinator

import (
	"context"
	"errors"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// StageUse is what one stage of a batch has used.
type StageUse struct {
	Stage  string           `json:"stage" jsonschema:"plan, jobs or reduce"`
	Batch  batch.ID         `json:"batch"`
	Phase  batch.Phase      `json:"phase"`
	Usage  batch.Usage      `json:"usage"`
	Tools  batch.ToolCounts `json:"tools"`
	Prices batch.Prices     `json:"prices,omitzero"`
}

// Names of stages.
const (
	planStage   = "plan"
	jobsStage   = "jobs"
	reduceStage = "reduce"
)

// stagesOfInfo are the stages of a batch in the order in which they run, its own jobs among them; nil for one that has no others.
// One that was removed is left out.
func stagesOfInfo(ctx context.Context, s Source, info batch.Info) ([]StageUse, error) {
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
		out = append(out, StageUse{stage.name, stage.id, i.Phase, i.Counts.Usage, i.Counts.Tools, i.Prices})
	}
	return out, nil
}

// costLines say what a batch used: tokens, and money where prices are known. With stages it is the sum of them, each at its own
// prices, and a second line has its parts.
func costLines(line func(name, format string, args ...any), u batch.Usage, p batch.Prices, stages []StageUse) {
	if len(stages) == 0 {
		stages = []StageUse{{Usage: u, Prices: p}}
	}
	var all batch.Usage
	var cost, uncached float64
	priced := false
	var tokens, dollarsOf []string
	for _, s := range stages {
		all.Add(s.Usage)
		cost += s.Prices.Cost(s.Usage)
		uncached += s.Prices.WithoutCache(s.Usage)
		priced = priced || s.Prices != (batch.Prices{})
		tokens = append(tokens, s.Stage+" "+count(s.Usage.PromptTokens+s.Usage.CompletionTokens))
		dollarsOf = append(dollarsOf, s.Stage+" "+dollars(s.Prices.Cost(s.Usage)))
	}
	line("tokens", "prompt %s (%s cached)   completion %s", count(all.PromptTokens), percent(all.CachedTokens, all.PromptTokens), count(all.CompletionTokens))
	if len(stages) > 1 {
		line("", "%s", strings.Join(tokens, "   "))
	}
	if !priced {
		return
	}
	line("cost", "%s   without the prefix cache %s", dollars(cost), dollars(uncached))
	if len(stages) > 1 {
		line("", "%s", strings.Join(dollarsOf, "   "))
	}
}

// callLine says how many tool calls a batch asked for, in all of its stages, and how many of them ran: without sharing all of them
// would have.
func callLine(line func(name, format string, args ...any), c batch.ToolCounts, stages []StageUse) {
	if len(stages) > 0 {
		c = batch.ToolCounts{}
	}
	for _, s := range stages {
		c.Add(s.Tools)
	}
	shared := ""
	if c.Asked > c.Executed {
		shared = "   shared or cached " + count(c.Asked-c.Executed)
	}
	line("tools", "asked %s   executed %s%s", count(c.Asked), count(c.Executed), shared)
}
