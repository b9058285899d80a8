package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// scenario is a workload on a machine.
type scenario struct {
	load    func(n int, r *rand.Rand) workload
	agents  int
	profile func() (batching.Profile, error)
	sweep   []int // of the fixed arm
}

func a10g() (batching.Profile, error) { return batching.LookupProfile("a10g-7b") }

// smallMachine is calibrated to a real vLLM with a model of 135 million parameters, two CPU cores and 4,096 tokens of KV. On
// workload d, 16 agents at once took 177.6 s there, and 3 or 4 at once 105 s.
func smallMachine() (batching.Profile, error) {
	return batching.Profile{
		Name: "cpu", BlockSize: 128, Blocks: 32, BudgetTokens: 2_048, MaxSequences: 256,
		Cost: batching.Cost{
			Step: 60 * time.Millisecond, Prefill: 1_700 * time.Microsecond, Attention: 100 * time.Microsecond, Decode: 3 * time.Millisecond,
		},
	}, nil
}

// late is a10g with a prefix cache that can reuse a prompt only once its answer has begun.
func late() (batching.Profile, error) {
	p, err := a10g()
	p.Name, p.LateReuse = p.Name+" with late reuse", true
	return p, err
}

// bigMachine has figures for an H100 with a 7B model in 16 bit, and a million tokens of KV. They are computed from its bandwidth,
// not calibrated.
func bigMachine() (batching.Profile, error) {
	return batching.Profile{
		Name: "h100-7b", BlockSize: 16, Blocks: 62_500, BudgetTokens: 8_192, MaxSequences: 1_024, Overhead: 20 * time.Millisecond,
		Cost: batching.Cost{
			Step: 7 * time.Millisecond, Prefill: 28 * time.Microsecond, Attention: 500 * time.Nanosecond, Decode: 12 * time.Microsecond,
			Context: 17 * time.Microsecond,
		},
	}, nil
}

var scenarios = map[string]scenario{
	"a":      {single, 1_000, a10g, []int{16, 32, 64, 96, 112, 128, 144, 192, 256}},
	"b":      {oneTool, 1_000, a10g, []int{16, 32, 64, 96, 112, 128, 144, 192, 256}},
	"a-late": {single, 1_000, late, []int{32, 64, 112, 128, 144, 192}},
	"c":      {agentic, 96, a10g, []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32}},
	"e":      {longTools, 96, a10g, []int{4, 6, 8, 12, 16, 24, 32}},
	"e-big":  {longTools, 400, bigMachine, []int{64, 80, 96, 128, 160, 200}},
	"c-big":  {agentic, 400, bigMachine, []int{32, 48, 56, 64, 72, 80, 96, 128, 200}},
	"d":      {smallCPU, 16, smallMachine, []int{1, 2, 3, 4, 5, 6, 8, 12}},
}

func main() {
	names := flag.String("workload", "a,a-late,b,c,c-big,d,e,e-big", "workloads to run")
	seeds := flag.Int("seeds", 5, "seeds, from 1; the summary gives medians over them")
	agents := flag.Int("n", 0, "agents; 0 uses the workload's default")
	url := flag.String("backend", "", "run workload d on a real server at this `URL` instead, such as vllm://127.0.0.1:8000")
	rounds := flag.Int("rounds", 3, "rounds on a real server")
	fixedArms := flag.String("fixed", "3,4", "numbers of agents to compare with on a real server")
	smoke := flag.Bool("smoke", false, "a small run that only checks for errors")
	flag.Parse()
	if *smoke {
		*names, *seeds = "d", 1
	}
	figures.Header(os.Stdout, "bench/kv")
	if *url != "" {
		if err := real(*url, *fixedArms, cmp.Or(*agents, scenarios["d"].agents), *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "kv:", err)
			os.Exit(1)
		}
		return
	}
	for name := range strings.SplitSeq(*names, ",") {
		s, ok := scenarios[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "kv: unknown workload %q; known are %s\n", name, strings.Join(slices.Sorted(maps.Keys(scenarios)), ", "))
			os.Exit(2)
		}
		if *agents > 0 {
			s.agents = *agents
		}
		if err := s.compare(os.Stdout, name, *seeds); err != nil {
			fmt.Fprintln(os.Stderr, "kv:", err)
			os.Exit(1)
		}
	}
}

func real(url, fixed string, agents, rounds int) error {
	var numbers []int
	for text := range strings.SplitSeq(fixed, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-fixed: %q is not a number of agents", text)
		}
		numbers = append(numbers, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return compareReal(ctx, os.Stdout, url, agents, rounds, numbers)
}

// arm is one admission policy with the outcomes of its runs.
type arm struct {
	name   string
	policy func(workload, batching.Profile) policy

	wall, hit, recomputed, preempted figures.Series
	first, later                     delays
}

// delays are times to the first token in seconds: the quantiles of each run.
type delays struct{ p50, p95 figures.Series }

func (d *delays) add(s figures.Series) {
	d.p50 = append(d.p50, s.Quantile(0.5))
	d.p95 = append(d.p95, s.Quantile(0.95))
}

// String returns the P50 and P95 of the median run.
func (d *delays) String() string { return fmt.Sprintf("%.2f/%.2f", d.p50.Median(), d.p95.Median()) }

func (s scenario) arms() []*arm {
	all := []*arm{{name: "unlimited", policy: func(workload, batching.Profile) policy { return fixed(0) }}}
	for _, k := range s.sweep {
		all = append(all, &arm{name: fmt.Sprintf("fixed %d", k), policy: func(workload, batching.Profile) policy { return fixed(k) }})
	}
	all = append(all, &arm{name: "pause-by-size", policy: func(workload, batching.Profile) policy { return newThunder() }})
	ours := func(name string, told float64, change func(*ledger)) *arm {
		return &arm{name: name, policy: func(w workload, p batching.Profile) policy {
			return newLedger(w, p, told, change)
		}}
	}
	return append(all,
		ours("ours", 1, nil),
		ours("ours, no pause", 1, func(l *ledger) { l.noPause = true }),
		ours("ours, no learning", 1, func(l *ledger) { l.noLearn = true }),
		ours("ours, prefix per agent", 1, func(l *ledger) { l.perAgent = true }),
		ours("ours, never leave", 1, func(l *ledger) { l.stay = true }),
		ours("ours, tools of one name", 1, func(l *ledger) { l.oneName = true }),
		ours("ours, no look at the queue", 1, func(l *ledger) { l.noQueue = true }),
		ours("ours, seed first", 1, func(l *ledger) { l.seeding = &scheduler.Seeding{} }),
		ours("ours, no seed", 1, func(l *ledger) { l.seeding = nil }),
		ours("ours, told 1.3", 1.3, nil),
	)
}

// compare runs every arm on every seed.
func (s scenario) compare(w io.Writer, name string, seeds int) error {
	p, err := s.profile()
	if err != nil {
		return err
	}
	arms, title := s.arms(), ""
	for seed := range seeds {
		load := s.load(s.agents, rand.New(rand.NewPCG(uint64(seed+1), 1)))
		title = fmt.Sprintf("%s: %s, %d agents, %s, %d tokens of KV", name, load.name, s.agents, p.Name, p.Capacity())
		for _, a := range arms {
			ran, err := play(load, p, a.policy(load, p))
			if err != nil {
				return err
			}
			a.add(ran, load)
			figures.Line(w, fmt.Sprintf("KV/workload=%s/arm=%s/seed=%d", name, strings.ReplaceAll(a.name, " ", "_"), seed+1), s.agents,
				figures.Value{Number: float64(s.agents) / ran.now.Hours(), Unit: "jobs/h"}, figures.Value{Number: a.hit[seed], Unit: "hit-rate"},
				figures.Value{Number: a.recomputed[seed], Unit: "recomputed"}, figures.Value{Number: a.preempted[seed], Unit: "preemptions"},
				figures.Value{Number: a.first.p95[seed], Unit: "p95-ttft-first-s"}, figures.Value{Number: a.later.p95[seed], Unit: "p95-ttft-tool-s"})
		}
	}
	fmt.Fprintf(w, "\n%s; medians of %d seeds\n", title, seeds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\twall s\tjobs/h\thit rate\trecomputed\tpreempted\tTTFT first P50/P95\tafter a tool P50/P95\t\n")
	for _, a := range arms {
		wall := a.wall.Median()
		fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.2f\t%.0f%%\t%.0f\t%s\t%s\t\n", a.name, wall, float64(s.agents)/wall*3600,
			a.hit.Median(), 100*a.recomputed.Median(), a.preempted.Median(), &a.first, &a.later)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	ratios(w, arms)
	return nil
}

// add records a run. recomputed is the share of tokens computed beyond the necessary ones.
func (a *arm) add(w *world, load workload) {
	ideal := load.prefix
	for _, s := range load.agents {
		for _, t := range s.turns {
			ideal += t.fresh
		}
	}
	c := w.engine.Counters()
	a.wall = append(a.wall, w.now.Seconds())
	a.hit = append(a.hit, float64(w.cached)/float64(w.prompt))
	a.recomputed = append(a.recomputed, float64(c.PrefilledTokens-ideal)/float64(ideal))
	a.preempted = append(a.preempted, float64(c.Preemptions))
	a.first.add(seconds(w.ttftFirst))
	a.later.add(seconds(w.ttftLater))
}

// ratios prints the throughput of ours divided by that of the other arms, seed by seed.
func ratios(w io.Writer, arms []*arm) {
	find := func(name string) *arm {
		return arms[slices.IndexFunc(arms, func(a *arm) bool { return a.name == name })]
	}
	ours := find("ours")
	best := figures.Series(slices.Clone(arms[0].wall))
	for _, a := range arms {
		if strings.HasPrefix(a.name, "fixed") {
			for i, wall := range a.wall {
				best[i] = min(best[i], wall)
			}
		}
	}
	for _, c := range []struct {
		name string
		wall figures.Series
	}{{"unlimited", arms[0].wall}, {"the best fixed number of that seed", best}, {"pause-by-size", find("pause-by-size").wall}} {
		fmt.Fprintf(w, "throughput of ours over %s: %s\n", c.name, c.wall.Over(ours.wall))
	}
	fmt.Fprintln(w)
}

func seconds(of []time.Duration) figures.Series {
	s := make(figures.Series, len(of))
	for i, t := range of {
		s[i] = t.Seconds()
	}
	return s
}
