package main

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/batchagent/batchagent/pkg/sleep"
)

// restart is the restart of one worker.
type restart struct {
	node    string
	drained time.Duration // from SIGTERM to the end of the process
	without float64       // turns per second during that time
	back    float64       // turns per second in the lease after the start
}

// rolling is the result of a rolling restart.
type rolling struct {
	verdict
	before   float64 // turns per second before the restarts
	restarts []restart
	twice    int
}

func (r rolling) good() bool {
	return r.verdict.good() && r.more == 0 && r.twice == 0 && len(r.byType) == 0
}

// undisturbed is the duration of the measurement before the restarts.
const undisturbed = 10 * time.Second

// roll restarts the workers one after the other with SIGTERM, under load.
func (c *cluster) roll(ctx context.Context, within time.Duration) (r rolling, err error) {
	for k := range c.batches {
		c.batches[k].due = 0
	}
	fed := func() bool {
		c.tend()
		for _, b := range c.batches {
			if b.known() == "" {
				return false
			}
		}
		return true
	}
	for !fed() {
		if sleep.For(ctx, 100*time.Millisecond) != nil {
			return r, context.Cause(ctx)
		}
	}
	_ = sleep.For(ctx, c.lease)
	r.before = c.rate(ctx, undisturbed, nil)
	for _, n := range c.nodes {
		ended := n.process.Ended()
		began := time.Now()
		n.signal(syscall.SIGTERM)
		one := restart{node: n.name, without: c.rate(ctx, time.Minute, ended), drained: time.Since(began)}
		if err := n.up(); err != nil {
			return r, err
		}
		one.back = c.rate(ctx, c.lease, nil)
		r.restarts = append(r.restarts, one)
	}
	if c.left() == 0 {
		return r, fmt.Errorf("every job was done before the last restart; raise --jobs")
	}
	if !c.await(ctx, within) {
		return r, fmt.Errorf("the batches did not end within %s", within)
	}
	if r.verdict, err = c.judge(ctx); err != nil {
		return r, err
	}
	r.twice, _ = c.answers.twice()
	return r, nil
}

// rate returns the turns per second, measured for a duration or until the channel closes.
func (c *cluster) rate(ctx context.Context, during time.Duration, until <-chan struct{}) float64 {
	_, before, _ := c.answers.counts()
	began := time.Now()
	t := time.NewTimer(during)
	defer t.Stop()
	select {
	case <-t.C:
	case <-until:
	case <-ctx.Done():
	}
	_, after, _ := c.answers.counts()
	return float64(after-before) / time.Since(began).Seconds()
}

// left returns the number of jobs without a line in their files.
func (c *cluster) left() (n int) {
	for _, b := range c.batches {
		lines, _ := countLines(b.results)
		n += b.jobs - lines
	}
	return n
}

func (r rolling) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "turns per second, undisturbed\t%.0f\n", r.before)
	for _, one := range r.restarts {
		fmt.Fprintf(t, "%s\tended %s after SIGTERM, %.2f of that meanwhile, %.2f in the lease after its start\n", one.node,
			one.drained.Round(10*time.Millisecond), one.without/r.before, one.back/r.before)
	}
	failures := 0
	for _, n := range r.byType {
		failures += n
	}
	fmt.Fprintf(t, "jobs\t%d\n", r.jobs)
	fmt.Fprintf(t, "jobs lost\t%d in Redis, %d in the files\n", r.lost, r.lostInFile)
	fmt.Fprintf(t, "jobs doubled\t%d in Redis, %d in the files\n", r.doubled, r.doubledInFile)
	fmt.Fprintf(t, "jobs that failed\t%d\n", failures)
	fmt.Fprintf(t, "jobs with more than one attempt\t%d\n", r.more)
	fmt.Fprintf(t, "turns executed twice\t%d\n", r.twice)
	_ = t.Flush()
}
