package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Run runs a batch on this machine, and prints its progress and its summary. It returns ErrJobsFailed if not every job is
// ok. command is the command line that continues the run, with --resume as its first flag; nil builds it from the options.
func Run(ctx context.Context, o localrun.Options, command []string, con *Console) error {
	o.Results = con.Stdout()
	report, err := localrun.Run(ctx, o, runDisplay{con, o.Spec, con.arrivals(collect.ToFile(o.Out) == "")})
	if report.Ran {
		err = concludeRun(ctx, o, command, report, err, con)
	}
	return errors.Join(err, report.CloseErr)
}

// runDisplay shows a run on a console.
type runDisplay struct {
	*Console
	spec string
	note func(batch.Result)
}

// Arrived implements [Observer].
func (d runDisplay) Arrived(r batch.Result) { d.note(r) }

// Show implements [Observer].
func (d runDisplay) Show(ctx context.Context, look func(context.Context) (operation.Progress, error)) {
	d.showProgress(ctx, func(ctx context.Context) (operation.Progress, error) {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		return look(ctx)
	})
}

// Started implements [Observer].
func (d runDisplay) Started(s localrun.Started) {
	jobs := human.Plural(s.Jobs, "job", "jobs")
	if s.MaxItems > 0 {
		jobs = fmt.Sprintf("jobs from a plan of at most %d", s.MaxItems)
	}
	d.Say(fmt.Sprintf("%s: %s, model %s at %s (%s)", s.Name, jobs, s.Model, s.Endpoint, s.By))
	if s.Simulated {
		_, _ = io.WriteString(d.Stderr(), simulatedNote(d.spec)+"\n")
	}
}

// concludeRun prints the summary and returns the error of the run.
func concludeRun(ctx context.Context, o localrun.Options, command []string, r localrun.Report, err error, con *Console) error {
	out := collect.ToFile(o.Out)
	rest := func() string { return resumeCommand(o, command, r.ByVariable) }
	sum := Summary{
		Batch: r.Batch, Name: r.Name, Tally: *r.Tally, Total: r.Total, Rows: r.Rows, Earlier: r.Earlier, Prompts: r.Prompts, Wall: r.Wall, Simulated: r.Simulated,
		Spec: o.Spec, Out: out, PerTool: r.PerTool, Prices: r.Prices, Stages: r.Stages,
	}
	if paused, ok := errors.AsType[*fault.PausedError](err); ok {
		_, _ = io.WriteString(con.Stderr(), sum.String())
		next := "with --out FILE, --resume could run the rest"
		if out != "" {
			next = "this command runs the rest: " + rest()
		}
		return fmt.Errorf("the budget of this run is used up: %s of %s; raise budget.batch in %s; %s",
			human.Spent(paused.Info), human.Budget(paused.Info.Budget), o.Spec, next)
	}
	if err != nil && ctx.Err() == nil {
		if out != "" {
			return fmt.Errorf("%w; the results in %s are complete records, and this command runs the rest: %s", err, out, rest())
		}
		return err
	}
	if r.Plan != nil && err == nil {
		sum.Plan = stageText(r.Plan)
	}
	if r.Reduce != nil && err == nil {
		sum.Reduce = stageText(r.Reduce)
	}
	_, _ = io.WriteString(con.Stderr(), sum.String())
	switch {
	case err != nil && out != "":
		con.Say("interrupted; this command runs the rest: " + rest())
		return err
	case err != nil:
		con.Say("interrupted; a run with --out FILE can be continued with --resume")
		return err
	case sum.Failed+sum.Cancelled > 0, r.Plan != nil && !r.Plan.OK(), r.Reduce != nil && !r.Reduce.OK():
		return fault.ErrJobsFailed
	}
	return nil
}
