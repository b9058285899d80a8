package terminal

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// WriteExplanation writes e for people.
func WriteExplanation(w io.Writer, e diagnose.Explanation) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("batch", "%s", strings.TrimSpace(fmt.Sprintf("%s  %s", e.Batch, e.State)))
	line("jobs", "%s with a result", human.Count(e.Jobs))
	if e.Agents > 0 {
		line("agents", "%.1f at a time on average, over %s", e.Agents, human.Span(time.Duration(e.TakesMS)*time.Millisecond))
	}
	line("prefill", "%s of %s prompt tokens were in the server's cache",
		human.Percent(e.Usage.CachedTokens, e.Usage.PromptTokens), human.Count(e.Usage.PromptTokens))
	if e.Sharing > 0 {
		line("sharing", "%s", sharingOf(e.Sharing))
	}
	if q := queuedEach(e.Times.Queued, e.Jobs); q > 0 {
		line("queued", "%s a job on average in Redis, before a worker took it; not part of the times below. More", human.Span(q))
		line("", "agents at once (worker --max-agents, --max-inflight) or more workers shorten it, unless the limit named below holds them back")
	}
	if e.Timed > 0 {
		fmt.Fprintf(&b, "\nwhere the time of %s went, %s together\n", human.Plural(e.Timed, "job", "jobs"), human.Span(time.Duration(e.WallMS)*time.Millisecond))
		for _, p := range diagnose.PartsOf(e.Times, e.WallMS) {
			if p.MS > 0 {
				fmt.Fprintf(&b, "  %-22s %4s %s %s\n", diagnose.PartNames[p.Name], human.Percent(p.MS, e.WallMS), barOf(p.MS, e.WallMS, 30), human.Span(time.Duration(p.MS)*time.Millisecond))
			}
		}
	}
	fmt.Fprintf(&b, "\n%-10s %s\n%-10s %s\n", "bound by", e.Bound.By, "to change", e.Bound.Knob)
	if p := e.Preload; p != nil {
		fmt.Fprintf(&b, "%-10s %s of %s agents began with the same call. One turn less, and documents in the shared prefix, with\n%-10s preload: [{tool: %s, args: %s}]\n",
			"preload", human.Count(p.Jobs), human.Count(p.Of), "", p.Tool, p.Args)
	}
	if len(e.Slowest) > 0 {
		b.WriteString("\nslowest jobs\n")
		for _, j := range e.Slowest {
			most := slices.MaxFunc(j.Times.Parts(), func(x, y batch.Part) int { return cmp.Compare(x.MS, y.MS) })
			fmt.Fprintf(&b, "  %-10s %8s   %s %s   on %s\n", j.JobID, human.Span(time.Duration(j.WallMS)*time.Millisecond),
				human.Span(time.Duration(most.MS)*time.Millisecond), diagnose.PartNames[most.Name], j.Worker)
		}
	}
	b.WriteString("\n")
	if _, err := io.WriteString(w, human.Visible(b.String())); err != nil {
		return err
	}
	return table(w, []string{"WORKER", "JOBS", "TURNS", "PROMPT TOKENS", "CACHED", "COMPLETION TOKENS", "TOOLS ASKED", "EXECUTED"}, len(e.Nodes), func(i int) []string {
		n := e.Nodes[i]
		return []string{
			n.Worker, human.Count(n.Jobs), human.Count(n.Turns), human.Count(n.Usage.PromptTokens), human.Percent(n.Usage.CachedTokens, n.Usage.PromptTokens),
			human.Count(n.Usage.CompletionTokens), human.Count(n.Tools.Asked), human.Count(n.Tools.Executed),
		}
	})
}

// sharingOf describes [batch.Usage.Sharing] to people.
func sharingOf(ratio float64) string {
	text := fmt.Sprintf("%.2fx: tokens if every agent held its own copy, over tokens computed", ratio)
	if ratio < 0.995 {
		text += "; below 1, because more tokens were recomputed than shared"
	}
	return text
}

// queuedEach returns the average time that a job waited in Redis.
func queuedEach(ms, jobs int64) time.Duration {
	return time.Duration(ms/max(jobs, 1)) * time.Millisecond
}

func barOf(part, whole int64, width int) string {
	full := 0
	if whole > 0 {
		full = int(min(int64(width), (part*int64(width)+whole/2)/whole))
	}
	return strings.Repeat("#", full) + strings.Repeat(" ", width-full)
}
