package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// batches opens the place that the command names: a server, or Redis. The caller closes it.
func (e *env) batches(c *cli.Context) (operation.Batches, error) {
	if c.String("server") != "" {
		return e.server(c)
	}
	store, err := e.connect(c)
	if err != nil {
		return nil, err
	}
	return operation.On(store, e.console.Notify), nil
}

// connect opens the Redis that the command names.
func (e *env) connect(c *cli.Context) (*statestore.Store, error) {
	to, err := config.ReadRedis(c.String("redis"), e.getenv)
	if err != nil {
		return nil, &fault.UsageError{Err: err}
	}
	return operation.Connect(c.Context, to)
}

// server returns a client of the server that the command names.
func (e *env) server(c *cli.Context) (*client.Client, error) {
	if c.IsSet("redis") && e.getenv(config.Env("redis")[0]) == "" {
		return nil, &fault.UsageError{Err: fmt.Errorf("--server and --redis are two ways to the same batches; name one")}
	}
	token, err := e.token(c)
	if err != nil {
		return nil, err
	}
	return client.New(c.String("server"), token, e.console.Notify)
}

// onBatch calls do with the batch that the command's only argument names, and with the place that has it.
func (e *env) onBatch(c *cli.Context, do func(operation.Batches, batch.ID) error) error {
	arg, err := one(c, "batch ID")
	if err != nil {
		return err
	}
	return e.onID(c, arg, do)
}

// onID is onBatch for a batch ID.
func (e *env) onID(c *cli.Context, arg string, do func(operation.Batches, batch.ID) error) error {
	id, err := batch.ParseID(arg)
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	b, err := e.batches(c)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Find(c.Context, id); err != nil {
		return err
	}
	return do(b, id)
}
