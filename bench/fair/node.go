package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// node is the configuration of a worker process.
type node struct {
	id, redis, backend string
	slots              int
}

// runNode runs a worker process: cmd/worker with the slow tool. It drains when ctx is done.
func runNode(ctx context.Context, n node) error {
	store, err := statestore.Open(ctx, n.redis, statestore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	return work(ctx, n, store)
}

// work runs a worker on a store until ctx is done.
func work(ctx context.Context, n node, store *statestore.Store) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	back, err := dial.Open(ctx, n.backend, dial.Options{Logger: log})
	if err != nil {
		return err
	}
	defer back.Close()
	pool, err := toolpool.New(toolpool.Config{Logger: log})
	if err != nil {
		return err
	}
	if err := pool.Register(slowTool); err != nil {
		return err
	}
	w, err := worker.New(worker.Config{ID: n.id, Store: store, Backend: back, Tools: pool, Slots: n.slots, Logger: log})
	if err != nil {
		return fmt.Errorf("start worker %s: %w", n.id, err)
	}
	return w.Run(ctx)
}
