package localrun

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// Options configure a run on this machine.
type Options struct {
	Spec    string
	Backend string // URL; "" uses the spec's, then BATCHAGENT_BACKEND, a server on this machine, or a simulated one
	// InsecureKeys sends keys to hosts in BATCHAGENT_KEY_HOSTS without encryption, too.
	InsecureKeys bool
	Owner        string
	Workers      int    // in this process. Defaults to 1.
	MaxInflight  int    // model requests in flight per worker; 0 uses the backend's safe number
	Out          string // file; "" or Stdout for Results
	Format       string // one of Formats. Defaults to the format of Out's extension, then to jsonl.
	Echo         bool   // with Out: write results to Results, too, those in Out first
	Select       operation.Selection
	Resume       bool   // continue Out: skip jobs with a result in it and jobs that failed permanently
	Rerun        string // a condition: keep the results in Out, but run the rows again whose results meet it; "" runs none again
	Force        bool   // with Resume or Rerun: drop results that match no job, however many
	Reuse        string // a results file; its outputs are reused for jobs with the same question
	ToolsRoot    string // root directory of read_file
	ToolsFile    string // tools.yaml; "" for the built-in tools only
	Files        string // where large files of programs go if tools.yaml does not name a place: a folder, or s3://bucket/prefix; "" cuts them
	Drivers      map[string]func() sqltool.Driver
	Local        string // host:port to probe for a server; "" skips the probe
	Wait         ServerWait
	Stdin        io.Reader
	Results      io.Writer // receives the results without Out, and the results of stages
	Getenv       func(string) string
	Logger       *slog.Logger
	Tracer       trace.Tracer // nil disables tracing
}

// Observer is told about a run while it works. Its methods may be called concurrently.
type Observer interface {
	Notify(notice.Notice)
	// Started is called once, before the first job runs.
	Started(Started)
	// Arrived is called with every result.
	Arrived(batch.Result)
	// Show shows the progress of the run, which look reads, until ctx is done.
	Show(ctx context.Context, look func(ctx context.Context) (operation.Progress, error))
}

// Started describes a run before its first job.
type Started struct {
	Name      string
	Jobs      int64  // 0 if a planner makes them
	MaxItems  int    // limit of the plan's items; 0 if the jobs are known
	Model     string // of the jobs
	Endpoint  string // of the model server
	By        string // source of the server's URL
	Simulated bool
}

// Report describes a run that ended.
type Report struct {
	Ran       bool // the first job could run; false leaves the other fields zero
	Batch     batch.ID
	Name      string
	Tally     *collect.Tally
	Total     int64                 // jobs of the batch
	Rows      int64                 // inputs, of which Total have jobs; 0 if a plan makes the jobs
	Earlier   int64                 // results of an earlier run
	Prompts   []earlier.PromptCount // results by the version of their prompts; nil unless rows ran again
	Plan      *collect.StageOutcome
	Reduce    *collect.StageOutcome
	Stages    []operation.StageUse // nil if the batch has only jobs
	Wall      time.Duration
	Simulated bool
	Prices    batch.Prices // zero if no prices are set
	PerTool   map[string]toolpool.Stats
	// ByVariable reports that BATCHAGENT_BACKEND named the model server.
	ByVariable bool
	CloseErr   error // of the results file
}

// Run runs a batch on this machine with an embedded Redis and returns when every result is written. A failed job is no
// error.
func Run(ctx context.Context, o Options, to Observer) (report Report, err error) {
	o.Out = collect.ToFile(o.Out)
	f, err := collect.FormatFor(o.Out, o.Format)
	if err != nil {
		return report, err
	}
	rerun, err := o.checkKept()
	if err != nil {
		return report, err
	}
	s, prepared, err := operation.LoadSpec(ctx, operation.SubmitOptions{Spec: o.Spec, Owner: o.Owner, ToolsRoot: o.ToolsRoot, Select: o.Select, Stdin: o.Stdin, Getenv: o.Getenv, Notify: to.Notify})
	if err != nil {
		return report, err
	}
	defer s.Close()
	tools, err := OpenTools(ctx, ToolOptions{
		Root: o.ToolsRoot, File: o.ToolsFile, SpecDir: filepath.Dir(o.Spec), Files: o.Files, Drivers: o.Drivers, Getenv: o.Getenv, Logger: o.Logger,
	}, prepared)
	if err != nil {
		return report, err
	}
	defer tools.Close()
	r := &fileRun{options: o, rerun: rerun, to: to, tally: &collect.Tally{}, batchRun: batchRun{
		prepared: prepared, tools: tools, workers: o.Workers, slots: o.MaxInflight, logger: o.Logger, tracer: o.Tracer,
		id: statestore.NewID(time.Now()), wait: o.Wait, notify: to.Notify, note: to.Arrived,
	}}
	var plain *collect.Stream // nil if the results go to a file
	whole, isWhole := f.(collect.Whole)
	layout := collect.Layout{Carry: prepared.Jobs.Carry, Schema: prepared.Jobs.Schema}
	if o.Out == "" && isWhole {
		if err := collect.CheckPiped(whole, prepared.Planner != nil, prepared.Reducer != nil); err != nil {
			return report, err
		}
		piped, err := collect.OpenPiped(o.Results, whole, "")
		if err != nil {
			return report, err
		}
		piped.SetLayout(layout)
		r.sink, r.tally = piped, piped.Tally()
		defer func() { report.CloseErr = piped.Close() }()
	}
	if o.Out == "" && !isWhole {
		plain = &collect.Stream{W: o.Results, Format: f}
		r.sink = &collect.Tallied{Sink: plain, Tally: r.tally}
	}
	r.plan, r.reduced = collect.NewStageSink(o.Results, plain), collect.NewStageSink(o.Results, plain)
	r.planned, r.summary = r.plan, r.reduced
	if o.Out != "" {
		if err := r.openFile(f); err != nil {
			return report, err
		}
		defer func() { report.CloseErr = r.file.Close() }()
	}
	r.server, err = chooseBackend(ctx, candidates{
		given: o.Backend, by: "--backend", insecure: o.InsecureKeys, spec: s.Backend, env: o.Getenv("BATCHAGENT_BACKEND"), local: o.Local,
		simulate: true, tools: min(len(prepared.Jobs.Tools), prepared.Jobs.MaxTurns-1), wait: o.Wait.Longest, notify: to.Notify,
	}, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return report, err
	}
	defer r.server.stopAll()
	model, err := r.server.modelFor(prepared)
	if err != nil {
		return report, err
	}
	if r.file != nil {
		if err := r.resume(ctx, model); err != nil {
			return report, err
		}
		r.sink, r.tally = r.file, r.file.Tally()
		if o.Echo {
			if r.sink, err = collect.NewEcho(r.file, o.Results, r.have.Has); err != nil {
				return report, err
			}
		}
		if r.ended != nil {
			defer r.ended.Close()
		}
	}
	if r.file != nil {
		r.file.SetLayout(layout)
	}
	r.started(model)
	began := time.Now()
	var reuse *earlier.Reuse
	if o.Reuse != "" {
		if reuse, err = earlier.LocalReuse(ctx, o.Reuse, prepared, tools.Pool, model, to.Notify); err != nil {
			return report, err
		}
		defer reuse.Close()
		r.reread = reuse.Restart
	}
	err = r.batchRun.execute(ctx, r.show)
	if reuse != nil {
		notice.Func(to.Notify).Send(notice.Reused, "%s", reuse.Summary(prepared.Total-r.earlier))
	}
	return r.report(model, time.Since(began)), err
}

// checkKept checks the options that keep results of an earlier run. It returns the condition of Rerun; nil without one.
func (o *Options) checkKept() (*filter.Filter, error) {
	switch {
	case o.Resume && o.Out == "":
		return nil, fault.Usagef("--resume goes with --out FILE: the file has the results to keep")
	case o.Rerun != "" && o.Out == "":
		return nil, fault.Usagef("--rerun goes with --out FILE: the file has the results of the earlier run")
	case o.Force && !o.Resume && o.Rerun == "":
		return nil, fault.Usagef("--force goes with --resume and --rerun: it drops results that belong to no job")
	case o.Rerun == "":
		return nil, nil //nolint:nilnil // nothing runs again
	}
	if _, err := os.Stat(o.Out); err != nil {
		return nil, fault.Usagef("--rerun: %w; leave out --rerun for the first run", err)
	}
	rerun, err := filter.Parse(o.Rerun, filter.Options{Changed: true})
	if err != nil {
		return nil, fault.Usagef("--rerun: %w", err)
	}
	return rerun, nil
}

// fileRun is one call of Run.
type fileRun struct {
	batchRun
	rerun   *filter.Filter      // nil keeps the results that answer the questions of their jobs
	kept    *earlier.Resumption // nil if the file was empty
	options Options
	to      Observer
	tally   *collect.Tally
	file    *collect.File // nil if results go to a writer
	plan    *collect.StageSink
	reduced *collect.StageSink
	more    int64 // rows that were not chosen, but have a result of an earlier run
}

// openFile opens the results file. A file with results requires Resume.
func (r *fileRun) openFile(f collect.Format) (err error) {
	if r.file, err = collect.OpenFile(r.options.Out, f, "", collect.MaxIndex); err != nil {
		return err
	}
	held := r.file.Count()
	switch {
	case held == 0 && r.rerun != nil:
		_ = r.file.Close()
		return fault.Usagef("%s holds no results, so there is nothing to run again; leave out --rerun for the first run", r.options.Out)
	case held > 0 && r.rerun == nil && !r.options.Resume:
		_ = r.file.Close()
		return fault.Usagef("%s holds %s already; --resume keeps the matching results and runs the other jobs; --rerun failed runs failed rows again; another name starts over",
			r.options.Out, human.Plural(held, "result", "results"))
	}
	return nil
}

// resume loads the plan of an earlier run and the results of the file that still match jobs.
func (r *fileRun) resume(ctx context.Context, model backend.Model) error {
	if r.prepared.Planner != nil {
		if err := r.resumePlan(model); err != nil {
			return err
		}
	}
	if r.file.Count() == 0 {
		return nil
	}
	from, err := earlier.NewResumption(r.keep(), r.prepared.Jobs, r.tools.Pool, model)
	if err != nil {
		return err
	}
	if err := from.Pair(ctx, r.file, r.payloads(ctx)); err != nil {
		return err
	}
	file, err := from.Apply(r.file)
	if err != nil {
		return err
	}
	r.file = file
	if r.items == nil {
		if err := from.Relabel(ctx, r.file, r.payloads(ctx)); err != nil {
			return err
		}
	}
	r.kept = from
	r.note = func(result batch.Result) {
		from.Arrived(result)
		r.to.Arrived(result)
	}
	r.id, r.have, r.still = r.file.Batch(), from.Settled(), from.Still
	r.earlier = r.have.Count()
	for row := range r.prepared.Rows {
		if r.have.Has(row) && !r.prepared.Chosen(row) {
			r.more++
		}
	}
	r.prepared.Resumed(r.have.Has)
	r.notify.Send(notice.Resumed, "%s", from.Summary())
	if r.prepared.Reducer != nil {
		r.ended, err = earlier.OpenEnded(ctx, r.file.Record())
	}
	return err
}

func (r *fileRun) keep() earlier.KeepOptions {
	o := earlier.KeepOptions{Path: r.options.Out, Spec: r.options.Spec, Force: r.options.Force, Rerun: r.rerun,
		Advice: "--resume keeps the results that answer the same question, --force drops these results"}
	if r.prepared.Planner == nil {
		o.Runs = r.prepared.Chosen
	}
	return o
}

// resumePlan loads the plan of an earlier run, so that it is not made twice. Without one it prepares to store the new
// plan.
func (r *fileRun) resumePlan(model backend.Model) error {
	file, err := openPlanFile(r.options.Out)
	if err != nil {
		return err
	}
	if file.made != nil && !r.options.Resume && r.rerun == nil {
		return fault.Usagef("%s exists already; --resume keeps this plan, another name for --out starts over", file.path)
	}
	planner := *r.prepared.Planner
	planner.Model = cmp.Or(planner.Model, model.ID)
	from, err := earlier.NewResumption(r.keep(), &planner, r.tools.Pool, model)
	if err != nil {
		return err
	}
	if err := file.check(&planner, from.Asks, from.Prints, r.options.Force); err != nil {
		return err
	}
	id, items, err := file.resume(r.file.Batch(), r.prepared.Planner)
	if err != nil {
		return err
	}
	if items == nil {
		r.planned = planSink{r.plan, file}
		return nil
	}
	r.id, r.items = id, items
	r.notify.Send(notice.Resumed, "%s holds a plan of %s; it is not made again", file.path, human.Plural(int64(len(items)), "item", "items"))
	return r.plan.Write([]batch.Result{*file.made}, [][]byte{bytes.TrimSpace(file.line)})
}

// total returns the number of jobs; 0 while they are planned.
func (r *fileRun) total() int64 {
	switch {
	case r.prepared.Planner == nil:
		return r.prepared.Total + r.more
	case r.items != nil:
		return int64(len(r.items))
	}
	return r.plan.Items()
}

// started reports the beginning of the run.
func (r *fileRun) started(model backend.Model) {
	s := Started{
		Name: r.prepared.Jobs.Name, Jobs: r.total(), Model: model.ID, Endpoint: r.server.backend.Endpoint(), By: r.server.by, Simulated: model.Simulated,
	}
	if r.plans() {
		s.MaxItems = r.prepared.Planner.MaxItems
	}
	r.to.Started(s)
	operation.SendBadInputs(r.prepared, r.notify)
}

func (r *fileRun) report(model backend.Model, wall time.Duration) Report {
	return Report{
		Ran: true, Batch: r.id, Name: r.prepared.Jobs.Name, Tally: r.tally, Total: r.total(), Rows: r.prepared.Rows, Earlier: r.earlier, Prompts: r.kept.Versions(), Wall: wall,
		Simulated: model.Simulated, PerTool: r.tools.Pool.Stats(), Prices: r.prepared.Jobs.Prices, Stages: r.stages(),
		Plan:   r.plan.Outcome(r.id.ForStage(batch.StagePlan), r.prepared.Planner != nil),
		Reduce: r.reduced.Outcome(r.id.ForStage(batch.StageReduce), r.prepared.Reducer != nil), ByVariable: r.server.by == BackendVariable,
	}
}

// stages returns the use of the batch's stages that have ended; nil if it has only jobs.
func (r *fileRun) stages() []operation.StageUse {
	planner, reducer := r.prepared.Planner, r.prepared.Reducer
	if planner == nil && reducer == nil {
		return nil
	}
	out := []operation.StageUse{{Stage: batch.StageJobs, Batch: r.id, Usage: r.tally.Usage, Tools: r.tally.Tools, Prices: r.prepared.Jobs.Prices}}
	if planner != nil && r.plan.Last != nil {
		u := operation.StageUse{Stage: batch.StagePlan, Batch: r.id.ForStage(batch.StagePlan), Usage: r.plan.Last.Usage, Tools: r.plan.Last.Tools, Prices: planner.Prices}
		out = []operation.StageUse{u, out[0]}
	}
	if reducer != nil && r.reduced.Last != nil {
		u := operation.StageUse{Stage: batch.StageReduce, Batch: r.id.ForStage(batch.StageReduce), Usage: r.reduced.Last.Usage, Tools: r.reduced.Last.Tools, Prices: reducer.Prices}
		out = append(out, u)
	}
	return out
}

// show shows the progress, including earlier results.
func (r *fileRun) show(ctx context.Context) {
	r.to.Show(ctx, func(ctx context.Context) (operation.Progress, error) {
		info, err := r.store.Info(ctx, r.id)
		p := operation.ProgressOf(info)
		p.Pause = r.pause()
		if r.feedsRest() {
			p.Counts.OK += r.earlier
		}
		if !r.plans() {
			p.Total = r.total()
		}
		return p, err
	})
}
