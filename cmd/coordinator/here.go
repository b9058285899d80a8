package main

import (
	"context"
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/internal/tracing"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func (e *env) runHere(c *cli.Context) error {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	selected, err := selection(c)
	if err != nil {
		return err
	}
	log, err := config.Logger(e.console.Stderr(), c.String("log-level"), "text")
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	tracer, endTraces, err := tracing.Start(c.Context, tracing.Config{Service: "batchagent-run", Instance: "local", Getenv: e.getenv, Logger: log})
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	defer endTraces()
	options := localrun.Options{
		Spec: path, Backend: c.String("backend"), InsecureKeys: c.Bool("insecure-keys"), Owner: c.String("owner"), Workers: c.Int("workers"),
		MaxInflight: c.Int("max-inflight"), Format: c.String("format"), Resume: c.Bool("resume"), Rerun: c.String("rerun"), Echo: c.Bool("echo"), Force: c.Bool("force"),
		Reuse: c.String("reuse"), Select: selected,
		Wait:      localrun.ServerWait{FailFast: c.Bool("fail-fast"), Longest: c.Duration("wait-for-server")},
		ToolsRoot: c.String("tools-root"), ToolsFile: c.String("tools"), Drivers: drivers, Local: dial.DefaultAddress, Stdin: e.in, Getenv: e.getenv, Logger: log, Tracer: tracer,
	}
	if out := collect.ToFile(c.String("out")); out != "" {
		options.Files = out + ".files"
	}
	return e.withOut(c, func(out string) error {
		options.Out = out
		return terminal.Run(c.Context, options, resuming(c, os.Args[0]), e.console)
	})
}

func (e *env) validate(c *cli.Context) error {
	path, err := one(c, "spec file")
	if err != nil {
		return err
	}
	selected, err := selection(c)
	if err != nil {
		return err
	}
	connect, closeStore := operation.Once(func(context.Context) (*statestore.Store, error) { return e.connect(c) })
	defer closeStore()
	var tokens *localrun.EstimateOptions
	switch {
	case c.Bool("estimate"):
		tokens = &localrun.EstimateOptions{Backend: c.String("backend"), Local: dial.DefaultAddress, Getenv: e.getenv}
	case c.String("backend") != "":
		return &fault.UsageError{Err: errors.New("--backend goes with --estimate: its server counts the tokens")}
	}
	return terminal.WritePreview(c.Context, e.console.Report(), operation.SubmitOptions{
		Spec: path, ToolsRoot: c.String("tools-root"), Select: selected, Stdin: e.in, Getenv: e.getenv, Connect: connect,
	}, tokens)
}

func (e *env) backends(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	return terminal.Backends(c.Context, e.console.Report())
}

func (e *env) doctor(c *cli.Context) error {
	if err := none(c); err != nil {
		return err
	}
	to, err := config.ReadRedis(c.String("redis"), e.getenv)
	if err != nil {
		return &fault.UsageError{Err: err}
	}
	log, err := config.Logger(e.console.Stderr(), "error", "text")
	if err != nil {
		return err
	}
	return terminal.Doctor(c.Context, e.console.Report(), diagnose.DoctorOptions{
		Redis: to, NoRedis: c.String("backend") != "" && !c.IsSet("redis"), Backend: c.String("backend"), ToolsRoot: c.String("tools-root"), ToolsFile: c.String("tools"), Drivers: drivers,
		Getenv: e.getenv, Logger: log,
	})
}
