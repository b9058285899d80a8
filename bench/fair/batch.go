package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

const specText = `name: fair
system_prompt: You rate orders. Look the prices up before you answer.
task: "Rate this order: {text}"
inputs: inputs.jsonl
tools: [lookup]
output_schema:
  type: object
  properties:
    rating: {enum: [cheap, fair, dear]}
    score: {type: integer, minimum: 0, maximum: 100}
  required: [rating, score]
  additionalProperties: false
max_turns: 4
max_retries: 8
`

// writeSpec writes a batch of n jobs and returns the path of its spec.
func writeSpec(dir string, n int) (string, error) {
	dir = filepath.Join(dir, fmt.Sprint(n))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var inputs strings.Builder
	for i := range n {
		fmt.Fprintf(&inputs, "{\"text\":\"order %d: %d apples and %d pears for customer %d\"}\n", i, i%7, i%11, i*37%1000)
	}
	if err := os.WriteFile(filepath.Join(dir, "inputs.jsonl"), []byte(inputs.String()), 0o644); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "batch.yaml")
	return path, os.WriteFile(path, []byte(specText), 0o644)
}

// outcome is the result of one batch.
type outcome struct {
	wall     time.Duration
	ok       int
	executed int64 // executed tool calls
}

// runBatch submits a spec and reads its results as they arrive. Then it removes the batch.
func runBatch(ctx context.Context, store *statestore.Store, specPath string, n int) (outcome, error) {
	begin := time.Now()
	id, err := submit(ctx, store, specPath)
	if err != nil {
		return outcome{}, err
	}
	var out outcome
	seen := make([]bool, n)
	cursor := int64(0)
	for got := 0; got < n; {
		entries, err := store.AwaitResults(ctx, id, cursor, 500, time.Second)
		if err != nil {
			return outcome{}, err
		}
		if ctx.Err() != nil {
			return outcome{}, fmt.Errorf("wait for %d results of batch %s, got %d: %w", n, id, got, context.Cause(ctx))
		}
		out.wall = time.Since(begin)
		for _, e := range entries {
			cursor = e.Cursor
			if e.Index < 0 || e.Index >= int64(n) || seen[e.Index] {
				return outcome{}, fmt.Errorf("job %d has a second result", e.Index)
			}
			seen[e.Index] = true
			got++
			if e.Status == batch.OK {
				out.ok++
			} else {
				fmt.Fprintf(os.Stderr, "fair: not ok: %s\n", e.Line)
			}
		}
	}
	info, err := store.Info(ctx, id)
	if err != nil {
		return outcome{}, err
	}
	out.executed = info.Counts.Tools.Executed
	if info.Phase != batch.Done || info.Counts.Tools.Asked != int64(n) {
		return outcome{}, fmt.Errorf("batch %s is %s with %d tool calls, want %d", id, info.Phase, info.Counts.Tools.Asked, n)
	}
	return out, store.Remove(ctx, id)
}

// submit feeds a batch like the coordinator.
func submit(ctx context.Context, store *statestore.Store, specPath string) (batch.ID, error) {
	s, err := spec.Load(specPath, spec.LoadOptions{})
	if err != nil {
		return "", err
	}
	defer s.Close()
	p, err := s.Prepare(ctx)
	if err != nil {
		return "", err
	}
	plan, err := json.Marshal(p.Jobs)
	if err != nil {
		return "", err
	}
	id := statestore.NewID(time.Now())
	header := batch.Header{
		ID: id, Name: p.Jobs.Name, Tools: p.Jobs.Tools, MaxAttempts: p.Jobs.MaxAttempts, TTL: p.Jobs.TTL,
	}
	if err := store.Create(ctx, header, plan); err != nil {
		return "", err
	}
	fed := int64(0)
	var chunk [][]byte
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		var err error
		if fed, err = store.Feed(ctx, id, fed, chunk); err != nil {
			return err
		}
		chunk = chunk[:0]
		return store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	}
	for payload, err := range p.Payloads(ctx) {
		if err != nil {
			return "", err
		}
		if chunk = append(chunk, payload); len(chunk) == statestore.MaxFeedJobs {
			if err := flush(); err != nil {
				return "", err
			}
		}
	}
	if err := flush(); err != nil {
		return "", err
	}
	_, err = store.Seal(ctx, id, fed)
	return id, err
}
