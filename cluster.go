package batchagent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// ClusterConfig has the address of a cluster. URL is required.
type ClusterConfig struct {
	// URL is the URL of the Redis that the workers use, such as redis://host:6379, or the URL of a `coordinator serve`, such as
	// http://host:8080. The environment variables of docs/deploy.md give the password and certificates of Redis.
	URL string

	// Token is the API token of a server. Defaults to the environment variable BATCHAGENT_API_TOKEN. It is not used with Redis.
	Token string

	// Logger gets warnings, and the start and the end of outages. Defaults to none: nothing is logged.
	Logger *slog.Logger
}

// Cluster is a connection to a cluster of workers. It is safe for concurrent use.
type Cluster struct {
	batches batches
	log     *slog.Logger
}

// batches is a place that has batches: a Redis, or a server in front of it.
type batches interface {
	coordinator.Source
	Workers(ctx context.Context) ([]batch.WorkerRecord, error)
	Status(ctx context.Context, id batch.ID) (coordinator.StatusReport, error)
	Close() error

	// redis returns the Redis, or nil for a server.
	redis() *statestore.Store
	// submit submits a batch under a key, or as a new batch if the key is empty.
	submit(ctx context.Context, s *coordinator.Submission, key string) (batch.ID, error)
	cancel(ctx context.Context, id batch.ID) error
	retry(ctx context.Context, id batch.ID) error
}

// Connect connects to a cluster. It returns an [*UnreachableError] if Redis does not answer. It makes no connection to a server. Later
// outages are waited out by [Submit], [Handle.Results] and [Handle.Wait], until their context ends. The caller closes the Cluster.
func Connect(ctx context.Context, c ClusterConfig) (*Cluster, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cluster := &Cluster{log: c.Logger}
	console := coordinator.Logged(c.Logger)
	if strings.HasPrefix(c.URL, "http://") || strings.HasPrefix(c.URL, "https://") {
		if c.Token == "" {
			c.Token = os.Getenv("BATCHAGENT_API_TOKEN")
		}
		server, err := client.New(c.URL, c.Token)
		if err != nil {
			return nil, public(ctx, err)
		}
		cluster.batches = serverBatches{server, console}
		return cluster, nil
	}
	store, err := openRedis(ctx, c.URL, c.Logger)
	if err != nil {
		return nil, err
	}
	cluster.batches = redisBatches{store, console}
	return cluster, nil
}

// openRedis connects to Redis and logs the warnings about its configuration.
func openRedis(ctx context.Context, url string, log *slog.Logger) (*statestore.Store, error) {
	to, err := config.ReadRedis(url, os.Getenv)
	if err != nil {
		return nil, &UsageError{err}
	}
	store, err := coordinator.Connect(ctx, to)
	if err != nil {
		return nil, public(ctx, err)
	}
	for _, warning := range store.Warnings(ctx) {
		log.Warn(warning)
	}
	return store, nil
}

// Close closes the connection. Handles of the cluster cannot be used any more. Batches continue to run.
func (c *Cluster) Close() error { return c.batches.Close() }

// redisBatches are the batches in a Redis.
type redisBatches struct {
	*statestore.Store
	console *coordinator.Console
}

func (b redisBatches) redis() *statestore.Store { return b.Store }

func (b redisBatches) Status(ctx context.Context, id batch.ID) (coordinator.StatusReport, error) {
	return coordinator.Status(ctx, b.Store, id)
}

func (b redisBatches) submit(ctx context.Context, s *coordinator.Submission, key string) (batch.ID, error) {
	if key != "" {
		_, err := s.SubmitOnce(ctx, b.Store, key)
		return s.ID, err
	}
	if err := s.Submit(ctx, b.Store); err != nil {
		return "", err
	}
	return s.ID, s.Announced(ctx)
}

func (b redisBatches) cancel(ctx context.Context, id batch.ID) error {
	return coordinator.Cancel(ctx, b.Store, id, b.console)
}

func (b redisBatches) retry(ctx context.Context, id batch.ID) error {
	return coordinator.Retry(ctx, b.Store, id, b.console)
}

// serverBatches are the batches behind a server.
type serverBatches struct {
	*client.Client
	console *coordinator.Console
}

func (b serverBatches) redis() *statestore.Store { return nil }

// Workers waits until the server answers, because the check of a batch's tools needs the workers.
func (b serverBatches) Workers(ctx context.Context) (workers []batch.WorkerRecord, err error) {
	err = b.UntilKnown(ctx, func() error {
		workers, err = b.Client.Workers(ctx)
		return err
	})
	return workers, err
}

func (b serverBatches) submit(ctx context.Context, s *coordinator.Submission, key string) (batch.ID, error) {
	if key == "" {
		key = rand.Text()
	}
	return b.Submit(ctx, s, key, b.console)
}

func (b serverBatches) cancel(ctx context.Context, id batch.ID) error {
	return b.Cancel(ctx, id, b.console)
}

func (b serverBatches) retry(ctx context.Context, id batch.ID) error {
	return b.Retry(ctx, id, b.console)
}
