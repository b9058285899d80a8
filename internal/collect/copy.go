package collect

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Options select the results and their destination.
type Options struct {
	Follow  bool   // wait until the batch is done
	Ordered bool   // write in index order
	Consume bool   // drop results from Redis once they are on disk; needs Out and excludes Ordered
	Out     string // file; "" or Stdout for Results
	Format  string // one of Formats. Defaults to the format of Out's extension, then to jsonl.

	Results io.Writer          // receives the results without Out, and the results of stages
	Notify  notice.Func        // receives outages, and what Out already holds
	Arrived func(batch.Result) // is called with every result; nil is skipped
	// Watch is called when the copy begins to follow the batch. It returns a function that is called when the copy ends.
	// Nil is skipped.
	Watch func() (stop func())
}

// Copied describes a copy that ended.
type Copied struct {
	Info   batch.Info // the batch before the copy; after its end if Ended
	Ended  bool       // the batch is done, and all its results are copied
	Tally  *Tally     // of the results that were read, and of the ones that the file held
	Plan   *StageOutcome
	Reduce *StageOutcome
}

// Copy writes the results of a batch to a file or to a writer. The file records which results are written: a copy that was
// killed continues when it runs again.
func Copy(ctx context.Context, s Source, id batch.ID, o Options) (out Copied, err error) {
	o.Out = ToFile(o.Out)
	f, err := FormatFor(o.Out, o.Format)
	if err != nil {
		return out, err
	}
	if o.Consume && (o.Out == "" || o.Ordered) {
		return out, fault.Usagef("--consume goes with --out and without --ordered: it drops results from Redis once they are safe in the file")
	}
	c := &Collector{Store: s, ID: id, Wait: outage.Wait{Store: s, Notify: o.Notify}, Arrived: o.Arrived}
	info, err := c.info(ctx)
	if err != nil {
		return out, err
	}
	out.Info = info
	if o.Consume && info.Reduce {
		if phase, err := s.Phase(ctx, id.ForStage(batch.StageReduce)); err != nil || phase != batch.Done {
			return out, fault.Usagef("--consume: batch %s is reduced, and its reducer needs the results; wait until `coordinator status %s` shows DONE", id, id.ForStage(batch.StageReduce))
		}
	}
	var plain *Stream // nil if the results go to a file
	var file *File    // nil if the results go to o.Results
	var have Bitmap
	out.Tally = &Tally{}
	whole, isWhole := f.(Whole)
	switch {
	case o.Out != "":
		jobs := info.Counts.Fed
		if info.Plan || info.Sorted {
			jobs = math.MaxInt64 // Redis may have lost the plan of the file; a sorted batch is not fed by index
		}
		if file, err = openOut(o.Out, f, id, jobs, o.Notify); err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		c.Sink, have, out.Tally = file, file.present, file.Tally()
	case isWhole:
		if err := CheckPiped(f, o.Follow && info.Plan, o.Follow && info.Reduce); err != nil {
			return out, err
		}
		if file, err = OpenPiped(o.Results, whole, id); err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		c.Sink, out.Tally = file, file.Tally()
	default:
		plain = &Stream{W: o.Results, Format: f}
		c.Sink = &Tallied{Sink: plain, Tally: out.Tally}
	}
	planned, reduced := NewStageSink(o.Results, plain), NewStageSink(o.Results, plain)
	if o.Consume {
		c.Written = func(ctx context.Context, upTo int64, timeline string) error {
			return c.Wait.Do(ctx, func() error { return s.TrimResults(ctx, id, upTo, timeline) })
		}
	}
	if isWhole {
		file.SetLayout(layoutOf(ctx, c))
	}
	if o.Ordered && !isWhole {
		c.order = newOrder(have)
		if file != nil {
			file.Order() // its earlier records may have any order
		}
	}
	if !o.Follow {
		return out, c.Drain(ctx)
	}
	stop := func() {}
	if o.Watch != nil {
		stop = o.Watch()
	}
	err = c.FollowStages(ctx, IfStage(info.Plan, planned), IfStage(info.Reduce, reduced))
	stop()
	if err != nil {
		return out, err
	}
	if info, err = c.info(ctx); err != nil {
		return out, err
	}
	if file != nil && info.Plan && info.Phase == batch.Done {
		file.EndAt(info.Counts.Total)
	}
	out.Info, out.Ended = info, true
	out.Plan, out.Reduce = planned.Outcome(id.ForStage(batch.StagePlan), info.Plan), reduced.Outcome(id.ForStage(batch.StageReduce), info.Reduce)
	return out, nil
}

// CheckPiped returns an error if standard output would get a table and the results of stages.
func CheckPiped(f Format, stages ...bool) error {
	if !slices.Contains(stages, true) {
		return nil
	}
	return fault.Usagef("a plan or a reduction has another form than the rows of a %s table; write the table to a file with --out, or use --format jsonl", f.name())
}

// layoutOf returns the columns that a batch's spec decides. They are unknown if the source does not have the spec.
func layoutOf(ctx context.Context, c *Collector) (l Layout) {
	store, ok := c.Store.(interface {
		Plan(ctx context.Context, id batch.ID) ([]byte, error)
	})
	if !ok {
		return l
	}
	_ = c.Wait.Do(ctx, func() error {
		text, err := store.Plan(ctx, c.ID)
		if err != nil {
			return err
		}
		compiled, err := spec.ParseCompiled(text)
		if err == nil {
			l = Layout{Carry: compiled.Carry, Schema: compiled.Schema}
		}
		return err
	})
	return l
}

// openOut opens a results file and reports the results that it already holds.
func openOut(path string, f Format, id batch.ID, jobs int64, notify notice.Func) (*File, error) {
	file, err := OpenFile(path, f, id, jobs)
	if err != nil {
		return nil, err
	}
	if n := file.Count(); n > 0 {
		notify.Send(notice.Resumed, "%s holds %s already; continuing", path, human.Plural(n, "result", "results"))
	}
	return file, nil
}

// Tallied adds results to a tally as it passes them on.
type Tallied struct {
	Sink
	Tally *Tally
}

func (t *Tallied) Write(results []batch.Result, lines [][]byte) error {
	if err := t.Sink.Write(results, lines); err != nil {
		return err
	}
	for _, r := range results {
		t.Tally.Add(r)
	}
	return nil
}
