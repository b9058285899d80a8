package main

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
)

func serverFlag() cli.Flag {
	return &cli.StringFlag{Name: "server", EnvVars: config.Env("server"), Usage: "`URL` of a `coordinator serve`, instead of Redis"}
}

// server returns a client of the server that the command names.
func (e *env) server(c *cli.Context) (*client.Client, error) {
	if c.IsSet("redis") && e.getenv(config.Env("redis")[0]) == "" {
		return nil, &coordinator.UsageError{Err: fmt.Errorf("--server and --redis are two ways to the same batches; name one")}
	}
	token, err := e.token(c)
	if err != nil {
		return nil, err
	}
	return client.New(c.String("server"), token)
}

// overServer calls do with the server and the batch that the command names.
func (e *env) overServer(c *cli.Context, do func(*client.Client, batch.ID) error) error {
	id, err := batchID(c)
	if err != nil {
		return err
	}
	s, err := e.server(c)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s, id)
}

// submitTo submits a batch over a server.
func (e *env) submitTo(c *cli.Context, s *coordinator.Submission) error {
	to, err := e.server(c)
	if err != nil {
		return err
	}
	defer to.Close()
	id, err := to.Submit(c.Context, s, rand.Text(), e.console)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(e.console.Stdout(), id); err != nil {
		return err
	}
	if !c.Bool("follow") {
		return nil
	}
	return coordinator.Results(c.Context, to, id, coordinator.ResultsOptions{
		Follow: true, Out: c.String("out"), Format: c.String("format"), Command: following(c, os.Args[0], id),
	}, e.console)
}
