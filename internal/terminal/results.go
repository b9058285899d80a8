package terminal

import (
	"context"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
)

// ResultsOptions select the results and their destination.
type ResultsOptions struct {
	Follow  bool   // wait until the batch is done
	Ordered bool   // write in index order
	Consume bool   // drop results from Redis once they are on disk; needs Out and excludes Ordered
	Out     string // file; "" or Stdout for standard output
	Rows    int64  // inputs of which the batch runs a part; 0 if it runs all
	Format  string // one of Formats. Defaults to the format of Out's extension, then to jsonl.
	// Command is the command line that follows the batch again. By default it is built from the options.
	Command []string
}

// command returns the command that continues this one, quoted for a shell.
func (o ResultsOptions) command(id batch.ID) string {
	args := o.Command
	if args == nil {
		args = []string{"coordinator", "results", string(id), "--follow"}
		if o.Out != "" {
			args = append(args, "--out", o.Out)
		}
		if o.Format != "" {
			args = append(args, "--format", o.Format)
		}
	}
	args, note := withoutSecret(args, "--redis", "BATCHAGENT_REDIS")
	return ShellQuote(args) + note
}

// Results writes the results of a batch to a file or to standard output. With Follow it shows progress, ends with a
// summary, and returns ErrJobsFailed if not every job is ok.
func Results(ctx context.Context, s collect.Source, id batch.ID, o ResultsOptions, con *Console) error {
	copied, err := collect.Copy(ctx, s, id, collect.Options{
		Follow: o.Follow, Ordered: o.Ordered, Consume: o.Consume, Out: o.Out, Format: o.Format,
		Results: con.Stdout(), Notify: con.Notify, Arrived: con.arrivals(collect.ToFile(o.Out) == ""),
		Watch: func() (stop func()) { return showBatch(ctx, s, id, con) },
	})
	switch paused, ok := errors.AsType[*fault.PausedError](err); {
	case copied.Ended:
		return errors.Join(conclude(ctx, s, copied, o, con), err)
	case ok:
		return fmt.Errorf("%w; `%s` resumes it, and the same command collects the rest", paused, raise(paused.Info))
	case err != nil && o.Follow && ctx.Err() != nil:
		con.Say(fmt.Sprintf("interrupted: batch %s continues without this command; `%s` follows it again", id, o.command(id)))
		return err
	case err != nil:
		return err
	}
	return sayPlanning(ctx, s, copied.Info.Header, con)
}

// sayPlanning reports the state of the plan if the batch has no results because of it.
func sayPlanning(ctx context.Context, s collect.Source, h batch.Header, con *Console) error {
	p, err := operation.PlanningOf(ctx, s, h)
	if err == nil && p != nil && (p.Error != nil || p.Phase != batch.Done) {
		con.Say(fmt.Sprintf("batch %s is planned %s", h.ID, planningText(p)))
	}
	return err
}

// conclude prints the summary of a batch that is done.
func conclude(ctx context.Context, s collect.Source, c collect.Copied, o ResultsOptions, con *Console) error {
	var stages []operation.StageUse
	wait := outage.Wait{Store: s, Notify: con.Notify}
	err := wait.Do(ctx, func() (err error) {
		stages, err = operation.StagesOfInfo(ctx, s, c.Info)
		return err
	})
	if err != nil {
		return err
	}
	sum := summaryOf(c.Info, c.Tally, collect.ToFile(o.Out))
	sum.Stages, sum.Rows = stages, o.Rows
	if c.Plan != nil {
		sum.Plan = stageText(c.Plan)
	}
	if c.Reduce != nil {
		sum.Reduce = stageText(c.Reduce)
	}
	_, _ = con.Stderr().Write([]byte(sum.String()))
	planFailed := c.Plan != nil && c.Plan.Result != nil && !c.Plan.OK() // a removed planner is no failure
	if sum.Failed+sum.Cancelled > 0 || planFailed || c.Reduce != nil && !c.Reduce.OK() {
		return fault.ErrJobsFailed
	}
	return nil
}

// summaryOf takes the counts from Redis, which has counted every result. The reasons come from the results that this
// command read.
func summaryOf(info batch.Info, tally *collect.Tally, out string) Summary {
	c := info.Counts
	sum := Summary{Batch: info.ID, Name: info.Name, Total: c.Total, Tally: *tally, Wall: info.DoneAt.Sub(info.CreatedAt), Out: out, Prices: info.Prices}
	sum.OK, sum.Failed, sum.Cancelled, sum.Usage, sum.Tools = c.OK, c.Failed, c.Cancelled, c.Usage, c.Tools
	return sum
}
