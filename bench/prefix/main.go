package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
)

// settings are the values of the flags.
type settings struct {
	documents, questions, words, rounds int
	nodes                               []int
	scale                               float64
	profile, programs                   string
}

func main() {
	var s settings
	flag.IntVar(&s.documents, "documents", 100, "documents")
	flag.IntVar(&s.questions, "questions", 8, "questions about each document")
	flag.IntVar(&s.words, "words", 1_333, "words of a document; 1,333 are about 1,750 tokens")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds; the arms take turns in each")
	flag.Float64Var(&s.scale, "time-scale", 1, "how much faster than its machine a simulated server is")
	flag.StringVar(&s.profile, "profile", "a10g-7b", "vllmsim's profile")
	flag.StringVar(&s.programs, "programs", "", "a folder with the programs to measure; empty builds them")
	nodes := flag.String("nodes", "1,4", "numbers of nodes")
	within := flag.Duration("within", time.Hour, "give up after this time")
	smoke := flag.Bool("smoke", false, "a small run that only checks for errors")
	flag.Parse()
	if *smoke {
		s.documents, s.questions, s.rounds, s.scale, *nodes = 6, 5, 1, 20, "1,2"
	}
	for text := range strings.SplitSeq(*nodes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "prefix: -nodes takes numbers, not %q\n", *nodes)
			os.Exit(2)
		}
		s.nodes = append(s.nodes, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "prefix:", err)
		os.Exit(1)
	}
}

// arm is the runs of one number of nodes and one order of the inputs.
type arm struct {
	nodes int
	order string
	runs  []ran
}

func (a *arm) name() string { return fmt.Sprintf("nodes=%d/%s", a.nodes, a.order) }

func (a *arm) series(of func(ran) float64) figures.Series {
	var out figures.Series
	for _, r := range a.runs {
		out = append(out, of(r))
	}
	return out
}

func measure(ctx context.Context, s settings) error {
	c, err := newCluster(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	figures.Header(os.Stdout, "bench/prefix", fmt.Sprintf("profile: %s, %g times as fast as its machine; %d documents of %d words, %d questions each",
		s.profile, s.scale, s.documents, s.words, s.questions))
	var arms []*arm
	for _, n := range s.nodes {
		for _, order := range orders {
			arms = append(arms, &arm{nodes: n, order: order})
		}
	}
	for round := range s.rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)]
			r, err := c.runBatch(ctx, a.nodes, a.order)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", a.name(), round+1, err)
			}
			a.runs = append(a.runs, r)
			figures.Line(os.Stdout, "Prefix/"+a.name(), s.documents*s.questions,
				figures.Value{Number: r.wall.Seconds(), Unit: "s/batch"},
				figures.Value{Number: r.prefills, Unit: "prefills/document"},
				figures.Value{Number: r.nodes, Unit: "nodes/document"},
				figures.Value{Number: r.cached, Unit: "cached"},
				figures.Value{Number: r.load, Unit: "machine-cpus"})
		}
	}
	fmt.Println()
	for _, a := range arms {
		fmt.Printf("%-18s wall s %s, prefills per document %s, nodes per document %s, cached %s\n", a.name(),
			a.series(func(r ran) float64 { return r.wall.Seconds() }), a.series(func(r ran) float64 { return r.prefills }),
			a.series(func(r ran) float64 { return r.nodes }), a.series(func(r ran) float64 { return r.cached }))
	}
	wall := func(r ran) float64 { return r.wall.Seconds() }
	for _, a := range arms {
		for _, one := range arms {
			if one.nodes == 1 && a.nodes > 1 && one.order == a.order {
				fmt.Printf("%-18s is %s times as fast as one node\n", a.name(), one.series(wall).Over(a.series(wall)))
			}
		}
	}
	return nil
}
