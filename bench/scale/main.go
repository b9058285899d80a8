package main

import (
	"bufio"
	"context"
	"errors"
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sizes := flag.String("n", "10000,100000", "jobs of a batch, several sizes")
	workers := flag.Int("workers", 2, "worker processes")
	within := flag.Duration("within", 30*time.Minute, "give up after this time")
	smoke := flag.Bool("smoke", false, "a small run that only checks for errors")
	flag.Parse()
	if *smoke {
		*sizes = "500,2000"
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	if err := measure(ctx, *sizes, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// bench holds the parts that all rounds share.
type bench struct {
	dir     string // programs and files
	redis   *processkit.Redis
	backend string
	workers int
}

func measure(ctx context.Context, sizes string, workers int) error {
	dir, err := os.MkdirTemp("", "bench-scale-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := processkit.Build(ctx, dir, ".", "./cmd/coordinator", "./cmd/worker", "./cmd/vllmsim"); err != nil {
		return err
	}
	redis, err := processkit.StartRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.Stop()
	address, err := processkit.FreeAddress()
	if err != nil {
		return err
	}
	sim, err := processkit.Start(filepath.Join(dir, "vllmsim"), nil, "--listen", address)
	if err != nil {
		return err
	}
	defer sim.Stop()
	b := &bench{dir: dir, redis: redis, backend: "vllm://" + address, workers: workers}
	figures.Header(os.Stdout, "bench/scale")
	var rows []row
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-n takes numbers, not %q", text)
		}
		r, err := b.round(ctx, n)
		if err != nil {
			return fmt.Errorf("%d jobs: %w", n, err)
		}
		r.print()
		rows = append(rows, r)
	}
	for _, r := range rows[1:] {
		fmt.Printf("\npeak memory at %d jobs over that at %d: submit %.2f, worker %.2f, follower %.2f\n", r.jobs, rows[0].jobs,
			ratio(r.submit, rows[0].submit), ratio(r.worker, rows[0].worker), ratio(r.follower, rows[0].follower))
	}
	return nil
}

func ratio(a, b int64) float64 { return float64(a) / float64(b) }

// row is the result of one size. Memory is in bytes.
type row struct {
	jobs                            int
	fed, ran                        time.Duration
	submit, worker, follower        int64 // peak resident memory; the largest of the workers
	empty, waiting, done, afterward int64 // used by Redis
}

func (r row) print() {
	per := func(a int64) float64 { return float64(a-r.empty) / float64(r.jobs) }
	figures.Line(os.Stdout, "Scale/jobs="+strconv.Itoa(r.jobs), r.jobs,
		figures.Value{Number: float64(r.jobs) / r.fed.Seconds(), Unit: "fed/s"},
		figures.Value{Number: float64(r.jobs) / r.ran.Seconds(), Unit: "jobs/s"},
		figures.Value{Number: float64(r.submit) / 1e6, Unit: "submit-MB"},
		figures.Value{Number: float64(r.worker) / 1e6, Unit: "worker-MB"},
		figures.Value{Number: float64(r.follower) / 1e6, Unit: "follower-MB"},
		figures.Value{Number: per(r.waiting), Unit: "redis-B/waiting-job"},
		figures.Value{Number: per(r.done), Unit: "redis-B/finished-job"},
		figures.Value{Number: per(r.afterward), Unit: "redis-B/removed-job"})
}

const specText = `name: scale
task: "Sum up in a few words: {text}"
inputs: inputs.jsonl
output_schema:
  type: object
  properties: {summary: {type: string}}
  required: [summary]
max_turns: 1
`

func (b *bench) round(ctx context.Context, n int) (r row, err error) {
	r.jobs = n
	if err := b.redis.Clear(ctx); err != nil {
		return r, err
	}
	if err := b.write(n); err != nil {
		return r, err
	}
	if r.empty, err = b.redis.MemoryUsed(ctx); err != nil {
		return r, err
	}
	id, err := b.submit(ctx, &r)
	if err != nil {
		return r, err
	}
	if r.waiting, err = b.redis.MemoryUsed(ctx); err != nil {
		return r, err
	}
	if err := b.runBatch(ctx, id, &r); err != nil {
		return r, err
	}
	if r.done, err = b.redis.MemoryUsed(ctx); err != nil {
		return r, err
	}
	rm, err := b.start("coordinator", nil, "rm", id, "--redis", b.redis.URL())
	if err != nil {
		return r, err
	}
	if err := rm.Wait(ctx); err != nil {
		return r, err
	}
	if err := b.freed(ctx); err != nil {
		return r, err
	}
	r.afterward, err = b.redis.MemoryUsed(ctx)
	return r, err
}

// freed waits until Redis has freed unlinked keys, which it does in the background.
func (b *bench) freed(ctx context.Context) error {
	return b.redis.Until(ctx, "removed keys are freed", func() bool {
		info, err := b.redis.Info(ctx, "memory")
		return err == nil && info["lazyfree_pending_objects"] == "0"
	})
}

func (b *bench) write(n int) error {
	if err := os.WriteFile(filepath.Join(b.dir, "spec.yaml"), []byte(specText), 0o600); err != nil {
		return fmt.Errorf("write the spec: %w", err)
	}
	f, err := os.Create(filepath.Join(b.dir, "inputs.jsonl"))
	if err != nil {
		return fmt.Errorf("write the inputs: %w", err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		_, _ = fmt.Fprintf(w, "{\"text\":\"note %d %s\"}\n", i, strings.Repeat("a line of text that is worth a summary. ", 4))
	}
	return errors.Join(w.Flush(), f.Close())
}

func (b *bench) start(program string, stdout *os.File, args ...string) (*processkit.Process, error) {
	return processkit.Start(filepath.Join(b.dir, program), stdout, args...)
}

func (b *bench) submit(ctx context.Context, r *row) (id string, err error) {
	out, err := os.Create(filepath.Join(b.dir, "id"))
	if err != nil {
		return "", fmt.Errorf("keep the batch ID: %w", err)
	}
	defer out.Close()
	began := time.Now()
	p, err := b.start("coordinator", out, "submit", filepath.Join(b.dir, "spec.yaml"), "--redis", b.redis.URL())
	if err != nil {
		return "", err
	}
	if err := p.Wait(ctx); err != nil {
		return "", err
	}
	r.fed, r.submit = time.Since(began), p.PeakAtEnd()
	text, err := os.ReadFile(out.Name())
	return strings.TrimSpace(string(text)), err
}

// runBatch starts workers that finish the batch, and a follower that collects it.
func (b *bench) runBatch(ctx context.Context, id string, r *row) error {
	began := time.Now()
	var nodes []*processkit.Process
	for i := range b.workers {
		w, err := b.start("worker", nil, "--redis", b.redis.URL(), "--backend", b.backend, "--id", fmt.Sprint("node-", i+1), "--max-inflight", "256", "--log-level", "warn")
		if err != nil {
			return err
		}
		defer w.Stop()
		nodes = append(nodes, w)
	}
	results := filepath.Join(b.dir, fmt.Sprintf("results-%d.jsonl", r.jobs))
	follower, err := b.start("coordinator", nil, "results", id, "--redis", b.redis.URL(), "--follow", "--out", results)
	if err != nil {
		return err
	}
	defer follower.Stop()
	collected, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, w := range nodes {
		go func() { // without workers the batch would never end
			cancel(w.Wait(ctx))
		}()
	}
	if err := follower.Wait(collected); err != nil {
		return err
	}
	r.ran, r.follower = time.Since(began), follower.PeakAtEnd()
	for _, w := range nodes {
		m, err := w.Memory()
		if err != nil {
			return err
		}
		r.worker = max(r.worker, m.Peak)
	}
	return count(results, r.jobs)
}

// count requires that the file has one line per job.
func count(file string, want int) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	defer f.Close()
	lines := 0
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines++
	}
	if lines != want || s.Err() != nil {
		return fmt.Errorf("%s has %d lines for %d jobs: %w", file, lines, want, s.Err())
	}
	return nil
}
