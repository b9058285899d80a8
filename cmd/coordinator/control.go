package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

func (e *env) cancel(c *cli.Context) error {
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		out, err := b.Cancel(c.Context, id)
		switch {
		case err == nil:
			e.console.Cancelled(out)
		case out.Recorded && c.Context.Err() != nil:
			e.console.CancelInterrupted(id)
		}
		return err
	})
}

func (e *env) retry(c *cli.Context) error {
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		out, err := b.Retry(c.Context, id)
		if err == nil {
			e.console.Retried(id, out)
		}
		return err
	})
}

func (e *env) remove(c *cli.Context) error {
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		removed, err := b.Remove(c.Context, id)
		e.console.Removed(removed)
		return err
	})
}

func (e *env) budget(c *cli.Context) error {
	budget := batch.Budget{Tokens: c.Int64("tokens"), USD: c.Float64("usd")}
	if c.IsSet("tokens") && budget.Tokens == 0 || c.IsSet("usd") && budget.USD == 0 {
		return &fault.UsageError{Err: fmt.Errorf("a budget of 0 is no limit; to stop the batch, run `coordinator cancel`")}
	}
	if budget == (batch.Budget{}) {
		return &fault.UsageError{Err: fmt.Errorf("set how much the batch may use: --tokens N, --usd X or both")}
	}
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		info, err := b.SetBudget(c.Context, id, budget)
		if err == nil {
			e.console.Budget(info)
		}
		return err
	})
}

func (e *env) resolve(c *cli.Context) error {
	if c.Args().Len() != 2 {
		return &fault.UsageError{Err: fmt.Errorf("`coordinator resolve` takes a batch ID and a job, as job-3; `coordinator resolve --help` explains it")}
	}
	o := operation.Resolution{Outcome: c.String("outcome"), Text: c.String("result"), Call: c.String("call")}
	if !slices.Contains([]string{"done", "failed", "again"}, o.Outcome) {
		return &fault.UsageError{Err: fmt.Errorf("--outcome must be done, failed or again: whether the call had its effect, had none, or may run again")}
	}
	return e.onID(c, c.Args().First(), func(b operation.Batches, id batch.ID) error {
		out, err := b.Resolve(c.Context, id, c.Args().Get(1), o)
		if err == nil {
			e.console.Resolved(out)
		}
		return err
	})
}
