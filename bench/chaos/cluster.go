package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/batchagent/batchagent/internal/processkit"
)

// cluster holds all processes of the run.
type cluster struct {
	settings
	dir   string
	redis *server
	admin *redis.Client // without a proxy
	proxy *toxiproxy.ApiServer

	sims     []*server
	counters []*http.Server // one in front of each simulator
	answers  answers
	nodes    []*node
	toFeed   *toxiproxy.Proxy // from all feeders to Redis; slow, so that feeding takes a while
	began    time.Time
	batches  []*batchFiles
}

// server is a program that can be killed and restarted at the same address.
type server struct {
	name    string
	start   func(extra ...string) (*processkit.Process, error)
	mu      sync.Mutex
	process *processkit.Process // guarded by mu; nil while it is down
}

// up starts the program if it is down.
func (s *server) up(extra ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.alive() {
		return nil
	}
	p, err := s.start(extra...)
	if err != nil {
		return err
	}
	s.process = p
	return nil
}

// kill kills the program. It returns false if the program was down.
func (s *server) kill() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return false
	}
	alive := s.alive()
	s.process.Kill()
	s.process = nil
	return alive
}

// alive reports whether the program runs. The caller holds mu.
func (s *server) alive() bool {
	select {
	case <-s.process.Ended():
		return false
	default:
		return true
	}
}

// signal sends a signal. It returns false if the program was down.
func (s *server) signal(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || !s.alive() {
		return false
	}
	return s.process.Signal(sig) == nil
}

// node is a worker with its proxies.
type node struct {
	*server
	toRedis, toSim *toxiproxy.Proxy
}

// batchFiles is one batch with its feeder and its follower.
type batchFiles struct {
	spec, results    string
	jobs, turns      int
	due              time.Duration // when its first feeder starts
	feeder, follower *server

	mu sync.Mutex
	id string // guarded by mu; "" until the feeder has printed it
}

func (b *batchFiles) known() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.id
}

func newCluster(ctx context.Context, s settings) (c *cluster, err error) {
	redis.SetLogger(silence{})
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log each interruption to standard error
	c = &cluster{settings: s, answers: answers{whole: map[turn]int{}}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "bench-chaos-"); err != nil {
		return c, fmt.Errorf("make a directory: %w", err)
	}
	if err := os.Mkdir(c.temp(), 0o700); err != nil {
		return c, fmt.Errorf("make a directory: %w", err)
	}
	if err := processkit.Build(ctx, c.dir, "../..", "./cmd/coordinator", "./cmd/worker", "./cmd/vllmsim"); err != nil {
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
	address, err := processkit.FreeAddress()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	c.admin = redis.NewClient(&redis.Options{Addr: address, MaxRetries: 20})
	c.redis = &server{name: address, start: func(...string) (*processkit.Process, error) {
		return processkit.Start("redis-server", nil, "--bind", host, "--port", port, "--dir", c.dir, "--save", "",
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
	tools := filepath.Join(c.dir, "tools.yaml")
	program, err := c.declare()
	if err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", c.temp()); err != nil { // the workers inherit it
		return fmt.Errorf("set the folder for temporary files: %w", err)
	}
	if err := os.WriteFile(tools, append(fmt.Appendf(nil, toolsText, c.executions()), program...), 0o600); err != nil {
		return fmt.Errorf("write the tools: %w", err)
	}
	var behind []string
	for i := range simulators {
		address, err := processkit.FreeAddress()
		if err != nil {
			return err
		}
		s := &server{name: address, start: func(extra ...string) (*processkit.Process, error) {
			return processkit.Start(c.program("vllmsim"), nil, append([]string{"--listen", address, "--forward-ms", fmt.Sprint(c.forwardMS()), "--tool-turns", "4", "--seed", fmt.Sprint(i)}, extra...)...)
		}}
		if err := s.up(); err != nil {
			return err
		}
		c.sims = append(c.sims, s)
		counted, counter, err := c.answers.before(address)
		if err != nil {
			return err
		}
		c.counters = append(c.counters, counter)
		behind = append(behind, counted)
	}
	for i := range workers {
		n := &node{}
		var err error
		if n.toRedis, err = c.through(fmt.Sprintf("redis-%d", i), c.redis.name); err != nil {
			return err
		}
		if n.toSim, err = c.through(fmt.Sprintf("sim-%d", i), behind[i%simulators]); err != nil {
			return err
		}
		redisAddress, simAddress := n.toRedis.Listen, n.toSim.Listen
		n.server = &server{name: fmt.Sprintf("node-%d", i+1), start: func(...string) (*processkit.Process, error) {
			return processkit.Start(c.program("worker"), nil, append(c.maxAgents(), "--redis", "redis://"+redisAddress, "--backend", "vllm://"+simAddress,
				"--id", fmt.Sprintf("node-%d", i+1), "--lease", c.lease.String(), "--max-inflight", fmt.Sprint(slots), "--tools", tools, "--log-level", "error")...)
		}}
		if err := n.up(); err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// slots is the number of model requests in flight per worker.
const slots = 32

// forwardMS returns the duration of a model call. It is so long that, without faults, the jobs would last for most of the fault
// time.
func (c *cluster) forwardMS() int64 {
	turns := c.jobs * (mostTurns + 1) / 2
	return max(1, c.duration.Milliseconds()*7/10*workers*slots/int64(turns))
}

// silence stops the Redis client from logging errors that it also returns.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// documents is the largest number of different notes.
const documents = 50

// toolsText declares a tool that records each execution, even if its result is lost.
const toolsText = `commands:
  read_note:
    description: Read a note.
    parameters: {type: object, properties: {path: {type: string}}, required: [path]}
    argv: [sh, -c, 'echo "$1" >> %s; echo A note that is read.', sh, "{path}"]
    share: pure
`

// executions returns the file to which the tool writes.
func (c *cluster) executions() string { return filepath.Join(c.dir, "executions") }

const specText = `name: chaos-%[1]d
task: "Sum up note-{n}.txt. Job {i} of batch %[1]d."
inputs: %[2]s
tools: [read_note]
output_schema:
  type: object
  properties: {summary: {type: string}}
  required: [summary]
max_turns: %[3]d
max_retries: 100
max_attempts: 100
timeouts: {turn: 10s}
`

// startBatches writes the batches' files. Their feeders start one after the other during the faults.
func (c *cluster) startBatches() (err error) {
	if c.toFeed, err = c.through("feed", c.redis.name); err != nil {
		return err
	}
	if _, err := c.toFeed.Toxics.AddToxicJson(strings.NewReader(`{"name":"slow","type":"latency","attributes":{"latency":60}}`)); err != nil {
		return fmt.Errorf("slow the feeders down: %w", err)
	}
	c.began = time.Now()
	for k := range batches {
		b := &batchFiles{
			spec: filepath.Join(c.dir, fmt.Sprintf("spec-%d.yaml", k)), results: filepath.Join(c.dir, fmt.Sprintf("results-%d.jsonl", k)),
			jobs: c.jobs*(k+1)/batches - c.jobs*k/batches, turns: k%mostTurns + 1,
			due: c.duration * 6 / 10 * time.Duration(k) / batches,
		}
		if err := c.write(b, k); err != nil {
			return err
		}
		b.feeder = &server{name: "feeder", start: func(...string) (*processkit.Process, error) { return c.feed(b) }}
		b.follower = &server{name: "follower", start: func(...string) (*processkit.Process, error) {
			return processkit.Start(c.program("coordinator"), nil, "results", b.known(), "--redis", "redis://"+c.redis.name, "--follow", "--out", b.results)
		}}
		c.batches = append(c.batches, b)
	}
	c.tend()
	return nil
}

// write writes the k-th batch's spec and inputs.
func (c *cluster) write(b *batchFiles, k int) error {
	inputs := fmt.Sprintf("inputs-%d.jsonl", k)
	if err := os.WriteFile(b.spec, append(fmt.Appendf(nil, specText, k, inputs, b.turns), c.agent(b.turns)...), 0o600); err != nil {
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
	return nil
}

// feed starts the feeder of a batch and reads the batch ID that it prints. A feeder that has finished is not restarted, because
// it would submit a second batch.
func (c *cluster) feed(b *batchFiles) (*processkit.Process, error) {
	out, err := os.CreateTemp(c.dir, "id-")
	if err != nil {
		return nil, fmt.Errorf("keep the batch ID: %w", err)
	}
	p, err := processkit.Start(c.program("coordinator"), out, "submit", b.spec, "--redis", "redis://"+c.toFeed.Listen)
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

// tend starts processes that are due and restarts dead ones: feeders until they have printed their ID, followers until their
// batch is done.
func (c *cluster) tend() {
	for _, b := range c.batches {
		if b.known() == "" {
			if time.Since(c.began) >= b.due {
				_ = b.feeder.up()
			}
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

// await waits until every file is complete, or until the time is over.
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
	for _, counter := range c.counters {
		_ = counter.Close()
	}
	if c.toFeed != nil {
		c.toFeed.Stop()
	}
	if c.admin != nil {
		_ = c.admin.Close()
	}
	_ = os.RemoveAll(c.dir)
}
