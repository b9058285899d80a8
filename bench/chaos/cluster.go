package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/batchagent/batchagent/bench/internal/procs"
)

// cluster is everything that runs.
type cluster struct {
	settings
	dir   string
	redis *server
	admin *redis.Client // not through a proxy
	proxy *toxiproxy.ApiServer

	sims    []*server
	nodes   []*node
	batches []*batchFiles
}

// server is a program that can be killed and started again at the same address.
type server struct {
	name    string
	start   func(extra ...string) (*procs.Process, error)
	mu      sync.Mutex
	process *procs.Process // guarded by mu; nil while it is down
}

// up starts the program if it is down.
func (s *server) up(extra ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		select {
		case <-s.process.Ended():
		default:
			return nil
		}
	}
	p, err := s.start(extra...)
	if err != nil {
		return err
	}
	s.process = p
	return nil
}

func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Signal(syscall.SIGCONT)
		s.process.Kill()
		s.process = nil
	}
}

func (s *server) signal(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Signal(sig)
	}
}

// node is a worker and the proxies that it uses.
type node struct {
	*server
	toRedis, toSim *toxiproxy.Proxy
}

// batchFiles is one batch, with those who feed and follow it.
type batchFiles struct {
	spec, results    string
	jobs, turns      int
	feeder, follower *server

	mu sync.Mutex
	id string // guarded by mu; "" until the feeder has said it
}

func (b *batchFiles) known() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.id
}

func newCluster(ctx context.Context, s settings) (c *cluster, err error) {
	redis.SetLogger(silence{})
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log each interruption to standard error
	c = &cluster{settings: s}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "bench-chaos-"); err != nil {
		return c, fmt.Errorf("make a directory: %w", err)
	}
	if err := procs.Build(ctx, c.dir, "../..", "./cmd/coordinator", "./cmd/worker", "./cmd/vllmsim"); err != nil {
		return c, err
	}
	c.proxy = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prom.NewRegistry()), zerolog.Nop())
	if err := c.startRedis(ctx); err != nil {
		return c, err
	}
	if err := c.startNodes(); err != nil {
		return c, err
	}
	return c, c.startBatches()
}

func (c *cluster) program(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) startRedis(ctx context.Context) error {
	address, err := procs.FreeAddress()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	c.admin = redis.NewClient(&redis.Options{Addr: address, MaxRetries: 20})
	c.redis = &server{name: address, start: func(...string) (*procs.Process, error) {
		return procs.Start("redis-server", nil, "--bind", host, "--port", port, "--dir", c.dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "everysec")
	}}
	if err := c.redis.up(); err != nil {
		return err
	}
	return c.redis.process.Until(ctx, "it answers", func() bool { return c.admin.Ping(ctx).Err() == nil })
}

// through opens a proxy to an address.
func (c *cluster) through(name, upstream string) (*toxiproxy.Proxy, error) {
	p := toxiproxy.NewProxy(c.proxy, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start the proxy %s: %w", name, err)
	}
	return p, nil
}

func (c *cluster) startNodes() error {
	root := filepath.Join(c.dir, "notes")
	if err := os.Mkdir(root, 0o700); err != nil {
		return fmt.Errorf("make the tools' folder: %w", err)
	}
	for i := range documents {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("note-%d.txt", i)), []byte("A note that is read.\n"), 0o600); err != nil {
			return fmt.Errorf("write a note: %w", err)
		}
	}
	for i := range simulators {
		address, err := procs.FreeAddress()
		if err != nil {
			return err
		}
		s := &server{name: address, start: func(extra ...string) (*procs.Process, error) {
			return procs.Start(c.program("vllmsim"), nil, append([]string{"--listen", address, "--forward-ms", fmt.Sprint(c.forwardMS()), "--tool-turns", "4", "--seed", fmt.Sprint(i)}, extra...)...)
		}}
		if err := s.up(); err != nil {
			return err
		}
		c.sims = append(c.sims, s)
	}
	for i := range workers {
		n := &node{}
		var err error
		if n.toRedis, err = c.through(fmt.Sprintf("redis-%d", i), c.redis.name); err != nil {
			return err
		}
		if n.toSim, err = c.through(fmt.Sprintf("sim-%d", i), c.sims[i%simulators].name); err != nil {
			return err
		}
		redisAddress, simAddress := n.toRedis.Listen, n.toSim.Listen
		n.server = &server{name: fmt.Sprintf("node-%d", i+1), start: func(...string) (*procs.Process, error) {
			return procs.Start(c.program("worker"), nil, "--redis", "redis://"+redisAddress, "--backend", "vllm://"+simAddress,
				"--id", fmt.Sprintf("node-%d", i+1), "--lease", c.lease.String(), "--max-inflight", fmt.Sprint(slots), "--tools-root", root, "--log-level", "error")
		}}
		if err := n.up(); err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// slots are the model requests in flight of one worker.
const slots = 32

// forwardMS makes a model call so slow that the jobs, undisturbed, would keep the cluster busy for most of the faults.
func (c *cluster) forwardMS() int64 {
	turns := c.jobs * (batches + 1) / 2
	return max(1, c.duration.Milliseconds()*7/10*workers*slots/int64(turns))
}

// silence keeps the Redis client from writing to standard error what it also returns.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// documents is how many different files the agents read: the ideal number of tool executions.
const documents = 50

const specText = `name: chaos-%[1]d
task: "Sum up note-{n}.txt, for the %[1]d. time. Job {i}."
inputs: %[2]s
tools: [read_file]
output_schema:
  type: object
  properties: {summary: {type: string}}
  required: [summary]
max_turns: %[1]d
max_retries: 100
max_attempts: 100
timeouts: {turn: 10s}
`

func (c *cluster) startBatches() error {
	for k := range batches {
		turns := k + 1
		b := &batchFiles{
			spec: filepath.Join(c.dir, fmt.Sprintf("spec-%d.yaml", turns)), results: filepath.Join(c.dir, fmt.Sprintf("results-%d.jsonl", turns)),
			jobs: c.jobs / batches, turns: turns,
		}
		inputs := fmt.Sprintf("inputs-%d.jsonl", turns)
		if err := os.WriteFile(b.spec, fmt.Appendf(nil, specText, turns, inputs), 0o600); err != nil {
			return fmt.Errorf("write a spec: %w", err)
		}
		f, err := os.Create(filepath.Join(c.dir, inputs))
		if err != nil {
			return fmt.Errorf("write the inputs: %w", err)
		}
		w := bufio.NewWriter(f)
		for i := range b.jobs {
			_, _ = fmt.Fprintf(w, "{\"n\":%d,\"i\":%d}\n", i%documents, i)
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			return fmt.Errorf("write the inputs: %w", err)
		}
		b.feeder = &server{name: "feeder", start: func(...string) (*procs.Process, error) { return c.feed(b) }}
		b.follower = &server{name: "follower", start: func(...string) (*procs.Process, error) {
			return procs.Start(c.program("coordinator"), nil, "results", b.known(), "--redis", "redis://"+c.redis.name, "--follow", "--out", b.results)
		}}
		if err := b.feeder.up(); err != nil {
			return err
		}
		c.batches = append(c.batches, b)
	}
	return nil
}

// feed starts the feeder of a batch, and reads the batch ID when it has said it. A feeder that has come to its end is not
// started again: it would submit a second batch.
func (c *cluster) feed(b *batchFiles) (*procs.Process, error) {
	out, err := os.CreateTemp(c.dir, "id-")
	if err != nil {
		return nil, fmt.Errorf("keep the batch ID: %w", err)
	}
	p, err := procs.Start(c.program("coordinator"), out, "submit", b.spec, "--redis", "redis://"+c.redis.name)
	if err != nil {
		return nil, err
	}
	go func() {
		<-p.Ended()
		text, err := os.ReadFile(out.Name())
		_ = out.Close()
		if id := strings.TrimSpace(string(text)); err == nil && id != "" {
			b.mu.Lock()
			b.id = id
			b.mu.Unlock()
		}
	}()
	return p, nil
}

// tend starts again who has died: feeders until they have said their ID, followers until their batch is done.
func (c *cluster) tend() {
	for _, b := range c.batches {
		if b.known() == "" {
			_ = b.feeder.up()
			continue
		}
		if !c.whole(b) {
			_ = b.follower.up()
		}
	}
}

// whole reports whether a batch's file has a line per job.
func (c *cluster) whole(b *batchFiles) bool {
	n, err := countLines(b.results)
	return err == nil && n >= b.jobs
}

// await waits until every file is whole, or the time is over.
func (c *cluster) await(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		open := false
		for _, b := range c.batches {
			open = open || b.known() == "" || !c.whole(b)
		}
		if !open {
			return true
		}
		c.tend()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

func (c *cluster) close() {
	var all []*server
	for _, b := range c.batches {
		all = append(all, b.feeder, b.follower)
	}
	for _, n := range c.nodes {
		all = append(all, n.server)
	}
	for _, s := range append(append(all, c.sims...), c.redis) {
		if s != nil {
			s.kill()
		}
	}
	for _, n := range c.nodes {
		n.toRedis.Stop()
		n.toSim.Stop()
	}
	if c.admin != nil {
		_ = c.admin.Close()
	}
	_ = os.RemoveAll(c.dir)
}
