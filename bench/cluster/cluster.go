package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/batchagent/batchagent/bench/internal/nodes"
	"github.com/batchagent/batchagent/bench/internal/prose"
	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// cluster holds the parts that all runs share.
type cluster struct {
	settings
	dir   string // programs and files
	redis *processkit.Redis
	store *statestore.Store
}

func newCluster(ctx context.Context, s settings) (c *cluster, err error) {
	c = &cluster{settings: s}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "bench-cluster-"); err != nil {
		return c, fmt.Errorf("make a directory: %w", err)
	}
	if err := processkit.Build(ctx, c.dir, ".", "./cmd/coordinator", "./cmd/worker", "./cmd/vllmsim"); err != nil {
		return c, err
	}
	if err := c.write(); err != nil {
		return c, fmt.Errorf("write the batch: %w", err)
	}
	if c.redis, err = processkit.StartRedis(ctx); err != nil {
		return c, err
	}
	if c.store, err = statestore.Open(ctx, c.redis.URL(), statestore.Options{}); err != nil {
		return c, err
	}
	return c, nil
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

// specText resembles examples/code-review, with documents instead of Go files and several questions per document.
const specText = `name: cluster
inputs: inputs.jsonl
tools: [read_file]
system_prompt: |
  You review documents for a small team. You get the path of one document and a question. Read it with the tool read_file, then
  judge that document alone.

  Report only what you can point at in the text: claims that contradict each other, figures without a source, dates that
  cannot be right, names that change, and steps that are missing. Do not report matters of taste or formatting. An empty list
  of issues is a good answer.

  Risk is high if an issue can mislead a reader in earnest, medium if a reader would notice it, and low otherwise.
task: "Review the document {path}. {question}"
output_schema:
  type: object
  properties:
    summary: {type: string, description: "what the document says and how sound it is, in one or two sentences", maxLength: 600}
    risk: {enum: [low, medium, high]}
    issues:
      type: array
      maxItems: 20
      items:
        type: object
        properties:
          line: {type: integer, minimum: 1}
          severity: {enum: [low, medium, high]}
          message: {type: string, maxLength: 400}
        required: [line, severity, message]
        additionalProperties: false
  required: [summary, risk, issues]
  additionalProperties: false
max_turns: 4
sampling: {temperature: 0, max_tokens: 1024}
`

// preloadText returns the same batch with the document in front of each prompt. The agents need no tool.
func preloadText() string {
	return strings.NewReplacer(
		"tools: [read_file]\n", "preload: [{tool: read_file, args: {path: \"{path}\"}}]\n",
		"You get the path of one document and a question. Read it with the tool read_file, then\n  judge that document alone.",
		"You get one document and a question. Judge that\n  document alone.",
	).Replace(specText)
}

const (
	documentWords = 800 // about 1,050 tokens
	questionWords = 20
	tools         = "tools" // the workers' tools root
	plainSpec     = "spec.yaml"
	preloadSpec   = "preload.yaml"
)

func (c *cluster) write() error {
	if err := os.MkdirAll(filepath.Join(c.dir, tools, "documents"), 0o700); err != nil {
		return err
	}
	paths := make([]string, c.documents)
	for i := range paths {
		paths[i] = fmt.Sprintf("documents/d%03d.txt", i)
		text := strings.ReplaceAll(prose.Text(paths[i], documentWords), " the ", "\nthe ")
		if err := os.WriteFile(filepath.Join(c.dir, tools, paths[i]), []byte(text), 0o600); err != nil {
			return err
		}
	}
	var inputs bytes.Buffer
	for i := range c.agents {
		line, err := json.Marshal(map[string]string{
			"path": paths[i%len(paths)], "question": fmt.Sprintf("Question %d: %s?", i, prose.Text(fmt.Sprint("question ", i), questionWords)),
		})
		if err != nil {
			return err
		}
		inputs.Write(append(line, '\n'))
	}
	return errors.Join(os.WriteFile(filepath.Join(c.dir, plainSpec), []byte(specText), 0o600),
		os.WriteFile(filepath.Join(c.dir, preloadSpec), []byte(preloadText()), 0o600),
		os.WriteFile(filepath.Join(c.dir, "inputs.jsonl"), inputs.Bytes(), 0o600))
}

func (c *cluster) start(program string, stdout *os.File, args ...string) (*processkit.Process, error) {
	return processkit.Start(filepath.Join(c.dir, program), stdout, args...)
}

// runBatch runs the batch of an arm once.
func (c *cluster) runBatch(ctx context.Context, a *arm) (r ran, err error) {
	n, kill := a.nodes, a.kill
	if err := c.redis.Clear(ctx); err != nil {
		return r, err
	}
	all, stop, err := nodes.Start(ctx, nodes.Config{
		Programs: c.dir, Redis: c.redis, Store: c.store, Profile: c.profile, Scale: c.scale,
		WorkerArgs: []string{"--tools-root", filepath.Join(c.dir, tools), "--lease", c.lease.String()},
	}, n)
	if err != nil {
		return r, err
	}
	defer stop()
	load, err := startLoad(c.redis.Process, all)
	if err != nil {
		return r, err
	}
	began := time.Now()
	id, err := c.submit(ctx, a.spec())
	if err != nil {
		return r, err
	}
	path := filepath.Join(c.dir, id+".jsonl")
	follower, err := c.start("coordinator", nil, "results", id, "--redis", c.redis.URL(), "--follow", "--out", path)
	if err != nil {
		return r, err
	}
	defer follower.Stop()
	watching, watched := context.WithCancel(ctx)
	defer watched()
	came := watchEnds(watching, path, began)
	if kill {
		if err := c.half(ctx, follower, batch.ID(id)); err != nil {
			return r, err
		}
		load.note(all[0].Worker)
		all[0].Worker.Kill()
		r.killedAt = time.Since(began)
	}
	alive, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i, n := range all {
		if kill && i == 0 {
			continue
		}
		go func() {
			select {
			case <-n.Worker.Ended():
				cancel(fmt.Errorf("a worker ended:\n%s", n.Worker.Log()))
			case <-alive.Done():
			}
		}()
	}
	// A follower of a batch with failed jobs exits with another status. The lines of its file have the details.
	if err := follower.Wait(alive); err != nil && alive.Err() != nil {
		return r, err
	}
	r.wall = time.Since(began)
	watched()
	r.ends = <-came
	if r.load, err = load.end(); err != nil {
		return r, err
	}
	return r, c.inspect(ctx, batch.ID(id), path, &r)
}

func (c *cluster) submit(ctx context.Context, spec string) (id string, err error) {
	out, err := c.ask(ctx, "submit", filepath.Join(c.dir, spec), "--tools-root", filepath.Join(c.dir, tools))
	return strings.TrimSpace(string(out)), err
}

// ask runs a command of the coordinator and returns its output.
func (c *cluster) ask(ctx context.Context, args ...string) ([]byte, error) {
	out, err := os.Create(filepath.Join(c.dir, "answer"))
	if err != nil {
		return nil, fmt.Errorf("store the output of the coordinator: %w", err)
	}
	defer out.Close()
	p, err := c.start("coordinator", out, append(args, "--redis", c.redis.URL())...)
	if err != nil {
		return nil, err
	}
	if err := p.Wait(ctx); err != nil {
		return nil, err
	}
	return os.ReadFile(out.Name())
}

// half waits for half of the results.
func (c *cluster) half(ctx context.Context, follower *processkit.Process, id batch.ID) error {
	return follower.Until(ctx, "half of the results are in", func() bool {
		info, err := c.store.Info(ctx, id)
		return err == nil && info.Counts.Finished() >= int64(c.agents/2)
	})
}

// inspect reads the outcome of a run: the file of results, the output of `coordinator explain`, and the counts in Redis.
func (c *cluster) inspect(ctx context.Context, id batch.ID, path string, r *ran) error {
	text, err := c.ask(ctx, "explain", string(id), "--json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &r.explained); err != nil {
		return fmt.Errorf("read the explanation: %w", err)
	}
	info, err := c.store.Info(ctx, id)
	if err != nil {
		return err
	}
	r.counts = info.Counts
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	defer f.Close()
	return r.count(f, c.agents)
}

// count checks every line of the results.
func (r *ran) count(f *os.File, agents int) error {
	seen := make([]int, agents)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r.lines++
		var one batch.Result
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil || one.Index < 0 || one.Index >= int64(agents) {
			return fmt.Errorf("line %d of the results file is not a result: %w", r.lines, err)
		}
		seen[one.Index]++
		if one.Status != batch.OK {
			r.failed++
		}
	}
	for _, n := range seen {
		switch {
		case n == 0:
			r.lost++
		case n > 1:
			r.doubled++
		}
	}
	return lines.Err()
}

// ran is the outcome of one run.
type ran struct {
	wall, killedAt               time.Duration // killedAt is 0 if no worker was killed
	load                         load
	ends                         ends
	lines, lost, doubled, failed int // in the file
	counts                       batch.Counts
	explained                    diagnose.Explanation
}
