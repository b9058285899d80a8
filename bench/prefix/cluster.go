package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/bench/internal/nodes"
	"github.com/batchagent/batchagent/bench/internal/prose"
	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// The orders of the inputs.
var orders = []string{"grouped", "shuffled"}

const specText = `name: prefix
inputs: %s.jsonl
task: "{document}\n\nQuestion: {question}"
output_schema:
  type: object
  properties: {answer: {type: string, maxLength: 40}}
  required: [answer]
  additionalProperties: false
sampling: {temperature: 0, max_tokens: 64}
`

// cluster holds the parts that all runs share.
type cluster struct {
	settings
	dir   string           // programs and files
	of    map[string][]int // the document of each input, by order
	redis *processkit.Redis
	store *statestore.Store
}

func newCluster(ctx context.Context, s settings) (c *cluster, err error) {
	c = &cluster{settings: s, of: map[string][]int{}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "bench-prefix-"); err != nil {
		return c, fmt.Errorf("make a directory: %w", err)
	}
	if c.programs == "" {
		c.programs = c.dir
		if err := processkit.Build(ctx, c.dir, ".", "./cmd/coordinator", "./cmd/worker", "./cmd/vllmsim"); err != nil {
			return c, err
		}
	}
	if err := c.write(); err != nil {
		return c, fmt.Errorf("write the inputs: %w", err)
	}
	if c.redis, err = processkit.StartRedis(ctx); err != nil {
		return c, err
	}
	c.store, err = statestore.Open(ctx, c.redis.URL(), statestore.Options{})
	return c, err
}

func (c *cluster) close() {
	if c.store != nil {
		_ = c.store.Close()
	}
	if c.redis != nil {
		c.redis.Stop()
	}
	_ = os.RemoveAll(c.dir)
}

// write writes a spec and a file of inputs for each order.
func (c *cluster) write() error {
	var lines [][]byte
	var of []int
	for d := range c.documents {
		document := fmt.Sprintf("Document %d. %s", d, prose.Text(fmt.Sprint("document ", d), c.words))
		for q := range c.questions {
			line, err := json.Marshal(map[string]string{
				"document": document, "question": fmt.Sprintf("%d: %s?", q, prose.Text(fmt.Sprint("question ", d, q), 12)),
			})
			if err != nil {
				return err
			}
			lines, of = append(lines, line), append(of, d)
		}
	}
	for _, order := range orders {
		if order == "shuffled" {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(lines), func(i, j int) {
				lines[i], lines[j] = lines[j], lines[i]
				of[i], of[j] = of[j], of[i]
			})
		}
		c.of[order] = slices.Clone(of)
		err := errors.Join(os.WriteFile(filepath.Join(c.dir, order+".jsonl"), append(bytes.Join(lines, []byte("\n")), '\n'), 0o600),
			os.WriteFile(filepath.Join(c.dir, order+".yaml"), fmt.Appendf(nil, specText, order), 0o600))
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) start(program string, stdout *os.File, args ...string) (*processkit.Process, error) {
	return processkit.Start(filepath.Join(c.programs, program), stdout, args...)
}

// ran is the outcome of one run.
type ran struct {
	wall            time.Duration
	prefills, nodes float64 // per document
	cached          float64 // share of the prompt tokens
	load            float64 // processors of the machine that were busy, with all its programs
}

// runBatch runs the batch once, from its submission to its last result.
func (c *cluster) runBatch(ctx context.Context, n int, order string) (r ran, err error) {
	if err := c.redis.Clear(ctx); err != nil {
		return r, err
	}
	_, stop, err := nodes.Start(ctx, nodes.Config{Programs: c.programs, Redis: c.redis, Store: c.store, Profile: c.profile, Scale: c.scale}, n)
	if err != nil {
		return r, err
	}
	defer stop()
	busy, err := processkit.MachineCPU()
	if err != nil {
		return r, err
	}
	began := time.Now()
	path := filepath.Join(c.dir, fmt.Sprintf("%d-%s-%d.jsonl", n, order, began.UnixNano()))
	id, err := c.submit(ctx, order)
	if err != nil {
		return r, err
	}
	follower, err := c.start("coordinator", nil, "results", id, "--redis", c.redis.URL(), "--follow", "--out", path)
	if err != nil {
		return r, err
	}
	defer follower.Stop()
	if err := follower.Wait(ctx); err != nil {
		return r, err
	}
	r.wall = time.Since(began)
	after, err := processkit.MachineCPU()
	if err != nil {
		return r, err
	}
	r.load = (after - busy).Seconds() / r.wall.Seconds()
	err = c.count(path, c.of[order], &r)
	return r, err
}

func (c *cluster) submit(ctx context.Context, order string) (id string, err error) {
	out, err := os.Create(filepath.Join(c.dir, "id"))
	if err != nil {
		return "", fmt.Errorf("store the ID of the batch: %w", err)
	}
	defer out.Close()
	p, err := c.start("coordinator", out, "submit", filepath.Join(c.dir, order+".yaml"), "--redis", c.redis.URL())
	if err != nil {
		return "", err
	}
	if err := p.Wait(ctx); err != nil {
		return "", err
	}
	text, err := os.ReadFile(out.Name())
	return strings.TrimSpace(string(text)), err
}

// count reads the results. of holds the document of each input.
func (c *cluster) count(path string, of []int, r *ran) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	nodes := map[int]map[string]bool{}
	results := 0
	var use batch.Usage
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var result batch.Result
		if err := json.Unmarshal(lines.Bytes(), &result); err != nil {
			return fmt.Errorf("read a result: %w", err)
		}
		if result.Status != batch.OK {
			return fmt.Errorf("job %d is %s: %v", result.Index, result.Status, result.Error)
		}
		document := of[result.Index]
		if nodes[document] == nil {
			nodes[document] = map[string]bool{}
		}
		nodes[document][result.Worker] = true
		if 2*result.Usage.CachedTokens < result.Usage.PromptTokens {
			r.prefills++
		}
		use.Add(result.Usage)
		results++
	}
	if want := c.documents * c.questions; results != want || len(nodes) != c.documents {
		return fmt.Errorf("%d results of %d documents; want %d of %d", results, len(nodes), want, c.documents)
	}
	for _, n := range nodes {
		r.nodes += float64(len(n))
	}
	r.nodes, r.prefills = r.nodes/float64(c.documents), r.prefills/float64(c.documents)
	r.cached = float64(use.CachedTokens) / float64(use.PromptTokens)
	return lines.Err()
}
