package batchagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/batchagent/batchagent/internal/programs"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

// Worker is a worker of a cluster in a Go program, like the program worker. It claims jobs, runs their agents against one model server,
// and offers Go functions as tools. Redis and Backend are required.
type Worker struct {
	// Redis is the URL of the cluster's Redis, such as redis://host:6379. The environment variables of docs/deploy.md give its
	// password and certificates.
	Redis string

	// Backend is the URL of the model server, such as vllm://127.0.0.1:8000. docs/backends.md lists the kinds, and the environment
	// variables that give the keys.
	Backend string

	// Tools are functions of this program: see [Func]. Batches may name them as soon as the worker runs. A function replaces a
	// built-in tool of the same name. All workers should offer the same function under one name, because equal calls share one
	// execution. Defaults to none.
	Tools []Tool

	// ToolsRoot is the folder that read_file and the other file tools read. Defaults to the current folder.
	ToolsRoot string

	// ToolsFile is the path of a tools.yaml with more tools. Defaults to none: the worker has the built-in tools and Tools.
	ToolsFile string

	// ID is the name of the worker in results and lists. Defaults to the name of the host.
	ID string

	// MaxInflight limits the model requests in flight. Defaults to the safe number of the backend.
	MaxInflight int

	// MaxAgents limits the live agents, including those that wait for tools. Defaults to 4 x MaxInflight.
	MaxAgents int

	// Lease is how long a worker may be silent before other workers take over its jobs. Use the same for all workers of a cluster.
	// Defaults to 15 seconds.
	Lease time.Duration

	// DrainTimeout is how long the agents may take to end their turn after the end of Run's context. Their jobs are then handed
	// back. Defaults to 30 seconds.
	DrainTimeout time.Duration

	// Logger gets the messages of the worker. Defaults to none: nothing is logged.
	Logger *slog.Logger
}

// Run runs the worker until ctx ends, and then drains it. A draining worker claims no more jobs. Its agents end their turn, finished
// jobs are committed, and the other jobs are handed back, so that other workers continue them. Run returns nil after a drain.
//
// It returns a [*UsageError] for a mistake in the fields, and an [*UnreachableError] if Redis does not answer at the start. Later
// outages of Redis or of the model server are waited out. All goroutines have ended when Run returns.
func (w Worker) Run(ctx context.Context) error {
	if err := w.serve(ctx); err != nil {
		return fmt.Errorf("run a worker: %w", err)
	}
	return nil
}

func (w Worker) serve(ctx context.Context) (err error) {
	if w, err = w.withDefaults(); err != nil {
		return &UsageError{err}
	}
	back, err := dial.Open(ctx, w.Backend, dial.Options{Logger: w.Logger, Getenv: os.Getenv})
	if err != nil {
		return &UsageError{err}
	}
	defer back.Close()
	tools, err := w.tools(ctx)
	if err != nil {
		return &UsageError{err}
	}
	defer tools.Close()
	store, err := openRedis(ctx, w.Redis)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, warning := range store.Warnings(ctx) {
		w.Logger.Warn(warning)
	}
	commands, blocking := store.Clients()
	pool, leave, err := tools.Join(commands, blocking, w.ID, w.Logger)
	if err != nil {
		return &UsageError{err}
	}
	defer leave()
	host, err := programs.New(programs.Config{
		Declared: tools.Programs, Root: w.ToolsRoot, Files: tools.Files, Secrets: tools.Secrets, Logger: w.Logger,
	})
	if err != nil {
		return &UsageError{err}
	}
	defer host.Close()
	if err := host.Check(ctx, host.Needs()); err != nil {
		return err
	}
	runner, err := worker.New(worker.Config{
		ID: w.ID, Store: store, Backend: back, Tools: pool, Programs: host, Slots: w.MaxInflight, MaxAgents: w.MaxAgents, Lease: w.Lease,
		DrainTimeout: w.DrainTimeout, Logger: w.Logger,
	})
	if err != nil {
		return &UsageError{err}
	}
	return runner.Run(ctx)
}

func (w Worker) withDefaults() (_ Worker, err error) {
	if w.Redis == "" || w.Backend == "" {
		return w, errors.New("set the fields Redis and Backend")
	}
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
	if w.ID == "" {
		if w.ID, err = os.Hostname(); err != nil {
			return w, fmt.Errorf("set ID: %w", err)
		}
	}
	return w, nil
}

// tools opens the tools of this worker.
func (w Worker) tools(ctx context.Context) (*toolset.Set, error) {
	own, err := functionsOf(w.Tools)
	if err != nil {
		return nil, err
	}
	for _, t := range w.Tools {
		if t.Run == nil {
			return nil, fmt.Errorf("the tool %s is no function of this program; a worker has the built-in tools and those of ToolsFile anyway", t.Name)
		}
	}
	file := &toolset.File{}
	if w.ToolsFile != "" {
		if file, err = toolset.Read(w.ToolsFile, os.LookupEnv); err != nil {
			return nil, err
		}
	}
	set, err := toolset.Open(ctx, file, toolset.Options{Root: w.ToolsRoot, Getenv: os.Getenv, Logger: w.Logger})
	if err != nil {
		return nil, err
	}
	set.Replace(own)
	return set, nil
}
