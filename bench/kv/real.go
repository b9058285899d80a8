package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/bench/internal/prose"
	"github.com/batchagent/batchagent/bench/internal/realrun"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// realWorkload is a workload of the engine model with texts of the same length, in words of about 1.3 tokens.
type realWorkload struct {
	turns, words int           // words are new in each turn
	tool         time.Duration // duration of a call
}

var realWorkloads = map[string]realWorkload{"d": {8, 115, time.Second}, "d-long": {10, 165, 200 * time.Millisecond}}

const (
	realPrefixWords = 250
	realOutput      = 8   // tokens
	realSeparator   = "=" // separates a tool's arguments
)

// realArm is one admission policy on a real server. A whole worker runs each.
type realArm struct {
	name   string
	agents int  // limit of live agents; 0 leaves it to the admission
	told   bool // lets the worker read the size of the KV cache

	wall, hit    figures.Series
	first, later delays
}

// compareReal runs the arms on a server, round by round. Each round rotates their order by one.
func compareReal(ctx context.Context, w io.Writer, url, name string, agents, rounds int, fixed []int) error {
	load, ok := realWorkloads[name]
	if !ok {
		return fmt.Errorf("workload %q has no form for a real server; %s have one", name, strings.Join(slices.Sorted(maps.Keys(realWorkloads)), " and "))
	}
	arms := []*realArm{{name: "unlimited", agents: agents}}
	for _, n := range fixed {
		arms = append(arms, &realArm{name: fmt.Sprintf("fixed %d", n), agents: n})
	}
	arms = append(arms, &realArm{name: "ours", told: true})
	for round := range rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)]
			if err := a.runAgents(ctx, url, load, agents, round); err != nil {
				return fmt.Errorf("%s, round %d: %w", a.name, round+1, err)
			}
			figures.Line(w, fmt.Sprintf("KV/workload=%s/backend=real/arm=%s/round=%d", name, strings.ReplaceAll(a.name, " ", "_"), round+1), agents,
				figures.Value{Number: float64(agents) / a.wall[round] * 3600, Unit: "jobs/h"}, figures.Value{Number: a.hit[round], Unit: "hit-rate"},
				figures.Value{Number: a.first.p95[round], Unit: "p95-ttft-first-s"}, figures.Value{Number: a.later.p95[round], Unit: "p95-ttft-tool-s"})
		}
	}
	fmt.Fprintf(w, "\n%s on a real server: %d agents of %d turns, medians of %d rounds\n", name, agents, load.turns, rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\twall s\thit rate\tTTFT first P50/P95\tafter a tool P50/P95\t\n")
	for _, a := range arms {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", a.name, a.wall, a.hit, &a.first, &a.later)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	ours := arms[len(arms)-1]
	best := slices.Clone(arms[1].wall)
	for _, a := range arms[1 : len(arms)-1] {
		for i, wall := range a.wall {
			best[i] = min(best[i], wall)
		}
	}
	fmt.Fprintf(w, "throughput of ours over unlimited: %s\n", arms[0].wall.Over(ours.wall))
	fmt.Fprintf(w, "throughput of ours over the best fixed number of that round: %s\n", best.Over(ours.wall))
	return nil
}

// runAgents runs the workload once.
func (a *realArm) runAgents(ctx context.Context, url string, load realWorkload, agents, round int) error {
	name := fmt.Sprintf("%s, round %d, %d", a.name, round, time.Now().UnixNano())
	run := realrun.Run{
		URL: url, Live: a.agents, Told: a.told, System: name + " " + prose.Text(name, realPrefixWords), Turns: load.turns, Output: realOutput,
		Tool: load.look(), Call: func(r *backend.Request, turn int) map[string]string {
			return map[string]string{"at": fmt.Sprint(r.Hints.Session, realSeparator, turn)}
		},
	}
	for i := range agents {
		run.Texts = append(run.Texts, prose.Text(fmt.Sprint(name, i), load.words))
	}
	out, err := run.Do(ctx)
	if err != nil {
		return err
	}
	a.wall = append(a.wall, out.Wall.Seconds())
	a.hit = append(a.hit, out.HitRate())
	a.first.add(out.First)
	a.later.add(out.Later)
	return nil
}

// look is a tool that returns a different text for each call.
func (l realWorkload) look() toolpool.Tool {
	return toolpool.Tool{
		Name: "look", Description: "Looks at something.", Parameters: []byte(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}`),
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			timer := time.NewTimer(l.tool)
			defer timer.Stop()
			select {
			case <-timer.C:
				return prose.Text(string(args), l.words), nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		},
	}
}
