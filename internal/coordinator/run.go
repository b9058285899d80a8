package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// runAhead bounds the jobs that are in the embedded Redis and have no written result: memory does not grow with the
// number of inputs.
const runAhead = 10_000

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
	ToolsRoot   string // what read_file sees
	ToolsFile   string // tools.yaml; "" for the built-in tools alone
	Drivers     map[string]func() sqltool.Driver
	Local       string // host:port where a server may happen to run; "" does not look
	Stdin       io.Reader
	Getenv      func(string) string
	Logger      *slog.Logger
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
	s, compiled, err := loadSpec(ctx, o.Spec, o.Owner, o.ToolsRoot, o.Stdin)
	if err != nil {
		return err
	}
	defer s.Close()
	pool, closeTools, err := localTools(ctx, o, compiled.Plan)
	if err != nil {
		return err
	}
	defer closeTools()
	r := &localRun{options: o, compiled: compiled, console: con, tally: &Tally{}, began: time.Now(), id: statestore.NewID(time.Now())}
	if o.Out != "" {
		file, err := r.openFile(f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	} else {
		r.sink = &tallied{sink: &stream{w: con.Stdout(), format: f}, tally: r.tally}
	}
	server, err := chooseBackend(ctx, candidates{
		flag: o.Backend, spec: s.Backend, env: o.Getenv("BATCHAGENT_BACKEND"), local: o.Local,
		tools: min(len(compiled.Plan.Tools), compiled.Plan.MaxTurns-1),
	}, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return err
	}
	defer server.close()
	model, err := server.model(compiled.Plan.Model)
	if err != nil {
		return err
	}
	r.simulated = model.Simulated
	r.announce(server, model)
	redis, err := startEmbedded(ctx)
	if err != nil {
		return err
	}
	defer redis.close()
	r.store = redis.store
	return r.run(ctx, server, pool)
}

// localTools are the tools of this machine. A spec that asks for another one is refused before anything runs.
func localTools(ctx context.Context, o RunOptions, plan *spec.Plan) (*toolpool.Pool, func(), error) {
	file := &toolset.File{}
	if o.ToolsFile != "" {
		var err error
		if file, err = toolset.Read(o.ToolsFile, os.LookupEnv); err != nil {
			return nil, nil, &UsageError{err}
		}
	}
	set, err := toolset.Open(ctx, file, toolset.Options{Root: o.ToolsRoot, Drivers: o.Drivers, Getenv: o.Getenv, Logger: o.Logger})
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	pool, err := toolpool.New(toolpool.Config{Logger: o.Logger})
	if err == nil {
		err = set.Register(pool)
	}
	if err == nil {
		err = toolset.Missing(plan.Tools, set.Names())
	}
	if err == nil {
		err = narrows(plan, []batch.WorkerRecord{{Sharing: worker.Sharing(pool)}})
	}
	if err != nil {
		set.Close()
		return nil, nil, &UsageError{err}
	}
	return pool, set.Close, nil
}

// localRun is one Run.
type localRun struct {
	options   RunOptions
	compiled  *spec.Compiled
	console   *Console
	store     *statestore.Store
	id        batch.ID
	sink      sink
	tally     *Tally
	began     time.Time
	simulated bool

	have    bitmap // indexes that need not run again
	earlier int64

	mu       sync.Mutex
	original []int64       // guarded by mu: the input's index of each fed job, in a resumed run
	written  int64         // guarded by mu: results that are in the sink
	room     chan struct{} // capacity 1: written has grown
}

// openFile opens the results file. One that holds results is gone on with only if that was asked for.
func (r *localRun) openFile(f format) (*File, error) {
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

func (r *localRun) announce(server *modelServer, model backend.Model) {
	plan := r.compiled.Plan
	r.console.Say(fmt.Sprintf("%s: %s, model %s at %s (%s)", plan.Name, plural(r.compiled.Total, "job", "jobs"), model.ID, server.Endpoint(), server.by))
	if r.simulated {
		_, _ = io.WriteString(r.console.Stderr(), simulatedNote(r.options.Spec)+"\n")
	}
	if r.compiled.BadCount > 0 {
		r.console.Say(fmt.Sprintf("%s cannot be used and will fail as BadInput; the first is %s: %s",
			plural(r.compiled.BadCount, "input", "inputs"), r.compiled.Bad[0].Where, r.compiled.Bad[0].Bad))
	}
}

// run feeds, works and collects until every result is in the sink.
func (r *localRun) run(ctx context.Context, server *modelServer, pool *toolpool.Pool) error {
	r.room = make(chan struct{}, 1)
	plan, err := json.Marshal(r.compiled.Plan)
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if err := r.store.Create(ctx, headerOf(r.id, r.compiled.Plan), plan); err != nil {
		return err
	}
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var background sync.WaitGroup
	var workers []*worker.Worker
	for k := range max(r.options.Workers, 1) {
		w, err := worker.New(worker.Config{
			ID: fmt.Sprintf("local-%d", k+1), Store: r.store, Backend: server, Tools: pool,
			Slots: r.options.MaxInflight, Logger: r.options.Logger,
		})
		if err != nil {
			stop(nil)
			background.Wait()
			return err
		}
		workers = append(workers, w)
		background.Go(func() { _ = w.Run(work) })
	}
	background.Go(func() {
		if err := r.feed(work); err != nil {
			stop(err)
		}
	})
	background.Go(func() { r.watch(work) })

	note := r.console.noting(r.options.Out == "")
	renumbered := &renumbered{sink: r.sink, run: r}
	c := &collector{store: r.store, id: r.id, sink: renumbered, written: r.trim,
		seen: func(result batch.Result) {
			renumbered.restore(&result)
			note(result)
		},
		patience: patience{store: r.store, say: r.console.Say}}
	err = c.follow(work)
	if err != nil && ctx.Err() == nil && work.Err() != nil {
		err = context.Cause(work) // the feed failed, and ended the rest
	}
	stop(nil)
	for _, w := range workers {
		w.Abort() // nothing is left to wait for, or it was interrupted
	}
	background.Wait()
	return r.conclude(ctx, pool, err)
}

// conclude says how it ended.
func (r *localRun) conclude(ctx context.Context, pool *toolpool.Pool, err error) error {
	sum := Summary{
		Batch: r.id, Name: r.compiled.Plan.Name, Tally: *r.tally, Total: r.compiled.Total, Earlier: r.earlier,
		Wall: time.Since(r.began), Simulated: r.simulated, Spec: r.options.Spec, Out: r.options.Out,
		PerTool: pool.Stats(), Prices: r.compiled.Plan.Prices,
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
	_, _ = io.WriteString(r.console.Stderr(), sum.String())
	switch {
	case err != nil && r.options.Out != "":
		r.console.Say(fmt.Sprintf("interrupted; the same command with --resume runs the rest: coordinator run %s --out %s --resume", r.options.Spec, r.options.Out))
		return err
	case err != nil:
		r.console.Say("interrupted; with --out FILE, a run can be gone on with by --resume")
		return err
	case sum.Failed+sum.Cancelled > 0:
		return ErrJobsFailed
	}
	return nil
}

// feed adds the jobs that have no result yet, and waits while too many are ahead of the results.
func (r *localRun) feed(ctx context.Context) error {
	fed := int64(0)
	for chunk, err := range chunks(r.missing(ctx)) {
		if err != nil {
			return err
		}
		for r.ahead(fed) {
			select {
			case <-r.room:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		err := r.store.UntilKnown(ctx, func() error {
			_, err := r.store.Feed(ctx, r.id, fed, chunk)
			return err
		})
		if err != nil {
			return err
		}
		fed += int64(len(chunk))
		_ = r.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: r.id})
	}
	return r.store.UntilKnown(ctx, func() error {
		_, err := r.store.Seal(ctx, r.id, fed)
		return err
	})
}

func (r *localRun) ahead(fed int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fed-r.written >= runAhead
}

// missing yields the payloads of the indexes that have no result yet, and notes which they are.
func (r *localRun) missing(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		index := int64(-1)
		for p, err := range r.compiled.Payloads(ctx) {
			index++
			if err == nil && r.have.has(index) {
				continue
			}
			if err == nil && r.earlier > 0 {
				r.mu.Lock()
				r.original = append(r.original, index)
				r.mu.Unlock()
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// trim makes room: what is in the sink need not stay in the embedded Redis.
func (r *localRun) trim(ctx context.Context, upTo int64, timeline string) error {
	r.mu.Lock()
	r.written = upTo
	r.mu.Unlock()
	select {
	case r.room <- struct{}{}:
	default:
	}
	return r.store.TrimResults(ctx, r.id, upTo, timeline)
}

// watch shows progress, earlier results included.
func (r *localRun) watch(ctx context.Context) {
	r.console.watch(ctx, func(ctx context.Context) (Progress, error) {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		info, err := r.store.Info(ctx, r.id)
		info.Counts.OK += r.earlier
		return Progress{Name: info.Name, Phase: info.Phase, Total: r.compiled.Total, Counts: info.Counts}, err
	})
}

// renumbered gives results the index of their input: a resumed run feeds only what is missing.
type renumbered struct {
	sink
	run *localRun
}

func (n *renumbered) Has(r batch.Result) bool {
	n.restore(&r)
	return n.sink.Has(r)
}

func (n *renumbered) Write(results []batch.Result, lines [][]byte) error {
	if n.run.earlier == 0 {
		return n.sink.Write(results, lines)
	}
	for i := range results {
		n.restore(&results[i])
		line, err := json.Marshal(results[i])
		if err != nil {
			return fmt.Errorf("encode the result of %s: %w", results[i].JobID, err)
		}
		lines[i] = line
	}
	return n.sink.Write(results, lines)
}

func (n *renumbered) restore(r *batch.Result) {
	if n.run.earlier == 0 {
		return
	}
	n.run.mu.Lock()
	defer n.run.mu.Unlock()
	r.Index = n.run.original[r.Index]
	r.JobID = batch.JobID(r.Index)
}
