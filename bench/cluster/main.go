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
	agents, documents, rounds int
	nodes                     []int // ascending
	scale                     float64
	profile                   string
	lease                     time.Duration
}

func main() {
	var s settings
	flag.IntVar(&s.agents, "n", 1_000, "agents")
	flag.IntVar(&s.documents, "documents", 40, "documents that they read")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds; the arms take turns in each")
	flag.Float64Var(&s.scale, "time-scale", 1, "how much faster than its machine a simulated server is")
	flag.StringVar(&s.profile, "profile", "a10g-7b", "vllmsim's profile")
	flag.DurationVar(&s.lease, "lease", 15*time.Second, "the workers' lease")
	nodes := flag.String("nodes", "1,2,4", "numbers of nodes, ascending; a worker is killed in runs of the last")
	within := flag.Duration("within", time.Hour, "give up after this time")
	smoke := flag.Bool("smoke", false, "a small run that only checks for errors")
	flag.Parse()
	if *smoke {
		s.agents, s.documents, s.rounds, s.scale, s.lease, *nodes = 60, 6, 1, 20, 2*time.Second, "1,2"
	}
	for text := range strings.SplitSeq(*nodes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || len(s.nodes) > 0 && n <= s.nodes[len(s.nodes)-1] {
			fmt.Fprintf(os.Stderr, "cluster: -nodes takes ascending numbers, not %q\n", *nodes)
			os.Exit(2)
		}
		s.nodes = append(s.nodes, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, s settings) error {
	c, err := newCluster(ctx, s)
	if err != nil {
		return err
	}
	defer c.close()
	figures.Header(os.Stdout, "bench/cluster", fmt.Sprintf("profile: %s, %g times as fast as its machine; %d agents, %d documents, lease %s",
		s.profile, s.scale, s.agents, s.documents, s.lease))
	arms := armsOf(s.nodes)
	bad := 0
	for round := range s.rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)]
			ran, err := c.runBatch(ctx, a)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", a.name(), round+1, err)
			}
			a.runs = append(a.runs, ran)
			ran.print(a.name(), round+1, s)
			if fault := ran.fault(s, a.kill); fault != "" {
				bad++
				fmt.Fprintf(os.Stderr, "cluster: %s, round %d: %s\n", a.name(), round+1, fault)
			}
		}
	}
	if err := summary(os.Stdout, s, arms); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d runs lost, doubled, failed or repeated work", bad)
	}
	return nil
}
