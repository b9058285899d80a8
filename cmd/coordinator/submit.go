package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/s3"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func (e *env) submit(c *cli.Context) error {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	if c.String("out") != "" && !c.Bool("follow") {
		return &fault.UsageError{Err: fmt.Errorf("--out goes with --follow; without it, `coordinator results` collects")}
	}
	if err := collect.CheckOut(c.String("out"), c.String("format")); err != nil {
		return err
	}
	selected, err := selection(c)
	if err != nil {
		return err
	}
	overServer := c.String("server") != ""
	for _, name := range []string{"durable", "reuse"} {
		if overServer && c.IsSet(name) {
			return &fault.UsageError{Err: fmt.Errorf("--%s goes with --redis, not with --server", name)}
		}
	}
	rerun := operation.Rerun{From: c.String("from"), Where: c.String("rerun")}
	if err := checkRerun(c, rerun, overServer); err != nil {
		return err
	}
	connect, closeStore := operation.Once(func(context.Context) (*statestore.Store, error) { return e.connect(c) })
	defer closeStore()
	o := operation.SubmitOptions{
		Spec: path, Owner: c.String("owner"), ToolsRoot: c.String("tools-root"), Durable: c.Bool("durable"), Reuse: c.String("reuse"), Select: selected, Rerun: rerun,
		Stdin: e.in, Connect: connect, Notify: e.console.Notify,
	}
	if overServer {
		o.Connect = nil // the user of a server may not have access to its Redis
	}
	o.Getenv = e.getenv
	s, err := operation.Prepare(c.Context, o)
	if err != nil {
		return err
	}
	defer s.Close()
	return e.withOut(c, func(out string) error { return e.submitPrepared(c, s, out, connect) })
}

// submitPrepared submits to the place that the flags name.
func (e *env) submitPrepared(c *cli.Context, s *operation.Submission, out string, connect func(context.Context) (*statestore.Store, error)) error {
	if c.String("server") != "" {
		to, err := e.server(c)
		if err != nil {
			return err
		}
		defer to.Close()
		return e.submitTo(c, to, s, out)
	}
	store, err := connect(c.Context) // the inputs may have opened it
	if err != nil {
		return err
	}
	return e.submitTo(c, operation.On(store, e.console.Notify), s, out)
}

// checkRerun checks the flags that run rows of an earlier batch again.
func checkRerun(c *cli.Context, rerun operation.Rerun, overServer bool) error {
	_, notID := batch.ParseID(rerun.From)
	switch {
	case rerun.From == "" && c.IsSet("rerun"):
		return &fault.UsageError{Err: fmt.Errorf("--rerun needs --from: the ID of the batch, or its results file, whose rows run again")}
	case rerun.Where == "" && c.IsSet("from"):
		return &fault.UsageError{Err: fmt.Errorf("--from goes with --rerun, a condition such as failed")}
	case rerun.From == "" || !overServer:
		return nil
	case notID != nil:
		return &fault.UsageError{Err: fmt.Errorf("--from takes the ID of a batch of the server; for a results file use --redis instead of --server, or `coordinator run`")}
	}
	return nil
}

// submitTo submits a batch, prints its ID, and follows it if the command asks for it.
func (e *env) submitTo(c *cli.Context, to operation.Batches, s *operation.Submission, out string) error {
	id, err := to.Submit(c.Context, s)
	if err != nil {
		e.console.PartlySubmitted(err)
		return err
	}
	if _, err := fmt.Fprintln(e.console.Stdout(), id); err != nil {
		return err
	}
	if err := to.Announced(c.Context, s); err != nil {
		return err
	}
	if !c.Bool("follow") {
		return nil
	}
	return terminal.Results(c.Context, to, id, terminal.ResultsOptions{
		Follow: true, Out: out, Format: c.String("format"), Command: following(c, os.Args[0], id), Rows: s.Rows,
	}, e.console)
}

func (e *env) results(c *cli.Context) error {
	if c.String("server") != "" && c.Bool("consume") {
		return &fault.UsageError{Err: fmt.Errorf("--consume goes with --redis, not with --server")}
	}
	if s3.Is(c.String("out")) && c.Bool("consume") {
		return &fault.UsageError{Err: fmt.Errorf("--consume goes with a file: it drops results from Redis once they are on disk; leave it out, or write to a file")}
	}
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		return e.withOut(c, func(out string) error {
			return terminal.Results(c.Context, b, id, terminal.ResultsOptions{
				Follow: c.Bool("follow"), Ordered: c.Bool("ordered"), Consume: c.Bool("consume"), Out: out, Format: c.String("format"),
				Command: following(c, os.Args[0], id),
			}, e.console)
		})
	})
}
