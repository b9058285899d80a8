package coordinator

import (
	"bytes"
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

// RunOptions say what to run on this machine.
type RunOptions struct {
	Spec    string
	Backend string // URL; "" takes the spec's, BATCHAGENT_BACKEND, a server on this machine, or a simulated one
	// InsecureKeys sends keys to hosts in BATCHAGENT_KEY_HOSTS without encryption too.
	InsecureKeys bool
	Owner        string
	Workers      int    // in this process. Defaults to 1.
	MaxInflight  int    // model requests in flight per worker; 0 takes what the backend calls safe
	Out          string // file; "" for standard output
	Format       string
	Resume       bool   // go on with Out: only what is missing in it, or failed in a way that may pass, is run
	Reuse        string // a results file: its outputs stand for jobs that ask the same
	ToolsRoot    string // what read_file sees
	ToolsFile    string // tools.yaml; "" for the built-in tools alone
	Drivers      map[string]func() sqltool.Driver
	Local        string // host:port where a server may happen to run; "" does not look
	Stdin        io.Reader
	Getenv       func(string) string
	Logger       *slog.Logger
	Tracer       trace.Tracer // nil does not trace
}

// Run runs a batch on this machine alone, with an embedded Redis, and returns when every result is written. It returns
// ErrJobsFailed if not every job is ok.
func Run(ctx context.Context, o RunOptions, con *Console) (err error) {
	f, err := formatOf(o.Format)
	if err != nil {
		return err
	}
	if o.Resume && o.Out == "" {
		return usagef("--resume goes with --out: the file says what is done")
	}
	s, compiled, err := loadSpec(ctx, SubmitOptions{Spec: o.Spec, Owner: o.Owner, ToolsRoot: o.ToolsRoot, Stdin: o.Stdin}, con.Say)
	if err != nil {
		return err
	}
	defer s.Close()
	tools, err := localTools(ctx, localToolOptions{
		root: o.ToolsRoot, file: o.ToolsFile, drivers: o.Drivers, getenv: o.Getenv, logger: o.Logger,
	}, compiled)
	if err != nil {
		return err
	}
	defer tools.close()
	r := &fileRun{options: o, console: con, tally: &Tally{}, local: local{
		compiled: compiled, tools: tools.pool, workers: o.Workers, slots: o.MaxInflight, logger: o.Logger, tracer: o.Tracer,
		id: statestore.NewID(time.Now()), say: con.Say, note: con.noting(o.Out == ""),
	}}
	var out *stream // nil if the results go to a file
	if o.Out == "" {
		out = &stream{w: con.Stdout(), format: f}
		r.sink = &tallied{sink: out, tally: r.tally}
	}
	r.plan, r.reduced = newStageSink(con.Stdout(), out), newStageSink(con.Stdout(), out)
	r.planned, r.summary = r.plan, r.reduced
	if o.Out != "" {
		file, err := r.openFile(ctx, f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if r.ended != nil {
			defer r.ended.past.close()
		}
	}
	r.server, err = chooseBackend(ctx, candidates{
		given: o.Backend, by: "--backend", insecure: o.InsecureKeys, spec: s.Backend, env: o.Getenv("BATCHAGENT_BACKEND"), local: o.Local,
		simulate: true, tools: min(len(compiled.Plan.Tools), compiled.Plan.MaxTurns-1),
	}, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return err
	}
	defer r.server.close()
	model, err := r.server.modelFor(compiled)
	if err != nil {
		return err
	}
	r.simulated = model.Simulated
	r.announce(model)
	began := time.Now()
	if o.Reuse != "" {
		reuse, err := localReuse(ctx, o.Reuse, compiled, tools.pool, model.ID, con.Say)
		if err != nil {
			return err
		}
		defer reuse.close()
		err = r.local.run(ctx, r.watch)
		con.Say(reuse.summary(compiled.Total - r.earlier))
		return r.conclude(ctx, began, err)
	}
	return r.conclude(ctx, began, r.local.run(ctx, r.watch))
}

// fileRun is one Run.
type fileRun struct {
	local
	options   RunOptions
	console   *Console
	tally     *Tally
	plan      *stageSink
	reduced   *stageSink
	simulated bool
}

// openFile opens the results file, and beside it the plan's. One that holds results is gone on with only if that was asked for.
func (r *fileRun) openFile(ctx context.Context, f format) (*File, error) {
	jobs := r.compiled.Total
	if r.compiled.Planner != nil {
		jobs = int64(r.compiled.Planner.MaxItems)
	}
	file, err := OpenFile(r.options.Out, f, "", jobs)
	if err != nil {
		return nil, err
	}
	if err := r.goOnWith(ctx, file); err != nil {
		_ = file.Close()
		return nil, err
	}
	r.sink, r.tally = file, file.Tally()
	return file, nil
}

func (r *fileRun) goOnWith(ctx context.Context, file *File) error {
	held := file.present.count()
	if held > 0 && !r.options.Resume {
		return usagef("%s holds %s already; --resume runs what is missing and what may pass now, another name begins anew",
			r.options.Out, plural(held, "result", "results"))
	}
	if r.compiled.Planner != nil {
		if err := r.goOnWithPlan(file.Batch()); err != nil {
			return err
		}
	}
	if held == 0 {
		return nil
	}
	r.id, r.have = file.Batch(), file.Settled()
	r.earlier = r.have.count()
	if r.compiled.Reduce != nil {
		var err error
		if r.ended, err = openEnded(ctx, r.options.Out); err != nil {
			return err
		}
	}
	again := ""
	if n := held - r.earlier; n > 0 {
		again = fmt.Sprintf(", of which %s did not end for good and will run again", count(n))
	}
	r.console.Say(fmt.Sprintf("%s holds %s of %s%s; going on with the rest", r.options.Out, count(held), plural(r.total(), "job", "jobs"), again))
	return nil
}

// goOnWithPlan takes the plan of an earlier run, if there is one: it is not made twice.
func (r *fileRun) goOnWithPlan(held batch.ID) error {
	file, err := openPlanFile(r.options.Out)
	if err != nil {
		return err
	}
	if file.made != nil && !r.options.Resume {
		return usagef("%s is there already; --resume goes on with this plan, another name for --out begins anew", file.path)
	}
	id, items, err := file.resume(held, r.compiled.Planner)
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

// total is how many jobs there are; 0 while that is being planned.
func (r *fileRun) total() int64 {
	switch {
	case r.compiled.Planner == nil:
		return r.compiled.Total
	case r.items != nil:
		return int64(len(r.items))
	}
	return r.plan.items()
}

func (r *fileRun) announce(model backend.Model) {
	jobs := plural(r.total(), "job", "jobs")
	if r.plans() {
		jobs = fmt.Sprintf("jobs from a plan of at most %d", r.compiled.Planner.MaxItems)
	}
	r.console.Say(fmt.Sprintf("%s: %s, model %s at %s (%s)", r.compiled.Plan.Name, jobs, model.ID, r.server.Endpoint(), r.server.by))
	if r.simulated {
		_, _ = io.WriteString(r.console.Stderr(), simulatedNote(r.options.Spec)+"\n")
	}
	if r.compiled.BadCount > 0 {
		r.console.Say(fmt.Sprintf("%s cannot be used and will fail as BadInput; the first is %s: %s",
			plural(r.compiled.BadCount, "input", "inputs"), r.compiled.Bad[0].Where, r.compiled.Bad[0].Bad))
	}
}

// conclude says how it ended.
func (r *fileRun) conclude(ctx context.Context, began time.Time, err error) error {
	sum := Summary{
		Batch: r.id, Name: r.compiled.Plan.Name, Tally: *r.tally, Total: r.total(), Earlier: r.earlier,
		Wall: time.Since(began), Simulated: r.simulated, Spec: r.options.Spec, Out: r.options.Out,
		PerTool: r.tools.Stats(), Prices: r.compiled.Plan.Prices, Stages: r.stages(),
	}
	if paused, ok := errors.AsType[*PausedError](err); ok {
		_, _ = io.WriteString(r.console.Stderr(), sum.String())
		return fmt.Errorf("the budget of this run is used up: %s of %s; raise budget.batch in %s, and with --out, --resume runs the rest",
			spentOf(paused.Info), budgetOf(paused.Info.Budget), r.options.Spec)
	}
	if err != nil && ctx.Err() == nil {
		if r.options.Out != "" {
			return fmt.Errorf("%w; what is in %s is whole, and the same command with --resume runs the rest", err, r.options.Out)
		}
		return err
	}
	if r.compiled.Planner != nil && err == nil {
		sum.Plan = r.plan.says(r.id.Planner())
	}
	if r.compiled.Reduce != nil && err == nil {
		sum.Reduce = r.reduced.says(r.id.Reducer())
	}
	_, _ = io.WriteString(r.console.Stderr(), sum.String())
	switch {
	case err != nil && r.options.Out != "":
		r.console.Say(fmt.Sprintf("interrupted; the same command with --resume runs the rest: coordinator run %s --out %s --resume", r.options.Spec, r.options.Out))
		return err
	case err != nil:
		r.console.Say("interrupted; with --out FILE, a run can be gone on with by --resume")
		return err
	case sum.Failed+sum.Cancelled > 0, r.compiled.Planner != nil && !r.plan.ok(), r.compiled.Reduce != nil && !r.reduced.ok():
		return ErrJobsFailed
	}
	return nil
}

// stages are those of the batch, as far as they have ended; nil if it has no others than its jobs.
func (r *fileRun) stages() []StageUse {
	planner, reducer := r.compiled.Planner, r.compiled.Reduce
	if planner == nil && reducer == nil {
		return nil
	}
	out := []StageUse{{Stage: jobsStage, Batch: r.id, Usage: r.tally.Usage, Tools: r.tally.Tools, Prices: r.compiled.Plan.Prices}}
	if planner != nil && r.plan.last != nil {
		u := StageUse{Stage: planStage, Batch: r.id.Planner(), Usage: r.plan.last.Usage, Tools: r.plan.last.Tools, Prices: planner.Prices}
		out = []StageUse{u, out[0]}
	}
	if reducer != nil && r.reduced.last != nil {
		u := StageUse{Stage: reduceStage, Batch: r.id.Reducer(), Usage: r.reduced.last.Usage, Tools: r.reduced.last.Tools, Prices: reducer.Prices}
		out = append(out, u)
	}
	return out
}

// watch shows progress, earlier results included.
func (r *fileRun) watch(ctx context.Context) {
	r.console.watch(ctx, func(ctx context.Context) (Progress, error) {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		info, err := r.store.Info(ctx, r.id)
		p := progressOf(info)
		if r.renumbers() {
			p.Counts.OK += r.earlier
		}
		if !r.plans() {
			p.Total = r.total()
		}
		return p, err
	})
}
