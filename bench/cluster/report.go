package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/diagnose"
)

// arm is a number of nodes with the outcomes of its runs.
type arm struct {
	nodes   int
	kill    bool
	preload bool // the documents are preloaded
	runs    []ran
}

// armsOf returns the arms of the numbers of nodes. The first is plain. An arm with a kill is the last, after the same one without.
func armsOf(nodes []int) []*arm {
	var arms []*arm
	for _, n := range nodes {
		arms = append(arms, &arm{nodes: n}, &arm{nodes: n, preload: true})
	}
	if most := nodes[len(nodes)-1]; most > 1 {
		last := len(arms) - 1
		arms[last-1], arms[last] = arms[last], arms[last-1]
		arms = append(arms, &arm{nodes: most, kill: true})
	}
	return arms
}

func (a *arm) name() string {
	switch {
	case a.kill:
		return fmt.Sprintf("nodes=%d-kill", a.nodes)
	case a.preload:
		return fmt.Sprintf("nodes=%d-preload", a.nodes)
	}
	return fmt.Sprintf("nodes=%d", a.nodes)
}

// spec returns the file of the arm's spec.
func (a *arm) spec() string {
	if a.preload {
		return preloadSpec
	}
	return plainSpec
}

func (a *arm) series(of func(ran) float64) figures.Series {
	out := make(figures.Series, len(a.runs))
	for i, r := range a.runs {
		out[i] = of(r)
	}
	return out
}

func (r ran) seconds() float64 { return r.wall.Seconds() }

func hitRate(n diagnose.Node) float64 { return share(n.Usage.CachedTokens, n.Usage.PromptTokens) }

func share(part, whole int64) float64 { return float64(part) / float64(max(whole, 1)) }

// fault returns the error of a run, or "". A killed worker may have died during a tool call. Another worker then repeats the
// call.
func (r ran) fault(s settings, killed bool) string {
	if r.lines != s.agents || r.lost+r.doubled+r.failed > 0 {
		return fmt.Sprintf("%d lines for %d jobs, %d lost, %d doubled, %d failed", r.lines, s.agents, r.lost, r.doubled, r.failed)
	}
	if executed := r.counts.Tools.Executed; executed != int64(s.documents) && !killed {
		return fmt.Sprintf("read_file ran %d times for %d documents", executed, s.documents)
	}
	return ""
}

func (r ran) print(name string, round int, s settings) {
	figures.Line(os.Stdout, fmt.Sprintf("Cluster/%s/round=%d", name, round), s.agents,
		figures.Value{Number: r.seconds(), Unit: "s"},
		figures.Value{Number: float64(s.agents) / r.seconds(), Unit: "jobs/s"},
		figures.Value{Number: float64(r.counts.Usage.CachedTokens), Unit: "cached-tokens"},
		figures.Value{Number: share(r.counts.Usage.CachedTokens, r.counts.Usage.PromptTokens), Unit: "hit-rate"},
		figures.Value{Number: float64(r.counts.Tools.Executed), Unit: "tool-runs"},
		figures.Value{Number: float64(r.failed) / float64(s.agents), Unit: "failure-rate"},
		figures.Value{Number: r.explained.Agents, Unit: "live-agents"},
		figures.Value{Number: r.load.machine, Unit: "busy-processors"},
		figures.Value{Number: r.ends.idle(len(r.ends.last)).Seconds(), Unit: "idle-s/node"})
}

// summary prints medians and spreads, then the nodes of each arm's last run.
func summary(w io.Writer, s settings, arms []*arm) error {
	fmt.Fprintf(w, "\n%d agents, %d rounds, median [min-max]\n", s.agents, s.rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\twall s\tjobs/s\tefficiency T1/(k*Tk)\tcached tokens\thit rate\ttool runs\tfailed\n")
	one := arms[0].series(ran.seconds)
	for _, a := range arms {
		wall, efficiency := a.series(ran.seconds), "-"
		if !a.kill && !a.preload {
			e := one.Over(wall)
			for i := range e {
				e[i] *= float64(arms[0].nodes) / float64(a.nodes)
			}
			efficiency = e.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f%%\n", a.name(), wall,
			a.series(func(r ran) float64 { return float64(s.agents) / r.seconds() }), efficiency,
			a.series(func(r ran) float64 { return float64(r.counts.Usage.CachedTokens) }),
			a.series(func(r ran) float64 { return share(r.counts.Usage.CachedTokens, r.counts.Usage.PromptTokens) }),
			a.series(func(r ran) float64 { return float64(r.counts.Tools.Executed) }),
			100*a.series(func(r ran) float64 { return float64(r.failed) / float64(s.agents) }).Median())
	}
	fmt.Fprintf(t, "\nprocessors in use, of %d\tmachine\tworkers\tservers\tredis\tagents live at a time\tworkers, for 1,000 live agents\twhere agents spent their time\n", runtime.NumCPU())
	for _, a := range arms {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.name(), a.series(func(r ran) float64 { return r.load.machine }),
			a.series(func(r ran) float64 { return r.load.workers }), a.series(func(r ran) float64 { return r.load.servers }),
			a.series(func(r ran) float64 { return r.load.redis }), a.series(func(r ran) float64 { return r.explained.Agents }),
			a.series(func(r ran) float64 { return r.load.workers / r.explained.Agents * 1_000 }), a.times())
	}
	fmt.Fprintf(t, "\nthe end of the batch\tnodes idle before it, s\tthe same, of the wall time\tlast tenth of the results, times as long as another\n")
	for _, a := range arms {
		if a.kill {
			continue // the dead node was idle for another reason
		}
		idle := a.series(func(r ran) float64 { return r.ends.idle(len(r.ends.last)).Seconds() })
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", a.name(), idle, idle.Over(a.series(ran.seconds)), a.series(func(r ran) float64 { return r.ends.lastTenth() }))
	}
	fmt.Fprintf(t, "\nlast round\tworker\tjobs\tturns\tprompt tokens\tcached tokens\thit rate\ttools asked\texecuted\n")
	for _, a := range arms {
		for _, n := range a.runs[len(a.runs)-1].explained.Nodes {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%.3f\t%d\t%d\n", a.name(), n.Worker, n.Jobs, n.Turns, n.Usage.PromptTokens,
				n.Usage.CachedTokens, hitRate(n), n.Tools.Asked, n.Tools.Executed)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, a := range arms {
		a.warn(w)
	}
	preloads(w, arms)
	if last := arms[len(arms)-1]; last.kill {
		deaths(w, s, arms[len(arms)-2], last)
	}
	return nil
}

// times returns the parts that took more than a hundredth of the time, over all runs.
func (a *arm) times() string {
	var sum diagnose.Explanation
	for _, r := range a.runs {
		sum.WallMS += r.explained.WallMS
		sum.Times.Add(r.explained.Times)
	}
	var out []string
	say := func(name string, ms int64) {
		if s := share(ms, sum.WallMS); s >= 0.01 {
			out = append(out, fmt.Sprintf("%s %.0f%%", name, 100*s))
		}
	}
	for _, p := range sum.Times.Parts() {
		say(p.Name, p.MS)
	}
	say("batchagent", sum.WallMS-sum.Times.Sum().Milliseconds())
	return strings.Join(out, ", ")
}

func (a *arm) warn(w io.Writer) {
	n := 0
	for _, r := range a.runs {
		if r.load.full() {
			n++
		}
	}
	if n > 0 {
		fmt.Fprintf(w, "%s: THE MACHINE WAS FULL in %d of %d runs, with what else ran on it (over %.0f%% of its processors): their times are partly the machine's\n",
			a.name(), n, len(a.runs), 100*full)
	}
}

// preloads compares two runs of each round: one with preloaded documents, and one with agents that read the documents.
func preloads(w io.Writer, arms []*arm) {
	fmt.Fprintln(w)
	for _, a := range arms {
		i := slices.IndexFunc(arms, func(o *arm) bool { return o.nodes == a.nodes && !o.kill && !o.preload })
		if a.preload && i >= 0 {
			fmt.Fprintf(w, "%s: %s times the jobs/s of %s\n", a.name(), arms[i].series(ran.seconds).Over(a.series(ran.seconds)), arms[i].name())
		}
	}
}

// deaths compares runs in which a worker was killed with runs of the same rounds without a kill.
func deaths(w io.Writer, s settings, calm, killed *arm) {
	var lost, allowed, at, takeovers figures.Series
	for i, r := range killed.runs {
		base := calm.runs[i].wall
		lost = append(lost, (r.wall - base).Seconds())
		allowed = append(allowed, mayLose(base, r.killedAt, s.lease, killed.nodes).Seconds())
		at = append(at, r.killedAt.Seconds())
		takeovers = append(takeovers, float64(r.counts.Takeovers))
	}
	fmt.Fprintf(w, "\none of %d workers killed after s: %s; jobs taken over: %s\n", killed.nodes, at, takeovers)
	fmt.Fprintf(w, "time lost, s: %s; the lease (%s) and its share of the work: %s; lost over allowed: %s\n", lost, s.lease, allowed, lost.Over(allowed))
}

// mayLose returns the time that a kill may cost: the lease, and the delay of the remaining work with one node fewer.
func mayLose(undisturbed, killedAt, lease time.Duration, nodes int) time.Duration {
	return lease + max(0, undisturbed-killedAt)/time.Duration(nodes-1)
}
