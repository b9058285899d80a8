package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

// arm is one admission policy with the outcomes of its runs.
type arm struct {
	name   string
	family string // arms that differ in a parameter only: the best of them counts
	policy func(workload, batching.Profile) policy
	whole  bool // the cache never evicts

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

// The families of arms with a swept parameter, and the arms without.
const (
	noEviction    = "no eviction"
	unlimited     = "unlimited"
	bestFixed     = "fixed"
	pauseBySize   = "pause-by-size"
	concurFamily  = "CONCUR"
	primeFamily   = "prime-rl"
	cacheFamily   = "CacheTTL"
	oursFamily    = "ours"
	oursVariation = "ours, varied"
)

func (s scenario) arms() []*arm {
	var all []*arm
	add := func(family, name string, policy func(workload, batching.Profile) policy) {
		all = append(all, &arm{family: family, name: name, policy: policy, whole: family == noEviction})
	}
	is := func(p policy) func(workload, batching.Profile) policy {
		return func(workload, batching.Profile) policy { return p }
	}
	add(noEviction, noEviction, is(fixed{}))
	add(unlimited, unlimited, is(fixed{}))
	for _, k := range s.sweep {
		add(bestFixed, fmt.Sprintf("fixed %d", k), is(fixed{n: k}))
	}
	add(pauseBySize, pauseBySize, func(workload, batching.Profile) policy { return newThunder() })
	for _, at := range [][2]float64{{0.2, 0.5}, {0.5, 0.8}, {0.7, 0.9}} {
		for _, floor := range []float64{0.5, 0.7} {
			add(concurFamily, fmt.Sprintf("CONCUR %g-%g hit %g", at[0], at[1], floor), func(workload, batching.Profile) policy {
				return newConcur(at[0], at[1], floor)
			})
		}
	}
	for _, at := range [][2]float64{{0.8, 0.9}, {0.9, 1}} {
		for _, cut := range []float64{0.5, 0.8} {
			add(primeFamily, fmt.Sprintf("prime-rl %g-%g cut %g", at[0], at[1], cut), func(w workload, p batching.Profile) policy {
				return newPrimeRL(w, p, at[0], at[1], cut)
			})
		}
	}
	for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
		add(cacheFamily, fmt.Sprintf("CacheTTL %s", ttl), is(&cacheTTL{ttl: ttl}))
	}
	ours := func(family, name string, told float64, change func(*ledger)) {
		add(family, name, func(w workload, p batching.Profile) policy { return newLedger(w, p, told, change) })
	}
	ours(oursFamily, "ours", 1, nil)
	varied := func(name string, change func(*ledger)) { ours(oursVariation, name, 1, change) }
	varied("ours, no pause", func(l *ledger) { l.noPause = true })
	varied("ours, no learning", func(l *ledger) { l.noLearn = true })
	varied("ours, prefix per agent", func(l *ledger) { l.perAgent = true })
	varied("ours, never leave", func(l *ledger) { l.stay = true })
	varied("ours, tools of one name", func(l *ledger) { l.oneName = true })
	varied("ours, no look at the queue", func(l *ledger) { l.noQueue = true })
	varied("ours, no look at the cache", func(l *ledger) { l.noReading = true })
	varied("ours, returns at full price", func(l *ledger) { l.fullPrice = true })
	varied("ours, oldest first", func(l *ledger) { l.oldestFirst = true })
	varied("ours, seed first", func(l *ledger) { l.seeding = &scheduler.Seeding{} })
	varied("ours, no seed", func(l *ledger) { l.seeding = nil })
	ours(oursVariation, "ours, told 1.3", 1.3, nil)
	ours(oursVariation, "ours, told 0.7", 0.7, nil)
	return all
}

// compare runs every arm on every seed, from first on.
func (s scenario) compare(w io.Writer, name string, first, seeds int, only *regexp.Regexp) error {
	p, err := s.profile()
	if err != nil {
		return err
	}
	arms, title := slices.DeleteFunc(s.arms(), func(a *arm) bool { return !only.MatchString(a.name) }), ""
	for seed := range seeds {
		load := s.load(s.agents, rand.New(rand.NewPCG(uint64(first+seed), 1)))
		title = fmt.Sprintf("%s: %s, %d agents, %s, %d tokens of KV", name, load.name, s.agents, p.Name, p.Capacity())
		for _, a := range arms {
			on := p
			if a.whole {
				on.Blocks = (load.tokens()/p.Capacity() + 2) * p.Blocks
			}
			ran, err := play(load, on, a.policy(load, on))
			if err != nil {
				return err
			}
			a.add(ran, load)
			figures.Line(w, fmt.Sprintf("KV/workload=%s/arm=%s/seed=%d", name, strings.ReplaceAll(a.name, " ", "_"), first+seed), s.agents,
				figures.Value{Number: float64(s.agents) / ran.now.Hours(), Unit: "jobs/h"}, figures.Value{Number: a.hit[seed], Unit: "hit-rate"},
				figures.Value{Number: a.recomputed[seed], Unit: "recomputed"}, figures.Value{Number: a.preempted[seed], Unit: "preemptions"},
				figures.Value{Number: a.first.p95[seed], Unit: "p95-ttft-first-s"}, figures.Value{Number: a.later.p95[seed], Unit: "p95-ttft-tool-s"})
		}
	}
	fmt.Fprintf(w, "\n%s; medians of %d seeds\n", title, seeds)
	limit := best(arms, noEviction)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\twall s\tjobs/h\tof the limit\thit rate\trecomputed\tpreempted\tTTFT first P50/P95\tafter a tool P50/P95\t\n")
	for _, a := range arms {
		wall := a.wall.Median()
		fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.2f\t%.2f\t%.0f%%\t%.0f\t%s\t%s\t\n", a.name, wall, float64(s.agents)/wall*3600, limit.Over(a.wall).Median(),
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
	for _, size := range load.texts {
		ideal += size
	}
	for _, s := range load.agents {
		for _, t := range s.turns {
			ideal += t.fresh
		}
	}
	c := w.engine.Counters()
	a.wall = append(a.wall, w.now.Seconds())
	a.hit = append(a.hit, float64(w.cached)/float64(w.prompt))
	a.recomputed = append(a.recomputed, float64(c.PrefilledTokens-w.guests-ideal)/float64(ideal))
	a.preempted = append(a.preempted, float64(c.Preemptions))
	a.first.add(seconds(w.ttftFirst))
	a.later.add(seconds(w.ttftLater))
}

// best returns the shortest time of a family, seed by seed. It is empty if the family did not run.
func best(arms []*arm, family string) (out figures.Series) {
	for _, a := range arms {
		switch {
		case a.family != family:
		case out == nil:
			out = slices.Clone(a.wall)
		default:
			for i, wall := range a.wall {
				out[i] = min(out[i], wall)
			}
		}
	}
	return out
}

// ratios prints the throughput of ours divided by that of the other arms, seed by seed.
func ratios(w io.Writer, arms []*arm) {
	ours := best(arms, oursFamily)
	for _, c := range []struct{ family, name string }{
		{noEviction, "a cache that never evicts"}, {unlimited, "unlimited"}, {bestFixed, "the best fixed number of that seed"},
		{pauseBySize, pauseBySize}, {concurFamily, "the best CONCUR of that seed"}, {primeFamily, "the best prime-rl of that seed"},
		{cacheFamily, "the best CacheTTL of that seed"},
	} {
		if wall := best(arms, c.family); len(wall) > 0 && len(ours) > 0 {
			fmt.Fprintf(w, "throughput of ours over %s: %s\n", c.name, wall.Over(ours))
		}
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
