package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// RunOptions configure a run on this machine.
type RunOptions struct {
	Spec    string
	Backend string // URL; "" uses the spec's, then BATCHAGENT_BACKEND, a server on this machine, or a simulated one
	// InsecureKeys sends keys to hosts in BATCHAGENT_KEY_HOSTS without encryption, too.
	InsecureKeys bool
	Owner        string
	Workers      int    // in this process. Defaults to 1.
	MaxInflight  int    // model requests in flight per worker; 0 uses the backend's safe number
	Out          string // file; "" or Stdout for standard output
	Echo         bool   // with Out: write results to standard output, too, those in Out first
	Format       string // one of Formats. Defaults to the format of Out's extension, then to jsonl.
	Resume       bool   // continue Out: skip jobs with a result in it and jobs that failed permanently
	Force        bool   // with Resume: drop results that match no job, however many
	Reuse        string // a results file; its outputs are reused for jobs with the same question
	ToolsRoot    string // root directory of read_file
	ToolsFile    string // tools.yaml; "" for the built-in tools only
	Drivers      map[string]func() sqltool.Driver
	Local        string // host:port to probe for a server; "" skips the probe
	Wait         ServerWait
	Stdin        io.Reader
	Command      []string // this command for messages, with --resume as its first flag; nil builds it from Spec and Out
	Getenv       func(string) string
	Logger       *slog.Logger
	Tracer       trace.Tracer // nil disables tracing
}

// Run runs a batch on this machine with an embedded Redis and returns when every result is written. It returns
// ErrJobsFailed if not every job is ok.
func Run(ctx context.Context, o RunOptions, con *Console) (err error) {
	o.Out = toFile(o.Out)
	f, err := formatFor(o.Out, o.Format)
	if err != nil {
		return err
	}
	if o.Resume && o.Out == "" {
		return usagef("--resume goes with --out FILE: the file has the results to keep")
	}
	if o.Force && !o.Resume {
		return usagef("--force goes with --resume: it drops results that no job asks for")
	}
	s, prepared, err := loadSpec(ctx, SubmitOptions{Spec: o.Spec, Owner: o.Owner, ToolsRoot: o.ToolsRoot, Stdin: o.Stdin}, con.Say)
	if err != nil {
		return err
	}
	defer s.Close()
	tools, err := localTools(ctx, localToolOptions{
		root: o.ToolsRoot, file: o.ToolsFile, drivers: o.Drivers, getenv: o.Getenv, logger: o.Logger,
	}, prepared)
	if err != nil {
		return err
	}
	defer tools.close()
	r := &fileRun{options: o, console: con, tally: &Tally{}, local: local{
		prepared: prepared, tools: tools.pool, workers: o.Workers, slots: o.MaxInflight, logger: o.Logger, tracer: o.Tracer,
		id: statestore.NewID(time.Now()), wait: o.Wait, say: con.Say, note: con.noting(o.Out == ""),
	}}
	var out *stream // nil if the results go to a file
	if o.Out == "" {
		out = &stream{w: con.Stdout(), format: f}
		r.sink = &tallied{sink: out, tally: r.tally}
	}
	r.plan, r.reduced = newStageSink(con.Stdout(), out), newStageSink(con.Stdout(), out)
	r.planned, r.summary = r.plan, r.reduced
	if o.Out != "" {
		if err := r.openFile(f); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.file.Close()) }()
	}
	r.server, err = chooseBackend(ctx, candidates{
		given: o.Backend, by: "--backend", insecure: o.InsecureKeys, spec: s.Backend, env: o.Getenv("BATCHAGENT_BACKEND"), local: o.Local,
		simulate: true, tools: min(len(prepared.Jobs.Tools), prepared.Jobs.MaxTurns-1), wait: o.Wait.Longest, say: con.Say,
	}, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return err
	}
	defer r.server.close()
	model, err := r.server.modelFor(prepared)
	if err != nil {
		return err
	}
	r.simulated = model.Simulated
	if r.file != nil {
		if err := r.resume(ctx, model); err != nil {
			return err
		}
		r.sink, r.tally = r.file, r.file.Tally()
		if o.Echo {
			if r.sink, err = echoed(r.file, con.Stdout()); err != nil {
				return err
			}
		}
		if r.ended != nil {
			defer r.ended.past.close()
		}
	}
	r.announce(model)
	began := time.Now()
	if o.Reuse != "" {
		reuse, err := localReuse(ctx, o.Reuse, prepared, tools.pool, model, con.Say)
		if err != nil {
			return err
		}
		defer reuse.close()
		r.reread = reuse.restart
		err = r.local.run(ctx, r.watch)
		con.Say(reuse.summary(prepared.Total - r.earlier))
		return r.conclude(ctx, began, err)
	}
	return r.conclude(ctx, began, r.local.run(ctx, r.watch))
}

// fileRun is one call of Run.
type fileRun struct {
	local
	options   RunOptions
	console   *Console
	tally     *Tally
	file      *File // nil if results go to standard output
	plan      *stageSink
	reduced   *stageSink
	simulated bool
}

// openFile opens the results file. A file with results requires Resume.
func (r *fileRun) openFile(f format) (err error) {
	if r.file, err = OpenFile(r.options.Out, f, "", maxIndex); err != nil {
		return err
	}
	if held := r.file.present.count(); held > 0 && !r.options.Resume {
		_ = r.file.Close()
		return usagef("%s holds %s already; --resume keeps the matching results and runs the other jobs; another name starts over",
			r.options.Out, plural(held, "result", "results"))
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
	if r.file.present.count() == 0 {
		return nil
	}
	if r.prepared.Reducer != nil && r.file.format.name() == "csv" {
		return usagef("--resume: %s is a CSV file, which does not hold complete results, but the reducer reads them; use --format jsonl and another file", r.options.Out)
	}
	from, err := newResumer(r.options, r.prepared.Jobs, r.tools, model)
	if err != nil {
		return err
	}
	if err := from.pair(ctx, r.file, r.payloads(ctx)); err != nil {
		return err
	}
	file, err := from.apply(r.file)
	if err != nil {
		return err
	}
	r.file = file
	r.id, r.have, r.still = r.file.Batch(), from.settled(), from.still
	r.earlier = r.have.count()
	r.prepared.Resumed(r.have.has)
	r.console.Say(from.summary())
	if r.prepared.Reducer != nil {
		r.ended, err = openEnded(ctx, r.options.Out)
	}
	return err
}

// resumePlan loads the plan of an earlier run, so that it is not made twice. Without one it prepares to store the new
// plan.
func (r *fileRun) resumePlan(model backend.Model) error {
	file, err := openPlanFile(r.options.Out)
	if err != nil {
		return err
	}
	if file.made != nil && !r.options.Resume {
		return usagef("%s exists already; --resume keeps this plan, another name for --out starts over", file.path)
	}
	planner := *r.prepared.Planner
	planner.Model = cmp.Or(planner.Model, model.ID)
	from, err := newResumer(r.options, &planner, r.tools, model)
	if err != nil {
		return err
	}
	if err := file.check(&planner, from.asks, from.prints, r.options.Force); err != nil {
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
	r.console.Say(fmt.Sprintf("%s holds a plan of %s; it is not made again", file.path, plural(int64(len(items)), "item", "items")))
	return r.plan.Write([]batch.Result{*file.made}, [][]byte{bytes.TrimSpace(file.line)})
}

// total returns the number of jobs; 0 while they are planned.
func (r *fileRun) total() int64 {
	switch {
	case r.prepared.Planner == nil:
		return r.prepared.Total
	case r.items != nil:
		return int64(len(r.items))
	}
	return r.plan.items()
}

func (r *fileRun) announce(model backend.Model) {
	jobs := plural(r.total(), "job", "jobs")
	if r.plans() {
		jobs = fmt.Sprintf("jobs from a plan of at most %d", r.prepared.Planner.MaxItems)
	}
	r.console.Say(fmt.Sprintf("%s: %s, model %s at %s (%s)", r.prepared.Jobs.Name, jobs, model.ID, r.server.Endpoint(), r.server.by))
	if r.simulated {
		_, _ = io.WriteString(r.console.Stderr(), simulatedNote(r.options.Spec)+"\n")
	}
	if r.prepared.BadCount > 0 {
		r.console.Say(fmt.Sprintf("%s cannot be used and will fail as BadInput; the first is %s: %s",
			plural(r.prepared.BadCount, "input", "inputs"), r.prepared.Bad[0].Where, r.prepared.Bad[0].Bad))
	}
}

// conclude prints the summary and returns the error of the run.
func (r *fileRun) conclude(ctx context.Context, began time.Time, err error) error {
	sum := Summary{
		Batch: r.id, Name: r.prepared.Jobs.Name, Tally: *r.tally, Total: r.total(), Earlier: r.earlier,
		Wall: time.Since(began), Simulated: r.simulated, Spec: r.options.Spec, Out: r.options.Out,
		PerTool: r.tools.Stats(), Prices: r.prepared.Jobs.Prices, Stages: r.stages(),
	}
	if paused, ok := errors.AsType[*PausedError](err); ok {
		_, _ = io.WriteString(r.console.Stderr(), sum.String())
		rest := "with --out FILE, --resume could run the rest"
		if r.options.Out != "" {
			rest = "this command runs the rest: " + r.again()
		}
		return fmt.Errorf("the budget of this run is used up: %s of %s; raise budget.batch in %s; %s",
			spentOf(paused.Info), budgetOf(paused.Info.Budget), r.options.Spec, rest)
	}
	if err != nil && ctx.Err() == nil {
		if r.options.Out != "" {
			return fmt.Errorf("%w; the results in %s are complete records, and this command runs the rest: %s", err, r.options.Out, r.again())
		}
		return err
	}
	if r.prepared.Planner != nil && err == nil {
		sum.Plan = r.plan.says(r.id.ForStage(batch.StagePlan))
	}
	if r.prepared.Reducer != nil && err == nil {
		sum.Reduce = r.reduced.says(r.id.ForStage(batch.StageReduce))
	}
	_, _ = io.WriteString(r.console.Stderr(), sum.String())
	switch {
	case err != nil && r.options.Out != "":
		r.console.Say("interrupted; this command runs the rest: " + r.again())
		return err
	case err != nil:
		r.console.Say("interrupted; a run with --out FILE can be continued with --resume")
		return err
	case sum.Failed+sum.Cancelled > 0, r.prepared.Planner != nil && !r.plan.ok(), r.prepared.Reducer != nil && !r.reduced.ok():
		return ErrJobsFailed
	}
	return nil
}

// stages returns the use of the batch's stages that have ended; nil if it has only jobs.
func (r *fileRun) stages() []StageUse {
	planner, reducer := r.prepared.Planner, r.prepared.Reducer
	if planner == nil && reducer == nil {
		return nil
	}
	out := []StageUse{{Stage: batch.StageJobs, Batch: r.id, Usage: r.tally.Usage, Tools: r.tally.Tools, Prices: r.prepared.Jobs.Prices}}
	if planner != nil && r.plan.last != nil {
		u := StageUse{Stage: batch.StagePlan, Batch: r.id.ForStage(batch.StagePlan), Usage: r.plan.last.Usage, Tools: r.plan.last.Tools, Prices: planner.Prices}
		out = []StageUse{u, out[0]}
	}
	if reducer != nil && r.reduced.last != nil {
		u := StageUse{Stage: batch.StageReduce, Batch: r.id.ForStage(batch.StageReduce), Usage: r.reduced.last.Usage, Tools: r.reduced.last.Tools, Prices: reducer.Prices}
		out = append(out, u)
	}
	return out
}

// watch shows the progress, including earlier results.
func (r *fileRun) watch(ctx context.Context) {
	r.console.watch(ctx, func(ctx context.Context) (Progress, error) {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		info, err := r.store.Info(ctx, r.id)
		p := progressOf(info)
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
