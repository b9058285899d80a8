package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the values of the flags.
type settings struct {
	jobs     int
	duration time.Duration // of the fault period
	within   time.Duration // limit for the end of all batches after the faults
	lease    time.Duration
	seed     uint64
	verbose  bool
	programs string // [eachProgram] or [serveProgram]; "" runs the engine's own agents
}

const (
	workers    = 4
	simulators = 2
	mostTurns  = 5
	batches    = 3 * mostTurns // three of each number of turns
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == agentCommand {
		if err := runAgent(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	flag.IntVar(&s.jobs, "jobs", 10_000, "jobs, a fifth of them with each number of turns from 1 to 5")
	flag.DurationVar(&s.duration, "duration", 2*time.Minute, "duration of the faults")
	flag.DurationVar(&s.within, "within", 5*time.Minute, "time limit for the end of all batches after the last fault")
	flag.DurationVar(&s.lease, "lease", 3*time.Second, "lease of the workers")
	flag.Uint64Var(&s.seed, "seed", 0, "of the faults; 0 draws a random one")
	flag.BoolVar(&s.verbose, "v", false, "print each fault as it strikes")
	flag.StringVar(&s.programs, "programs", "", "the agents are programs: \"each\" is one process for each job, \"serve\" one for all jobs of a worker")
	rolling := flag.Bool("rolling", false, "no faults: restart the workers one after the other with SIGTERM")
	smoke := flag.Bool("smoke", false, "small: 1,000 jobs and 20 seconds of faults")
	flag.Parse()
	if s.programs != "" && s.programs != eachProgram && s.programs != serveProgram {
		fmt.Fprintf(os.Stderr, "chaos: --programs must be %s or %s\n", eachProgram, serveProgram)
		os.Exit(2)
	}
	if *smoke && s.programs != "" {
		s.jobs, s.duration, s.lease = 150, 8*time.Second, 2*time.Second
	} else if *smoke {
		s.jobs, s.duration, s.lease = 1_000, 20*time.Second, 2*time.Second
	}
	if *smoke && *rolling {
		s.duration = time.Minute // jobs must last until the last worker is back
	}
	if s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000) + 1
	}
	fmt.Printf("chaos: --jobs %d --duration %s --lease %s --seed %d", s.jobs, s.duration, s.lease, s.seed)
	if s.programs != "" {
		fmt.Printf(" --programs %s", s.programs)
	}
	fmt.Println()
	try := torture
	if *rolling {
		try = restarts
	}
	good, err := try(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	if !good {
		os.Exit(1)
	}
}

// torture runs the cluster, injects faults, and judges the result.
func torture(ctx context.Context, s settings) (good bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.duration+s.within+2*time.Minute)
	defer cancel()
	c, err := newCluster(ctx, s)
	if err != nil {
		return false, err
	}
	defer c.close()
	began := time.Now()
	watched, endWatch := context.WithCancel(ctx)
	longest := make(chan time.Duration, 1)
	go func() { longest <- c.watch(watched) }()

	var r report
	r.faults = c.strike(ctx, rand.New(rand.NewPCG(s.seed, 1)))
	c.heal(ctx)
	calm := time.Now()
	r.ended = c.await(ctx, s.within)
	endWatch()
	r.longestTakeover, r.storm, r.calm = <-longest, calm.Sub(began), time.Since(calm)
	if r.verdict, err = c.judge(ctx); err != nil {
		return false, err
	}
	r.twice, r.most = c.answers.twice()
	r.calls, r.whole, r.refused = c.answers.counts()
	if r.programs = s.programs != ""; r.programs {
		if r.processes, r.files, err = c.leftovers(); err != nil {
			return false, err
		}
	}
	r.print(os.Stdout)
	return r.good(), nil
}

// restarts runs the cluster, restarts its workers under load, and judges the result.
func restarts(ctx context.Context, s settings) (good bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.duration+s.within+2*time.Minute)
	defer cancel()
	c, err := newCluster(ctx, s)
	if err != nil {
		return false, err
	}
	defer c.close()
	r, err := c.roll(ctx, s.within)
	if err != nil {
		return false, err
	}
	r.print(os.Stdout)
	return r.good(), nil
}
