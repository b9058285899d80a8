package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/bench/internal/realrun"
)

// arm is a workload, a number of agents and an admission mode, with the outcomes of its runs.
type arm struct {
	tool, admitted bool
	agents         int

	wall, hit, first50, first95, later50, later95 figures.Series
	prompt, cached, completion, executed          figures.Series
}

// arms returns the arms, with those to compare next to each other.
func (s settings) arms() []*arm {
	var all []*arm
	for _, tool := range []bool{false, true} {
		for _, n := range s.numbers {
			for _, admitted := range []bool{false, true} {
				all = append(all, &arm{tool: tool, admitted: admitted, agents: n})
			}
		}
	}
	return all
}

func (a *arm) workload() string {
	if a.tool {
		return "tool"
	}
	return "one"
}

func (a *arm) admission() string {
	if a.admitted {
		return "admitted"
	}
	return "open"
}

func (a *arm) name() string {
	return fmt.Sprintf("workload=%s/n=%d/admission=%s", a.workload(), a.agents, a.admission())
}

func (a *arm) add(o realrun.Outcome) {
	a.wall = append(a.wall, o.Wall.Seconds())
	a.hit = append(a.hit, o.HitRate())
	a.first50, a.first95 = append(a.first50, o.First.Median()), append(a.first95, o.First.Quantile(0.95))
	a.later50, a.later95 = append(a.later50, o.Later.Median()), append(a.later95, o.Later.Quantile(0.95))
	a.prompt, a.cached = append(a.prompt, float64(o.Usage.PromptTokens)), append(a.cached, float64(o.Usage.CachedTokens))
	a.completion, a.executed = append(a.completion, float64(o.Usage.CompletionTokens)), append(a.executed, float64(o.Tools.Executed))
}

func (a *arm) line(w io.Writer, round int, o realrun.Outcome) {
	figures.Line(w, fmt.Sprintf("Live/%s/round=%d", a.name(), round), a.agents,
		figures.Value{Number: o.Wall.Seconds(), Unit: "s"},
		figures.Value{Number: float64(a.agents) / o.Wall.Seconds(), Unit: "agents/s"},
		figures.Value{Number: o.First.Median(), Unit: "s-TTFT-p50"},
		figures.Value{Number: o.First.Quantile(0.95), Unit: "s-TTFT-p95"},
		figures.Value{Number: o.HitRate(), Unit: "hit-rate"},
		figures.Value{Number: float64(o.Usage.PromptTokens), Unit: "prompt-tokens"},
		figures.Value{Number: float64(o.Usage.CachedTokens), Unit: "cached-tokens"},
		figures.Value{Number: float64(o.Usage.CompletionTokens), Unit: "completion-tokens"},
		figures.Value{Number: float64(o.Tools.Executed), Unit: "tool-runs"})
}

// thousand returns the price of 1,000 agents for a wall time.
func (s settings) thousand(wall float64, agents int) float64 {
	return s.gpuHour * wall / 3600 * 1000 / float64(agents)
}

func summary(w io.Writer, s settings, arms []*arm) error {
	fmt.Fprintf(w, "\nmedians of %d rounds, wall with [min-max]; TTFT in seconds, P50/P95 over a run's agents\n", s.rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "workload\tN\tadmission\twall s\tagents/s\tTTFT first turn\tTTFT after the tool\thit rate\tprompt\tcached\tcompletion\ttool runs\tcost of 1,000\t\n")
	for _, a := range arms {
		cost, later := "-", "-"
		if s.gpuHour > 0 {
			cost = strconv.FormatFloat(s.thousand(a.wall.Median(), a.agents), 'f', 4, 64)
		}
		if a.tool {
			later = fmt.Sprintf("%.3f/%.3f", a.later50.Median(), a.later95.Median())
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%.2f\t%.3f/%.3f\t%s\t%.3f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t\n", a.workload(), a.agents, a.admission(), a.wall,
			float64(a.agents)/a.wall.Median(), a.first50.Median(), a.first95.Median(), later, a.hit.Median(), a.prompt.Median(), a.cached.Median(),
			a.completion.Median(), a.executed.Median(), cost)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for i := 0; i+1 < len(arms); i += 2 {
		fmt.Fprintf(w, "%s, N=%d: throughput admitted over open %s\n", arms[i].workload(), arms[i].agents, arms[i].wall.Over(arms[i+1].wall))
	}
	return nil
}
