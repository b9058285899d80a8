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
			report, err := s.Status(c.Context, id)
			return e.show(c, report, err)
		})
	}
	store, id, err := e.batch(c)
	if err != nil {
		return err
	}
	defer store.Close()
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
