package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the values of the flags.
type settings struct {
	jobs    int
	compose string
	within  time.Duration
	keep    bool
	verbose bool
}

// exitNoEngine is the exit code if no engine is available. CI then knows that nothing was tested.
const exitNoEngine = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	flag.IntVar(&s.jobs, "jobs", 1_000, "agents to submit")
	flag.StringVar(&s.compose, "compose", "", "the Compose program (default: docker compose, else docker-compose)")
	flag.DurationVar(&s.within, "within", 10*time.Minute, "time limit after the images are ready")
	flag.BoolVar(&s.keep, "keep", false, "leave stand-ins and built images on the engine, for a faster next run")
	flag.BoolVar(&s.verbose, "v", false, "show the output of the programs")
	flag.Parse()
	err := test(ctx, s)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "composetest:", err)
	if errors.Is(err, errNoEngine) {
		os.Exit(exitNoEngine)
	}
	os.Exit(1)
}

// test prepares the images, plays the story, and prints its table.
func test(ctx context.Context, s settings) (err error) {
	c, err := newCluster(ctx, s)
	if err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	began := time.Now()
	images, err := c.images(ctx)
	if err != nil {
		return err
	}
	standins, err := c.provide(ctx, images)
	if err != nil {
		return err
	}
	if err := c.run(ctx, "build", c.composed("build")...); err != nil {
		return err
	}
	prepared := time.Since(began)

	ctx, cancel := context.WithTimeoutCause(ctx, s.within, fmt.Errorf("not done within %s", s.within))
	defer cancel()
	st := &story{cluster: c}
	failure := st.play(ctx)
	var others []played
	if failure != nil {
		c.explain()
	} else if failure = c.down(); failure == nil {
		others, failure = c.playVariants(ctx)
	}
	st.print(os.Stdout, standins, prepared)
	for _, o := range others {
		fmt.Printf("%-14s %s: healthy, %d of %d results, after %.0f s\n", "then", o.name, variantJobs, variantJobs, o.took.Seconds())
	}
	return failure
}
