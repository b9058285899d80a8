package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// runAhead bounds the jobs that are in the embedded Redis and have no written result: memory does not grow with the
// number of inputs, unless the results are reduced.
const runAhead = 10_000

// ringEvery is how soon a worker that is dismissed hears of it.
const ringEvery = 10 * time.Millisecond

// localToolOptions say what tools this machine offers.
type localToolOptions struct {
	root, file string // tools root; tools.yaml, "" for the built-in tools alone
	own        []toolpool.Tool
	drivers    map[string]func() sqltool.Driver
	getenv     func(string) string
	logger     *slog.Logger
}

// lookup finds a variable, also one that was taken out of the environment.
func (o localToolOptions) lookup(name string) (string, bool) {
	if v := o.getenv(name); v != "" {
		return v, true
	}
	return os.LookupEnv(name)
}

// openTools are tools that are ready to be called.
type openTools struct {
	pool  *toolpool.Pool
	close func()
}

// localTools opens the tools of this machine. A batch that wants another one, or shares one more widely than it may be, is
// refused before anything runs.
func localTools(ctx context.Context, o localToolOptions, c *spec.Compiled) (*openTools, error) {
	file := &toolset.File{}
	if o.file != "" {
		var err error
		if file, err = toolset.Read(o.file, o.lookup); err != nil {
			return nil, &UsageError{err}
		}
	}
	set, err := toolset.Open(ctx, file, toolset.Options{Root: o.root, Drivers: o.drivers, Getenv: o.getenv, Logger: o.logger})
	if err != nil {
		return nil, &UsageError{err}
	}
	set.Tools = replaceTools(set.Tools, o.own)
	pool, err := toolpool.New(toolpool.Config{Logger: o.logger})
	if err == nil {
		err = set.Register(pool)
	}
	for _, plan := range []*spec.Plan{c.Plan, c.Planner} {
		if err == nil && plan != nil {
			err = toolset.Missing(plan.Tools, set.Names())
		}
		if err == nil && plan != nil {
			err = narrows(plan, []batch.WorkerRecord{{Sharing: worker.Sharing(pool)}})
		}
	}
	if err != nil {
		set.Close()
		return nil, &UsageError{err}
	}
	return &openTools{pool, set.Close}, nil
}

// replaceTools puts a program's own tools in the place of those with the same names.
func replaceTools(offered, own []toolpool.Tool) []toolpool.Tool {
	isOwn := func(t toolpool.Tool) bool {
		return slices.ContainsFunc(own, func(o toolpool.Tool) bool { return o.Name == t.Name })
	}
	return append(slices.DeleteFunc(offered, isOwn), own...)
}

// local is a batch that runs in this process alone: an embedded Redis, workers, a goroutine that feeds and one that
// collects.
type local struct {
	compiled *spec.Compiled
	server   *modelServer
	tools    *toolpool.Pool
	workers  int // at least 1
	slots    int // model requests in flight per worker; 0 takes what the backend calls safe
	logger   *slog.Logger
	tracer   trace.Tracer // nil does not trace
	id       batch.ID
	sink     sink
	planned  sink // of the planner's one result; nil without one
	summary  sink // of the reduction's one result; nil without one
	wait     ServerWait
	say      func(string)
	check    func(id batch.ID, output json.RawMessage) error // see [worker.Config]
	note     func(batch.Result)                              // is told every result; nil is skipped

	reread  func()                                  // is told that the jobs are read again; nil is skipped
	have    bitmap                                  // indexes that need not run again
	still   func(index int64, payload []byte) error // reports whether such a job asks what it asked before; nil if there are none
	earlier int64
	items   [][]byte   // jobs of a plan that an earlier run made; nil if there is none
	ended   *endedJobs // of an earlier run, for a reducer; nil does not hand them in

	store *statestore.Store // of the embedded Redis, while it runs

	mu      sync.Mutex
	written int64         // guarded by mu: results that are in the sink
	pausing []pausing     // guarded by mu: the workers
	room    chan struct{} // capacity 1: written has grown
}

// run returns when every result is in the sink, or at the sink's first error, and everything that it started has
// ended. The sink is used on the caller's goroutine. watch runs beside, on a goroutine of its own, until its context is
// done; nil is skipped.
func (l *local) run(ctx context.Context, watch func(context.Context)) error {
	redis, err := startEmbedded(ctx)
	if err != nil {
		return err
	}
	defer redis.close()
	l.store, l.room = redis.store, make(chan struct{}, 1)
	batches := consignment{plan: l.compiled.Plan, reduce: l.compiled.Reduce}
	if l.plans() {
		batches.planner = l.compiled.Planner
	}
	if err := create(ctx, l.store, l.id, batches); err != nil {
		return err
	}
	work, stop := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	var workers []*worker.Worker
	defer func() { // also when the sink panics
		stop(nil)
		for _, w := range workers {
			w.Abort() // nothing is left to wait for, or it was interrupted
		}
		l.dismiss(context.WithoutCancel(ctx), &background)
	}()
	for k := range max(l.workers, 1) {
		w, err := worker.New(worker.Config{
			ID: fmt.Sprintf("local-%d", k+1), Store: l.store, Backend: l.server, Tools: l.tools,
			Slots: l.slots, Check: l.check, Logger: l.logger, Tracer: l.tracer,
		})
		if err != nil {
			return err
		}
		workers = append(workers, w)
		background.Go(func() { _ = w.Run(work) })
	}
	background.Go(func() { l.watchServer(work, workers, stop) })
	background.Go(func() {
		if err := l.feed(work); err != nil {
			stop(err)
		}
	})
	if watch != nil {
		background.Go(func() { watch(work) })
	}

	c := &collector{store: l.store, id: l.id, sink: l.sink, written: l.trim, patience: patience{store: l.store, say: l.say}, seen: l.note}
	err = c.followStages(work, ifStage(l.plans(), l.planned), ifStage(l.compiled.Reduce != nil, l.summary))
	if err != nil && ctx.Err() == nil && work.Err() != nil {
		err = context.Cause(work) // the feed failed, and ended the rest
	}
	return err
}

// plans reports whether the jobs have still to be planned.
func (l *local) plans() bool { return l.compiled.Planner != nil && l.items == nil }

// fed is the batch that is given jobs here.
func (l *local) fed() batch.ID {
	if l.plans() {
		return l.id.Planner()
	}
	return l.id
}

// payloads are all jobs, by index.
func (l *local) payloads(ctx context.Context) iter.Seq2[[]byte, error] {
	if l.items == nil {
		return l.compiled.Payloads(ctx)
	}
	return func(yield func([]byte, error) bool) {
		for _, item := range l.items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// feedsRest reports whether only the jobs without a result are fed.
func (l *local) feedsRest() bool { return l.earlier > 0 && l.ended == nil }

// dismiss waits for what runs in the background. A worker that listens for the doorbell is rung out of it, so that nobody
// waits until its read times out.
func (l *local) dismiss(ctx context.Context, background *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		background.Wait()
		close(ended)
	}()
	tick := time.NewTicker(ringEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			_ = l.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: l.id})
		}
	}
}

// feed adds the jobs that have no result yet, or the planner's one job, and waits while too many are ahead of the results.
func (l *local) feed(ctx context.Context) error {
	jobs := l.missing(ctx)
	if !l.plans() && l.items == nil {
		sorted, err := sortJobs(ctx, l.compiled.Plan, l.compiled.Total, l.compiled.Openings, jobs, l.say)
		if err != nil {
			return err
		}
		if sorted != nil {
			defer sorted.Close()
			jobs = sorted.Jobs(ctx)
		} else if l.reread != nil {
			l.reread()
		}
	}
	fed := int64(0)
	for chunk, err := range chunks(jobs) {
		if err != nil {
			return err
		}
		for l.ahead(fed) {
			select {
			case <-l.room:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		err := l.store.UntilKnown(ctx, func() error {
			_, err := l.store.FeedSorted(ctx, l.fed(), fed, chunk.indexes, chunk.payloads)
			return err
		})
		if err != nil {
			return err
		}
		fed += int64(len(chunk.payloads))
		_ = l.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: l.fed()})
	}
	return l.store.UntilKnown(ctx, func() error {
		_, err := l.store.Seal(ctx, l.fed(), fed)
		return err
	})
}

func (l *local) ahead(fed int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fed-l.written >= runAhead
}

// missing yields the jobs that have no result yet. Where a reducer needs the others too, they come as jobs that end at once.
func (l *local) missing(ctx context.Context) iter.Seq2[prefixorder.Job, error] {
	return func(yield func(prefixorder.Job, error) bool) {
		for job, err := range numbered(l.payloads(ctx)) {
			if err == nil && l.have.has(job.Index) {
				err = l.still(job.Index, job.Payload)
				if err == nil && l.ended == nil {
					continue
				}
				if err == nil {
					job.Payload, err = l.ended.payload(ctx, job.Index)
				}
			}
			if !yield(job, err) {
				return
			}
		}
	}
}

// trim makes room: what is in the sink need not stay in the embedded Redis.
func (l *local) trim(ctx context.Context, upTo int64, timeline string) error {
	l.mu.Lock()
	l.written = upTo
	l.mu.Unlock()
	select {
	case l.room <- struct{}{}:
	default:
	}
	if l.compiled.Reduce != nil {
		return nil // the reducer needs them all
	}
	return l.store.TrimResults(ctx, l.id, upTo, timeline)
}
