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
	"github.com/batchagent/batchagent/internal/processkit"
)

// settings are the values of the flags.
type settings struct {
	jobs    int
	rounds  int
	workers int
	asynq   []int // concurrencies to try
	fence   bool
	profile string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	concurrency := flag.String("asynq", "64,256", "concurrencies of asynq to try; the best one counts; empty runs only ours")
	flag.IntVar(&s.jobs, "n", 100_000, "jobs of one run")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds; each runs every arm once")
	flag.IntVar(&s.workers, "workers", 4, "workers of ours")
	flag.BoolVar(&s.fence, "fence", false, "compare fencing by a hash with fencing by the pending entries list instead")
	flag.StringVar(&s.profile, "cpuprofile", "", "write a CPU profile of our arm to this file, and print Redis' time by command")
	smoke := flag.Bool("smoke", false, "one small run that only checks for errors")
	flag.Parse()
	if *smoke {
		s.jobs, s.rounds, *concurrency = 2_000, 1, "64"
	}
	for c := range strings.FieldsFuncSeq(*concurrency, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "queue: -asynq takes numbers, not %q\n", c)
			os.Exit(2)
		}
		s.asynq = append(s.asynq, n)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "queue:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, s settings) error {
	r, err := processkit.StartRedis(ctx)
	if err != nil {
		return err
	}
	defer r.Stop()
	info, err := r.Info(ctx, "server")
	if err != nil {
		return err
	}
	figures.Header(os.Stdout, "bench/queue", "redis: "+info["redis_version"]+", appendonly yes, appendfsync everysec")
	if s.fence {
		return compareFences(ctx, r, s)
	}
	arms := []arm{{name: "batchagent/workers=" + strconv.Itoa(s.workers), run: func(ctx context.Context) (took, error) {
		return runOurs(ctx, r, s)
	}}}
	for _, c := range s.asynq {
		arms = append(arms, arm{name: "asynq/concurrency=" + strconv.Itoa(c), run: func(ctx context.Context) (took, error) {
			return runAsynq(ctx, r, s.jobs, c)
		}})
	}
	return compare(ctx, r, s, arms)
}

// arm is one of the compared systems.
type arm struct {
	name string
	run  func(context.Context) (took, error)

	life, enqueue, drain, redisCPU, clientCPU figures.Series
}

// took holds the durations of the two halves of a run: until all jobs are queued, and until all are done.
type took struct{ enqueue, drain time.Duration }

// compare runs all arms once per round. It prints each run, then the medians and ratios.
func compare(ctx context.Context, r *processkit.Redis, s settings, arms []arm) error {
	n := float64(s.jobs)
	for range s.rounds {
		for i := range arms {
			a := &arms[i]
			if err := r.Clear(ctx); err != nil {
				return err
			}
			redis, err := r.BusyCPU(ctx)
			if err != nil {
				return err
			}
			own := ownCPU()
			t, err := a.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			own = ownCPU() - own
			after, err := r.BusyCPU(ctx)
			if err != nil {
				return err
			}
			redis = after - redis
			whole := t.enqueue + t.drain
			a.life = append(a.life, n/whole.Seconds())
			a.enqueue = append(a.enqueue, n/t.enqueue.Seconds())
			a.drain = append(a.drain, n/t.drain.Seconds())
			a.redisCPU = append(a.redisCPU, float64(redis.Microseconds())/n)
			a.clientCPU = append(a.clientCPU, float64(own.Microseconds())/n)
			last := len(a.life) - 1
			figures.Line(os.Stdout, "Queue/store="+a.name, s.jobs,
				figures.Value{Number: float64(whole.Nanoseconds()) / n, Unit: "ns/op"},
				figures.Value{Number: a.life[last], Unit: "jobs/s"},
				figures.Value{Number: a.enqueue[last], Unit: "fed/s"},
				figures.Value{Number: a.drain[last], Unit: "finished/s"},
				figures.Value{Number: a.redisCPU[last], Unit: "redis-us/op"},
				figures.Value{Number: a.clientCPU[last], Unit: "client-us/op"})
		}
	}
	fmt.Printf("\nmedian [min-max] of %d rounds of %d jobs\n", s.rounds, s.jobs)
	for _, a := range arms {
		fmt.Printf("%-24s jobs/s %s  fed/s %s  finished/s %s  redis-us/job %s  client-us/job %s\n",
			a.name, a.life, a.enqueue, a.drain, a.redisCPU, a.clientCPU)
	}
	for _, a := range arms[1:] {
		fmt.Printf("%s over %s, round by round: life %s  finish %s\n",
			arms[0].name, a.name, arms[0].life.Over(a.life), arms[0].drain.Over(a.drain))
	}
	return nil
}

// ownCPU returns the processor time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
