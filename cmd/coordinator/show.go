package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/pkg/batch"
)

func (e *env) status(c *cli.Context) error {
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		if c.Bool("watch") {
			if err := terminal.Watch(c.Context, b, id, e.console); err != nil {
				return err
			}
		}
		report, err := b.Status(c.Context, id)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return terminal.WriteJSON(e.console.Stdout(), report)
		}
		return terminal.WriteStatus(e.console.Report(), report, time.Now())
	})
}

func (e *env) explain(c *cli.Context) error {
	if path := c.Path("results"); path != "" {
		explanation, err := diagnose.ExplainFile(path)
		return e.showExplanation(c, explanation, err)
	}
	return e.onBatch(c, func(b operation.Batches, id batch.ID) error {
		explanation, err := diagnose.Explain(c.Context, b, id, e.console.Notify)
		return e.showExplanation(c, explanation, err)
	})
}

func (e *env) showExplanation(c *cli.Context, explanation diagnose.Explanation, err error) error {
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return terminal.WriteJSON(e.console.Stdout(), explanation)
	}
	return terminal.WriteExplanation(e.console.Report(), explanation)
}

func (e *env) listBatches(c *cli.Context) error {
	return e.onPlace(c, func(b operation.Batches) error {
		list, err := b.List(c.Context, 0)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return terminal.WriteJSON(e.console.Stdout(), orEmpty(list))
		}
		return terminal.WriteBatches(e.console.Report(), list, time.Now())
	})
}

func (e *env) listWorkers(c *cli.Context) error {
	return e.onPlace(c, func(b operation.Batches) error {
		list, err := b.Workers(c.Context)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return terminal.WriteJSON(e.console.Stdout(), operation.WorkersOf(list))
		}
		return terminal.WriteWorkers(e.console.Report(), list)
	})
}

// onPlace calls do with the place that a command without arguments names.
func (e *env) onPlace(c *cli.Context, do func(operation.Batches) error) error {
	if err := none(c); err != nil {
		return err
	}
	b, err := e.batches(c)
	if err != nil {
		return err
	}
	defer b.Close()
	return do(b)
}

// orEmpty returns a list that is [] in JSON and never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
