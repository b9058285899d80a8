package main

import (
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/terminal"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
)

// savedCommands read results files. They need neither Redis nor a model server.
func savedCommands(e *env) []*cli.Command {
	return []*cli.Command{
		{
			Name: "show", ArgsUsage: "FILE [INDEX]", Usage: "show the results in a file as a table, or one job with its conversation",
			Description: `FILE is a results file (jsonl). With an INDEX it shows that job: its turns and tool calls, if the spec has
transcripts: true, and its prompt with --spec. --where takes a condition, such as 'output.confidence < 0.5'; docs/iterate.md
describes it.`,
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "failed", Usage: "show failed jobs only"},
				&cli.StringFlag{Name: "where", Usage: "show results that meet `CONDITION` only"},
				&cli.PathFlag{Name: "spec", Usage: "with INDEX: show the job's prompt, as the `SPEC` makes it"},
				rootFlag(),
			},
			Action: e.show,
		},
		{
			Name: "diff", ArgsUsage: "BEFORE AFTER", Usage: "compare the results of two runs row by row",
			Description: `Both are results files (jsonl). Rows with another status or another output go to standard output, and the counts to
standard error. With --spec, its prices give the cost of both runs.`,
			Flags: []cli.Flag{&cli.PathFlag{Name: "spec", Usage: "`SPEC` with the prices of both runs"}, rootFlag()}, Action: e.diff,
		},
	}
}

func (e *env) show(c *cli.Context) error {
	if n := c.Args().Len(); n < 1 || n > 2 {
		return &fault.UsageError{Err: fmt.Errorf("`coordinator show` takes a results file, and maybe the index of a job; `coordinator show --help` explains it")}
	}
	where, err := shownWhere(c)
	if err != nil {
		return err
	}
	from, err := earlier.OpenSaved(c.Args().First())
	if err != nil {
		return err
	}
	defer from.Close()
	if c.Args().Len() == 1 {
		if c.Path("spec") != "" {
			return &fault.UsageError{Err: fmt.Errorf("--spec goes with the index of a job")}
		}
		return terminal.ShowResults(c.Context, from, where, e.console)
	}
	if where != nil {
		return &fault.UsageError{Err: fmt.Errorf("--failed and --where select rows of the table; leave them out to show one job")}
	}
	index, err := strconv.ParseInt(c.Args().Get(1), 10, 64)
	if err != nil || index < 0 {
		return &fault.UsageError{Err: fmt.Errorf("%q is not the index of a job; the first job has index 0", c.Args().Get(1))}
	}
	r, err := from.Job(c.Context, index)
	if err != nil {
		return err
	}
	var prompt *operation.Prompt
	if path := c.Path("spec"); path != "" {
		found, err := operation.PromptOf(c.Context, operation.SubmitOptions{Spec: path, ToolsRoot: c.String("tools-root"), Stdin: e.in, Getenv: e.getenv}, r)
		if err != nil {
			return err
		}
		prompt = &found
	}
	return terminal.ShowJob(e.console.Stdout(), r, prompt)
}

// shownWhere returns the condition of `show`; nil without one.
func shownWhere(c *cli.Context) (*filter.Filter, error) {
	text := c.String("where")
	switch {
	case c.Bool("failed") && text != "":
		return nil, &fault.UsageError{Err: fmt.Errorf("--failed and --where are given; write --where 'failed and (…)'")}
	case c.Bool("failed"):
		text = "failed"
	case !c.IsSet("where"):
		return nil, nil //nolint:nilnil // all results
	}
	where, err := filter.Parse(text, filter.Options{})
	if err != nil {
		return nil, &fault.UsageError{Err: fmt.Errorf("--where: %w", err)}
	}
	return where, nil
}

func (e *env) diff(c *cli.Context) error {
	if c.Args().Len() != 2 {
		return &fault.UsageError{Err: fmt.Errorf("`coordinator diff` takes two results files; `coordinator diff --help` explains it")}
	}
	before, err := earlier.OpenSaved(c.Args().Get(0))
	if err != nil {
		return err
	}
	defer before.Close()
	after, err := earlier.OpenSaved(c.Args().Get(1))
	if err != nil {
		return err
	}
	defer after.Close()
	var prices batch.Prices
	if path := c.Path("spec"); path != "" {
		s, p, err := operation.LoadSpec(c.Context, operation.SubmitOptions{Spec: path, ToolsRoot: c.String("tools-root"), Stdin: e.in, Getenv: e.getenv})
		if err != nil {
			return err
		}
		_ = s.Close()
		prices = p.Jobs.Prices
	}
	return terminal.Diff(c.Context, before, after, prices, e.console)
}
