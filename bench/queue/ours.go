package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Input and output of one job, such that the stored bytes are 1 KB and 0.5 KB.
const (
	inBytes  = 1024
	outBytes = 512
)

const lease = 15 * time.Second

// maxLive is the limit of jobs per worker, like in a real worker with 256 slots.
const maxLive = 4 * 256

// runOurs feeds all jobs, and then starts workers that finish them.
func runOurs(ctx context.Context, r *processkit.Redis, s settings) (took, error) {
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return took{}, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return took{}, err
		}
		defer pprof.StopCPUProfile()
		if err := r.Client().ConfigResetStat(ctx).Err(); err != nil {
			return took{}, err
		}
	}
	store, err := statestore.Open(ctx, r.URL(), statestore.Options{})
	if err != nil {
		return took{}, err
	}
	defer store.Close()
	begin := time.Now()
	id, err := feed(ctx, store, s.jobs)
	if err != nil {
		return took{}, err
	}
	fed := time.Now()
	var finished atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for i := range s.workers {
		g.Go(func() error { return work(gctx, r.URL(), id, fmt.Sprintf("node-%d", i), &finished) })
	}
	if err := g.Wait(); err != nil {
		return took{}, err
	}
	end := time.Now()
	if s.profile != "" {
		if err := printCommands(ctx, r, s.jobs); err != nil {
			return took{}, err
		}
	}
	return took{enqueue: fed.Sub(begin), drain: end.Sub(fed)}, complete(ctx, store, id, s.jobs, finished.Load())
}

// feed submits a batch of n jobs like the coordinator.
func feed(ctx context.Context, store *statestore.Store, n int) (batch.ID, error) {
	id := statestore.NewID(time.Now())
	if err := store.Create(ctx, batch.Header{ID: id, Name: "queue", MaxAttempts: 3, TTL: time.Hour}, []byte("{}")); err != nil {
		return "", err
	}
	payload := []byte(`{"in":{"text":"` + strings.Repeat("x", inBytes-len(`{"in":{"text":""}}`)) + `"}}`)
	chunk := slices.Repeat([][]byte{payload}, statestore.MaxFeedJobs)
	for from := 0; from < n; from += len(chunk) {
		if _, err := store.Feed(ctx, id, int64(from), chunk[:min(len(chunk), n-from)]); err != nil {
			return "", err
		}
	}
	_, err := store.Seal(ctx, id, int64(n))
	return id, err
}

// work is a worker without agents: one claim loop and one committer, like internal/worker. It ends when the batch is done.
func work(ctx context.Context, url string, id batch.ID, name string, finished *atomic.Int64) error {
	store, err := statestore.Open(ctx, url, statestore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	g, ctx := errgroup.WithContext(ctx)
	done := make(chan statestore.Completion, maxLive) // limits the live jobs, like admission
	g.Go(func() error {
		defer close(done)
		for {
			phase, jobs, err := store.Claim(ctx, statestore.ClaimParams{
				Batch: id, Consumer: name, Count: statestore.MaxClaim, Lease: lease,
			})
			if err != nil {
				return err
			}
			// The last jobs may belong to another worker; no new ones will come.
			if len(jobs) == 0 || phase == batch.Done {
				return nil
			}
			for _, j := range jobs {
				select {
				case done <- statestore.Completion{Lease: j.Lease, Result: result(j.Lease), NoJournal: len(j.Journal) == 0}:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
	})
	g.Go(func() error {
		for first := range done {
			part := gather(first, done)
			_, outcomes, err := store.Finish(ctx, id, part)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(outcomes, func(o statestore.FinishOutcome) bool { return o != statestore.Committed }) {
				return fmt.Errorf("a result of %s was not committed", id)
			}
			finished.Add(int64(len(part)))
		}
		return nil
	})
	return g.Wait()
}

// gather collects the other completions that are ready. It does not wait.
func gather(first statestore.Completion, done <-chan statestore.Completion) []statestore.Completion {
	part := []statestore.Completion{first}
	for len(part) < statestore.MaxFinish {
		select {
		case c, ok := <-done:
			if !ok {
				return part
			}
			part = append(part, c)
		default:
			return part
		}
	}
	return part
}

// result returns a result with a line of about outBytes.
func result(l batch.Lease) batch.Result {
	return batch.Result{
		Batch: l.Job.Batch, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index, Status: batch.OK,
		Output: output, Attempts: l.Attempt, Turns: 1, Model: "sim", Worker: l.Holder, WallMS: 412,
		Usage: batch.Usage{PromptTokens: 812, CachedTokens: 640, CompletionTokens: 57},
	}
}

var output = json.RawMessage(`{"text":"` + strings.Repeat("y", outBytes-330) + `"}`)

// complete checks that every job has exactly one result.
func complete(ctx context.Context, store *statestore.Store, id batch.ID, n int, finished int64) error {
	info, err := store.Info(ctx, id)
	if err != nil {
		return err
	}
	if info.Phase != batch.Done || info.Counts.OK != int64(n) || finished != int64(n) {
		return fmt.Errorf("the batch is %s with %d of %d results", info.Phase, info.Counts.OK, n)
	}
	if n := info.Counts.Takeovers; n > 0 {
		return fmt.Errorf("%d jobs were taken over although no worker died", n)
	}
	return nil
}

// printCommands prints Redis' time by command.
func printCommands(ctx context.Context, r *processkit.Redis, jobs int) error {
	info, err := r.Info(ctx, "commandstats")
	if err != nil {
		return err
	}
	var lines []string
	for name, value := range info {
		var calls, usec int64
		if _, err := fmt.Sscanf(value, "calls=%d,usec=%d,", &calls, &usec); err != nil {
			continue
		}
		if usec > 0 {
			lines = append(lines, fmt.Sprintf("%7.3f us/job %7.3f calls/job  %s",
				float64(usec)/float64(jobs), float64(calls)/float64(jobs), strings.TrimPrefix(name, "cmdstat_")))
		}
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	fmt.Println(strings.Join(lines, "\n"))
	return nil
}
