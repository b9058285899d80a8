package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/processkit"
)

// settings are the values of the flags.
type settings struct {
	sizes   []int
	rounds  int
	workers int
	slots   int
	arms    []string
	smoke   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	var n node
	sizes := flag.String("n", "50,200,1000,5000", "jobs of a batch, several sizes")
	arms := flag.String("arms", "cluster,single,gather", "arms to run")
	flag.IntVar(&s.rounds, "rounds", 7, "measured rounds of each size, after one round of warm-up")
	flag.IntVar(&s.workers, "workers", 4, "worker processes of the cluster, and simulators")
	flag.IntVar(&s.slots, "slots", 1024, "model requests in flight per worker; the simulator has no limit")
	flag.BoolVar(&s.smoke, "smoke", false, "one small run that only checks for lost results")
	asNode := flag.Bool("node", false, "run as a worker process (used by the benchmark itself)")
	flag.StringVar(&n.id, "id", "", "with -node: name")
	flag.StringVar(&n.redis, "redis", "", "with -node: Redis URL")
	flag.StringVar(&n.backend, "backend", "", "with -node: server URL")
	flag.Parse()
	if *asNode {
		n.slots = s.slots
		exit(runNode(ctx, n))
	}
	if s.smoke {
		*sizes, s.rounds = "50", 1
	}
	s.arms = strings.Split(*arms, ",")
	for text := range strings.SplitSeq(*sizes, ",") {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1 {
			exit(fmt.Errorf("-n takes numbers, not %q", text))
		}
		s.sizes = append(s.sizes, size)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	exit(measure(ctx, s))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fair:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure runs the arms in turn, round by round, for each size.
func measure(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "bench-fair-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := processkit.Build(ctx, dir, ".", "github.com/batchagent/batchagent/cmd/vllmsim"); err != nil {
		return err
	}
	figures.Header(os.Stdout, "bench/fair")
	sims, err := startSimulators(ctx, filepath.Join(dir, "vllmsim"), s.workers)
	if err != nil {
		return err
	}
	defer sims.stop()
	var arms []arm
	for _, name := range s.arms {
		a, err := start(ctx, name, s, sims)
		if err != nil {
			return err
		}
		defer a.stop()
		arms = append(arms, a)
	}
	for _, n := range s.sizes {
		if err := compare(ctx, s, arms, dir, n); err != nil {
			return err
		}
	}
	return nil
}

// compare measures one size and prints each run, then medians and ratios.
func compare(ctx context.Context, s settings, arms []arm, dir string, n int) error {
	specPath, err := writeSpec(dir, n)
	if err != nil {
		return err
	}
	wall := make([]figures.Series, len(arms))
	lost := make([]int, len(arms))
	for round := range s.rounds + 1 {
		for i, a := range arms {
			before := a.cpu()
			out, err := a.run(ctx, specPath, n)
			if err != nil {
				return fmt.Errorf("%s, N=%d: %w", a.name, n, err)
			}
			used := a.cpu() - before
			if a.engine && out.ok != n {
				return fmt.Errorf("%s: %d of %d jobs are ok", a.name, out.ok, n)
			}
			if round == 0 {
				continue // warm-up for connections, caches and the heap
			}
			wall[i] = append(wall[i], out.wall.Seconds())
			lost[i] += n - out.ok
			figures.Line(os.Stdout, fmt.Sprintf("Fair/arm=%s/n=%d", a.name, n), 1,
				figures.Value{Number: float64(out.wall.Nanoseconds()), Unit: "ns/op"},
				figures.Value{Number: out.wall.Seconds(), Unit: "wall-s"},
				figures.Value{Number: float64(n) / out.wall.Seconds(), Unit: "jobs/s"},
				figures.Value{Number: float64(n - out.ok), Unit: "lost"},
				figures.Value{Number: float64(out.executed), Unit: "tools-run"},
				figures.Value{Number: float64(used.Microseconds()) / float64(n), Unit: "cpu-us/job"})
		}
	}
	fmt.Printf("\nN=%d, wall s, median [min-max] of %d rounds\n", n, s.rounds)
	for i, a := range arms {
		fmt.Printf("%-10s %s  lost %d", a.name, wall[i], lost[i])
		if i > 0 {
			fmt.Printf("  over %s, round by round: %s", arms[0].name, wall[i].Over(wall[0]))
		}
		fmt.Println()
	}
	fmt.Println()
	return nil
}
