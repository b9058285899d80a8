package batchagent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
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
	batches operation.Batches
	log     *slog.Logger
}

// Connect connects to a cluster. It returns an [*UnreachableError] if Redis does not answer. It makes no connection to a server. Later
// outages are waited out by [Submit], [Handle.Results] and [Handle.Wait], until their context ends. The caller closes the Cluster.
func Connect(ctx context.Context, c ClusterConfig) (*Cluster, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	cluster := &Cluster{log: c.Logger}
	if strings.HasPrefix(c.URL, "http://") || strings.HasPrefix(c.URL, "https://") {
		if c.Token == "" {
			c.Token = os.Getenv("BATCHAGENT_API_TOKEN")
		}
		server, err := client.New(c.URL, c.Token, notice.Logged(c.Logger))
		if err != nil {
			return nil, public(ctx, err)
		}
		cluster.batches = server
		return cluster, nil
	}
	store, err := openRedis(ctx, c.URL)
	if err != nil {
		return nil, err
	}
	cluster.batches = operation.On(store, notice.Logged(c.Logger))
	return cluster, nil
}

// openRedis connects to Redis.
func openRedis(ctx context.Context, url string) (*statestore.Store, error) {
	to, err := config.ReadRedis(url, os.Getenv)
	if err != nil {
		return nil, &UsageError{err}
	}
	store, err := operation.Connect(ctx, to)
	if err != nil {
		return nil, public(ctx, err)
	}
	return store, nil
}

// Close closes the connection. Handles of the cluster cannot be used any more. Batches continue to run.
func (c *Cluster) Close() error { return c.batches.Close() }

// redis returns the Redis of the cluster, or nil behind a server.
func (c *Cluster) redis() *statestore.Store {
	if c, ok := c.batches.(*operation.Cluster); ok {
		return c.Store
	}
	return nil
}

// submit submits a batch under a key, or as a new batch if the key is empty.
func (c *Cluster) submit(ctx context.Context, p *localrun.Program, reuse, key string) (batch.ID, error) {
	store := c.redis()
	if reuse != "" && store == nil {
		return "", &UsageError{errors.New("the field Reuse needs the Redis of the cluster: connect to its redis:// URL instead of a server")}
	}
	var connect func(context.Context) (*statestore.Store, error)
	if store != nil {
		connect = func(context.Context) (*statestore.Store, error) { return store, nil }
	}
	sub, err := p.Prepare(ctx, connect)
	if err != nil {
		return "", err
	}
	defer sub.Close()
	sub.ReuseFrom, sub.Key = reuse, key
	if store == nil { // a server's answer names no tools
		if err := sub.CheckTools(ctx, patientWorkers{c.batches}); err != nil {
			return "", err
		}
	}
	id, err := c.batches.Submit(ctx, sub)
	if err != nil {
		return "", err
	}
	if key == "" {
		err = c.batches.Announced(ctx, sub)
	}
	return id, err
}

// patientWorkers waits until a server answers, because the check of a batch's tools needs the workers.
type patientWorkers struct{ operation.Batches }

func (p patientWorkers) Workers(ctx context.Context) (workers []batch.WorkerRecord, err error) {
	err = p.UntilKnown(ctx, func() error {
		workers, err = p.Batches.Workers(ctx)
		return err
	})
	return workers, err
}
