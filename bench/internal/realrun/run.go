package realrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Run is a batch and its settings.
type Run struct {
	URL  string // of the server, in the form that a worker accepts
	Live int    // limit of live agents. Defaults to all.
	Told bool   // lets the worker read the size of the KV cache, by which it admits agents

	System string   // system prompt of all agents. It must differ from that of other runs, which the server may still have in its cache.
	Texts  []string // one task per agent
	Turns  int      // model calls per agent
	Output int      // limit of tokens per model call

	// In every turn except the last, the agent calls Tool with the arguments that Call returns. turn counts from 0.
	Tool toolpool.Tool
	Call func(r *backend.Request, turn int) map[string]string
}

// Outcome is the result of a run.
type Outcome struct {
	Wall         time.Duration // from the submission to the last result
	Usage        batch.Usage
	Tools        batch.ToolCounts
	First, Later figures.Series // seconds to the first token, in an agent's first turn and in later ones
}

// HitRate returns the share of prompt tokens from the server's cache, or 0 if the server does not report it.
func (o Outcome) HitRate() float64 {
	return float64(o.Usage.CachedTokens) / float64(max(o.Usage.PromptTokens, 1))
}

// Do runs the batch once. It returns an error if a job fails or if the number of turns differs from the script.
func (r Run) Do(ctx context.Context) (o Outcome, err error) {
	server, err := dial.Open(ctx, r.URL, dial.Options{})
	if err != nil {
		return o, err
	}
	defer server.Close()
	if err := server.Ready(ctx); err != nil {
		return o, err
	}
	scripted := &script{Backend: server, run: r}
	model := backend.Backend(scripted)
	if r.Told {
		load, ok := server.(backend.LoadReporter)
		if !ok {
			return o, errors.New("this backend does not report the size of its KV cache")
		}
		model = struct {
			*script
			backend.LoadReporter
		}{scripted, load}
	}
	store, closeStore, err := embedded(ctx)
	if err != nil {
		return o, err
	}
	defer closeStore()
	end, err := r.startWorker(ctx, store, model)
	if err != nil {
		return o, err
	}
	defer end()
	began := time.Now()
	id, err := r.submitAndFollow(ctx, store)
	if err != nil {
		return o, err
	}
	o.Wall = time.Since(began)
	info, err := store.Info(ctx, id)
	if err != nil {
		return o, err
	}
	if want := int64(len(r.Texts) * r.Turns); info.Counts.Turns != want {
		return o, fmt.Errorf("%d turns, want %d", info.Counts.Turns, want)
	}
	o.Usage, o.Tools = info.Counts.Usage, info.Counts.Tools
	o.First, o.Later = scripted.waits()
	return o, nil
}

// embedded returns a store with an embedded Redis in this process.
func embedded(ctx context.Context) (*statestore.Store, func(), error) {
	redis := miniredis.NewMiniRedis()
	store, err := statestore.Open(ctx, "redis://127.0.0.1:6379", statestore.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) { return redis.Dial() },
	})
	if err != nil {
		redis.Close()
		return nil, nil, err
	}
	return store, func() { _ = store.Close(); redis.Close() }, nil
}

// startWorker starts a worker that runs until end is called.
func (r Run) startWorker(ctx context.Context, store *statestore.Store, model backend.Backend) (end func(), err error) {
	pool, err := toolpool.New(toolpool.Config{})
	if err != nil {
		return nil, err
	}
	if r.Turns > 1 {
		if err := pool.Register(r.Tool); err != nil {
			return nil, err
		}
	}
	live := r.Live
	if live == 0 {
		live = len(r.Texts)
	}
	node, err := worker.New(worker.Config{ID: "node-1", Store: store, Backend: model, Tools: pool, Slots: live, MaxAgents: live})
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = node.Run(life) }) // an error shows as a batch that does not end
	return func() { stop(); node.Abort(); running.Wait() }, nil
}

func (r Run) submitAndFollow(ctx context.Context, store *statestore.Store) (batch.ID, error) {
	dir, err := os.MkdirTemp("", "bench-real-")
	if err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	spec, err := r.writeSpec(dir)
	if err != nil {
		return "", fmt.Errorf("write the spec: %w", err)
	}
	var out, said bytes.Buffer
	con := terminal.NewConsole(&out, &said)
	sub, err := operation.Prepare(ctx, operation.SubmitOptions{Spec: spec, ToolsRoot: dir, Stdin: strings.NewReader(""), Notify: con.Notify})
	if err != nil {
		return "", err
	}
	defer sub.Close()
	if err := sub.Submit(ctx, store); err != nil {
		return "", err
	}
	if err := terminal.Results(ctx, store, sub.ID, terminal.ResultsOptions{Follow: true, Out: filepath.Join(dir, "results.jsonl")}, con); err != nil {
		return "", fmt.Errorf("%w\n%s", err, said.String())
	}
	return sub.ID, nil
}

func (r Run) writeSpec(dir string) (path string, err error) {
	var inputs bytes.Buffer
	for _, text := range r.Texts {
		line, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			return "", err
		}
		inputs.Write(append(line, '\n'))
	}
	spec := map[string]any{
		"name": "real", "system_prompt": r.System, "task": "{text}", "inputs": "inputs.jsonl", "sampling": map[string]any{"temperature": 0}, "max_turns": 1,
	}
	if r.Turns > 1 { // the last allowed turn gets no tools, which would change the prompt
		spec["tools"], spec["max_turns"] = []string{r.Tool.Name}, r.Turns+1
	}
	text, err := json.Marshal(spec) // JSON is also YAML
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "batch.yaml")
	return path, errors.Join(os.WriteFile(filepath.Join(dir, "inputs.jsonl"), inputs.Bytes(), 0o600), os.WriteFile(path, text, 0o600))
}
