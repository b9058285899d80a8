package terminal

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// stageText describes the outcome of the o.Stage.
func stageText(o *collect.StageOutcome) string {
	switch {
	case o.Result == nil:
		if o.Stage.Stage() == batch.StageReduce {
			return "not run: there was nothing to reduce, or it was cancelled"
		}
		return "not made: it was cancelled or removed"
	case o.Result.Error != nil:
		return fmt.Sprintf("%s  %s: %s", o.Result.Status, o.Result.Error.Type, human.FirstLine(o.Result.Error.Message, 300))
	}
	made := ""
	if o.Stage.Stage() == batch.StagePlan {
		made = human.Plural(o.Items, "item", "items") + "   "
	}
	u := o.Result.Usage
	return fmt.Sprintf("ok   %s%s   prompt %s (%s cached)   completion %s", made, human.Plural(int64(o.Result.Turns), "model call", "model calls"),
		human.Count(u.PromptTokens), human.Percent(u.CachedTokens, u.PromptTokens), human.Count(u.CompletionTokens))
}

// planningText describes the state of the plan in one line.
func planningText(p *operation.Planning) string {
	switch {
	case p.Error != nil:
		return fmt.Sprintf("by %s, which failed: %s: %s; `coordinator retry %s` runs it again",
			p.Batch, p.Error.Type, human.FirstLine(p.Error.Message, 300), p.Batch.Whole())
	case p.Phase != batch.Done:
		return fmt.Sprintf("by %s, which is at work; the jobs follow when it has ended", p.Batch)
	}
	return fmt.Sprintf("by %s", p.Batch)
}

// useLines writes the use of all stages of a batch: tokens, money where prices are known, and tool calls. If there is
// more than one stage, a second line lists the parts.
func useLines(line func(name, format string, args ...any), stages []operation.StageUse) {
	all := operation.UseOf(stages)
	u, c := all.Usage, all.Tools
	parts := func(of func(operation.StageUse) string) {
		if len(stages) < 2 {
			return
		}
		list := make([]string, len(stages))
		for i, s := range stages {
			list[i] = string(s.Stage) + " " + cmp.Or(of(s), "unpriced")
		}
		line("", "%s", strings.Join(list, "   "))
	}
	estimated := ""
	if u.Estimated {
		estimated = "   partly estimated: a server reported no usage"
	}
	line("tokens", "prompt %s (%s cached)   completion %s%s", human.Count(u.PromptTokens), human.Percent(u.CachedTokens, u.PromptTokens), human.Count(u.CompletionTokens), estimated)
	parts(func(s operation.StageUse) string { return human.Count(s.Usage.PromptTokens + s.Usage.CompletionTokens) })
	if all.Priced {
		line("cost", "%s   without the prefix cache %s", human.Dollars(all.Cost), human.Dollars(all.Uncached))
		parts(operation.StageUse.Cost)
	}
	shared := ""
	if c.Asked > c.Executed {
		shared = "   shared or cached " + human.Count(c.Asked-c.Executed)
	}
	line("tools", "asked %s   executed %s%s", human.Count(c.Asked), human.Count(c.Executed), shared)
}
