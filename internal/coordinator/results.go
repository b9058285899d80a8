package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// ResultsOptions select the results and their destination.
type ResultsOptions struct {
	Follow  bool   // wait until the batch is done
	Ordered bool   // write in index order
	Consume bool   // drop results from Redis once they are on disk; needs Out and excludes Ordered
	Out     string // file; "" or Stdout for standard output
	Format  string // one of Formats. Defaults to the format of Out's extension, then to jsonl.
	// Command is the command line that follows the batch again. By default it is built from the options.
	Command []string
}

// again returns the command that continues this one, quoted for a shell.
func (o ResultsOptions) again(id batch.ID) string {
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
//
// The file records which results are written: a command that was killed continues when it runs again.
func Results(ctx context.Context, s Source, id batch.ID, o ResultsOptions, con *Console) (err error) {
	o.Out = toFile(o.Out)
	f, err := formatFor(o.Out, o.Format)
	if err != nil {
		return err
	}
	if o.Consume && (o.Out == "" || o.Ordered) {
		return usagef("--consume goes with --out and without --ordered: it drops results from Redis once they are safe in the file")
	}
	patience := patience{store: s, say: con.Say}
	var info batch.Info
	err = patience.do(ctx, func() error {
		info, err = s.Info(ctx, id)
		return err
	})
	if err != nil {
		return err
	}
	if o.Consume && info.Reduce {
		if phase, err := s.Phase(ctx, id.ForStage(batch.StageReduce)); err != nil || phase != batch.Done {
			return usagef("--consume: batch %s is reduced, and its reducer needs the results; wait until `coordinator status %s` shows DONE", id, id.ForStage(batch.StageReduce))
		}
	}
	c := &collector{store: s, id: id, patience: patience, seen: con.noting(o.Out == "")}
	var out *stream // nil if the results go to a file
	var file *File  // nil if the results go to standard output
	var have bitmap
	tally := &Tally{}
	if o.Out != "" {
		jobs := info.Counts.Fed
		if info.Plan || info.Sorted {
			jobs = math.MaxInt64 // Redis may have lost the plan of the file; a sorted batch is not fed by index
		}
		if file, err = openOut(o.Out, f, id, jobs, con); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		c.sink, have, tally = file, file.present, file.Tally()
	} else {
		out = &stream{w: con.Stdout(), format: f}
		c.sink = &tallied{sink: out, tally: tally}
	}
	planned, reduced := newStageSink(con.Stdout(), out), newStageSink(con.Stdout(), out)
	if o.Consume {
		c.written = func(ctx context.Context, upTo int64, timeline string) error {
			return c.patience.do(ctx, func() error { return s.TrimResults(ctx, id, upTo, timeline) })
		}
	}
	if o.Ordered {
		c.order = newOrder(have)
		if file != nil {
			file.Order() // its earlier records may have any order
		}
	}
	if !o.Follow {
		if err := c.drain(ctx); err != nil {
			return err
		}
		return sayPlanning(ctx, s, info.Header, con)
	}
	stop := watchStore(ctx, s, id, con)
	err = c.followStages(ctx, ifStage(info.Plan, planned), ifStage(info.Reduce, reduced))
	stop()
	if paused, ok := errors.AsType[*PausedError](err); ok {
		return fmt.Errorf("%w; `%s` resumes it, and the same command collects the rest", paused, raise(info))
	}
	if err != nil {
		if ctx.Err() != nil {
			con.Say(fmt.Sprintf("interrupted: batch %s continues without this command; `%s` follows it again", id, o.again(id)))
		}
		return err
	}
	if info, err = c.info(ctx); err != nil {
		return err
	}
	if file != nil && info.Plan && info.Phase == batch.Done {
		file.EndAt(info.Counts.Total)
	}
	plan, reduce := "", ""
	if info.Plan {
		plan = planned.says(id.ForStage(batch.StagePlan))
	}
	if info.Reduce {
		reduce = reduced.says(id.ForStage(batch.StageReduce))
	}
	if err := conclude(ctx, c, info, tally, o.Out, plan, reduce, con); err != nil {
		return err
	}
	if info.Plan && planned.last != nil && !planned.ok() || info.Reduce && !reduced.ok() {
		return ErrJobsFailed
	}
	return nil
}

// sayPlanning reports the state of the plan if the batch has no results because of it.
func sayPlanning(ctx context.Context, s Source, h batch.Header, con *Console) error {
	p, err := planningOf(ctx, s, h)
	if err == nil && p != nil && (p.Error != nil || p.Phase != batch.Done) {
		con.Say(fmt.Sprintf("batch %s is planned %s", h.ID, p.says()))
	}
	return err
}

// openOut opens a results file and reports the results that it already holds.
func openOut(path string, f format, id batch.ID, jobs int64, con *Console) (*File, error) {
	file, err := OpenFile(path, f, id, jobs)
	if err != nil {
		return nil, err
	}
	if n := file.present.count(); n > 0 {
		con.Say(fmt.Sprintf("%s holds %s already; continuing", path, plural(n, "result", "results")))
	}
	return file, nil
}

// conclude prints the summary of a batch that is done. plan and reduce describe the outcomes of its stages.
func conclude(ctx context.Context, c *collector, info batch.Info, tally *Tally, out, plan, reduce string, con *Console) error {
	var stages []StageUse
	err := c.patience.do(ctx, func() (err error) {
		stages, err = stagesOfInfo(ctx, c.store, info)
		return err
	})
	if err != nil {
		return err
	}
	sum := summaryOf(info, tally, out)
	sum.Plan, sum.Reduce, sum.Stages = plan, reduce, stages
	_, _ = con.Stderr().Write([]byte(sum.String()))
	if sum.Failed+sum.Cancelled > 0 {
		return ErrJobsFailed
	}
	return nil
}

// summaryOf takes the counts from Redis, which has counted every result. The reasons come from the results that this
// command read.
func summaryOf(info batch.Info, tally *Tally, out string) Summary {
	c := info.Counts
	sum := Summary{Batch: info.ID, Name: info.Name, Total: c.Total, Tally: *tally, Wall: info.DoneAt.Sub(info.CreatedAt), Out: out, Prices: info.Prices}
	sum.OK, sum.Failed, sum.Cancelled, sum.Usage, sum.Tools = c.OK, c.Failed, c.Cancelled, c.Usage, c.Tools
	return sum
}

// tallied adds results to a tally as it passes them on.
type tallied struct {
	sink
	tally *Tally
}

func (t *tallied) Write(results []batch.Result, lines [][]byte) error {
	if err := t.sink.Write(results, lines); err != nil {
		return err
	}
	for _, r := range results {
		t.tally.Add(r)
	}
	return nil
}

// lookTimeout limits one read of the counts for the progress line.
const lookTimeout = 2 * time.Second

// watchStore shows progress until stop is called. stop waits until the display has ended.
func watchStore(ctx context.Context, s Source, id batch.ID, con *Console) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var shown sync.WaitGroup
	workers, _ := s.(workerLister)
	serving := &serving{workers: workers, say: con.Say}
	shown.Go(func() {
		con.watch(ctx, func(ctx context.Context) (Progress, error) {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			info, err := s.Info(ctx, id)
			p := progressOf(info)
			if err == nil {
				p.Pause = serving.look(ctx, time.Now(), info)
			}
			return p, err
		})
	})
	return func() {
		cancel()
		shown.Wait()
	}
}
