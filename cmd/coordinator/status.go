package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/client"
	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
)

func (e *env) status(c *cli.Context) error {
	if c.String("server") != "" {
		return e.overServer(c, func(s *client.Client, id batch.ID) error {
			if err := e.watch(c, s, id); err != nil {
				return err
			}
			report, err := s.Status(c.Context, id)
			return e.show(c, report, err)
		})
	}
	store, id, err := e.batch(c)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := e.watch(c, store, id); err != nil {
		return err
	}
	report, err := coordinator.Status(c.Context, store, id)
	return e.show(c, report, err)
}

func (e *env) show(c *cli.Context, report coordinator.StatusReport, err error) error {
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return coordinator.WriteJSON(e.console.Stdout(), report)
	}
	return coordinator.WriteStatus(e.console.Stdout(), report, time.Now())
}

// watch shows the progress until the batch is done if --watch is set.
func (e *env) watch(c *cli.Context, s coordinator.Source, id batch.ID) error {
	if !c.Bool("watch") {
		return nil
	}
	return coordinator.Watch(c.Context, s, id, e.console)
}
