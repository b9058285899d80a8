package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// RunOptions say what to run on this machine.
type RunOptions struct {
	Spec        string
	Backend     string // URL; "" takes the spec's, BATCHAGENT_BACKEND, a server on this machine, or a simulated one
	Owner       string
	Workers     int    // in this process. Defaults to 1.
	MaxInflight int    // model requests in flight per worker; 0 takes what the backend calls safe
	Out         string // file; "" for standard output
	Format      string
	Resume      bool   // go on with Out: only what is missing in it, or failed in a way that may pass, is run
	Reuse       string // a results file: its outputs stand for jobs that ask the same
	ToolsRoot   string // what read_file sees
	ToolsFile   string // tools.yaml; "" for the built-in tools alone
	Drivers     map[string]func() sqltool.Driver
	Local       string // host:port where a server may happen to run; "" does not look
	Stdin       io.Reader
	Getenv      func(string) string
	Logger      *slog.Logger
	Tracer      trace.Tracer // nil does not trace
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
	if o.Resume && compiled.Reduce != nil {
		return usagef("--resume does not go with reduce: the reducer needs all results, and some are in %s alone; a new --out with --reuse %s runs what is missing", o.Out, o.Out)
	}
	tools, err := localTools(ctx, localToolOptions{
		root: o.ToolsRoot, file: o.ToolsFile, drivers: o.Drivers, getenv: o.Getenv, logger: o.Logger,
	}, compiled.Plan)
	if err != nil {
		return err
	}
	defer tools.close()
	r := &fileRun{options: o, console: con, tally: &Tally{}, local: local{
		compiled: compiled, tools: tools.pool, workers: o.Workers, slots: o.MaxInflight, logger: o.Logger, tracer: o.Tracer,
		id: statestore.NewID(time.Now()), say: con.Say, note: con.noting(o.Out == ""),
	}}
	if o.Out != "" {
		file, err := r.openFile(f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		r.reduced = newSummarySink(con.Stdout(), nil)
	} else {
		out := &stream{w: con.Stdout(), format: f}
		r.sink, r.reduced = &tallied{sink: out, tally: r.tally}, newSummarySink(con.Stdout(), out)
	}
	r.summary = r.reduced
	r.server, err = chooseBackend(ctx, candidates{
		given: o.Backend, by: "--backend", spec: s.Backend, env: o.Getenv("BATCHAGENT_BACKEND"), local: o.Local,
		simulate: true, tools: min(len(compiled.Plan.Tools), compiled.Plan.MaxTurns-1),
	}, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return err
	}
	defer r.server.close()
	model, err := r.server.model(compiled.Plan.Model)
	if err != nil {
		return err
	}
	if compiled.Reduce != nil {
		if _, err := r.server.model(compiled.Reduce.Model); err != nil {
			return err
		}
	}
	r.simulated = model.Simulated
	r.announce(model)
	began := time.Now()
	if o.Reuse != "" {
		reuse, err := localReuse(ctx, o.Reuse, compiled, tools.pool, model.ID, con.Say)
		if err != nil {
			return err
		}
		defer reuse.past.close()
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
	reduced   *summarySink
	simulated bool
}

// openFile opens the results file. One that holds results is gone on with only if that was asked for.
func (r *fileRun) openFile(f format) (*File, error) {
	file, err := OpenFile(r.options.Out, f, "", r.compiled.Total)
	if err != nil {
		return nil, err
	}
	held := file.present.count()
	if held > 0 && !r.options.Resume {
		_ = file.Close()
		return nil, usagef("%s holds %s already; --resume runs what is missing and what may pass now, another name begins anew",
			r.options.Out, plural(held, "result", "results"))
	}
	if held > 0 {
		r.id, r.have = file.Batch(), file.Settled()
		r.earlier = r.have.count()
		again := ""
		if n := held - r.earlier; n > 0 {
			again = fmt.Sprintf(", of which %s did not end for good and will run again", count(n))
		}
		r.console.Say(fmt.Sprintf("%s holds %s of %s%s; going on with the rest", r.options.Out, count(held), plural(r.compiled.Total, "job", "jobs"), again))
	}
	r.sink, r.tally = file, file.Tally()
	return file, nil
}

func (r *fileRun) announce(model backend.Model) {
	plan := r.compiled.Plan
	r.console.Say(fmt.Sprintf("%s: %s, model %s at %s (%s)", plan.Name, plural(r.compiled.Total, "job", "jobs"), model.ID, r.server.Endpoint(), r.server.by))
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
		Batch: r.id, Name: r.compiled.Plan.Name, Tally: *r.tally, Total: r.compiled.Total, Earlier: r.earlier,
		Wall: time.Since(began), Simulated: r.simulated, Spec: r.options.Spec, Out: r.options.Out,
		PerTool: r.tools.Stats(), Prices: r.compiled.Plan.Prices,
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
	if r.compiled.Reduce != nil && err == nil {
		sum.Reduce = r.reduced.says(r.id)
	}
	_, _ = io.WriteString(r.console.Stderr(), sum.String())
	switch {
	case err != nil && r.options.Out != "":
		r.console.Say(fmt.Sprintf("interrupted; the same command with --resume runs the rest: coordinator run %s --out %s --resume", r.options.Spec, r.options.Out))
		return err
	case err != nil:
		r.console.Say("interrupted; with --out FILE, a run can be gone on with by --resume")
		return err
	case sum.Failed+sum.Cancelled > 0, r.compiled.Reduce != nil && !r.reduced.ok():
		return ErrJobsFailed
	}
	return nil
}

// watch shows progress, earlier results included.
func (r *fileRun) watch(ctx context.Context) {
	r.console.watch(ctx, func(ctx context.Context) (Progress, error) {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		info, err := r.store.Info(ctx, r.id)
		info.Counts.OK += r.earlier
		return Progress{Name: info.Name, Phase: info.Phase, Total: r.compiled.Total, Counts: info.Counts}, err
	})
}
