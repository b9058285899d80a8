package localrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/internal/programs"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

// runAhead limits the jobs in the embedded Redis without written results. So memory does not grow with the
// number of inputs, unless the results are reduced.
const runAhead = 10_000

// ringEvery is the interval at which dismiss wakes waiting workers.
const ringEvery = 10 * time.Millisecond

// ToolOptions select the tools of this machine.
type ToolOptions struct {
	Root, File string // tools root; tools.yaml, "" for the built-in tools only
	SpecDir    string // folder of the spec; its files are passed to the spec's own command as absolute paths
	Files      string // where large files of programs go if tools.yaml does not name a place: a folder, or s3://bucket/prefix
	own        []toolpool.Tool
	Drivers    map[string]func() sqltool.Driver
	Getenv     func(string) string
	Logger     *slog.Logger
}

// lookup returns a variable, even if getenv hides it.
func (o ToolOptions) lookup(name string) (string, bool) {
	if v := o.Getenv(name); v != "" {
		return v, true
	}
	return os.LookupEnv(name)
}

// Tools holds tools that are ready for calls.
type Tools struct {
	Pool     *toolpool.Pool
	Programs *programs.Host
	Close    func()
}

// OpenTools opens the tools of this machine. It returns an error before any job runs if the batch needs a missing tool
// or shares a tool more widely than allowed.
func OpenTools(ctx context.Context, o ToolOptions, p *spec.Prepared) (*Tools, error) {
	file := &toolset.File{}
	if o.File != "" {
		var err error
		if file, err = toolset.Read(o.File, o.lookup); err != nil {
			return nil, &fault.UsageError{Err: err}
		}
	}
	set, err := toolset.Open(ctx, file, toolset.Options{Root: o.Root, Drivers: o.Drivers, Getenv: o.Getenv, Logger: o.Logger})
	if err != nil {
		return nil, &fault.UsageError{Err: err}
	}
	set.Replace(o.own)
	pool, err := toolpool.New(toolpool.Config{Logger: o.Logger})
	if err == nil {
		err = set.Register(pool)
	}
	var host *programs.Host
	if err == nil {
		host, err = programs.New(programs.Config{
			Declared: set.Programs, Own: true, Root: o.Root, SpecDir: o.SpecDir, Files: cmp.Or(set.Files, o.Files), Getenv: o.Getenv,
			Secrets: set.Secrets, Logger: o.Logger,
		})
	}
	for _, compiled := range []*spec.Compiled{p.Jobs, p.Planner} {
		if err == nil && compiled != nil {
			err = toolset.Missing(compiled.Needs(), slices.Concat(set.Names(), host.Needs()))
		}
		if err == nil && compiled != nil {
			err = host.Check(ctx, compiled.Needs())
		}
		if err == nil && compiled != nil {
			here := []batch.WorkerRecord{{Sharing: worker.Sharing(pool)}}
			err = errors.Join(operation.Narrows(compiled, here), operation.Preloads(compiled, here), operation.Repeatable(compiled, here))
		}
	}
	if err != nil {
		set.Close()
		return nil, &fault.UsageError{Err: err}
	}
	return &Tools{pool, host, func() {
		host.Close()
		set.Close()
	}}, nil
}

// batchRun is a batch that runs only in this process, with an embedded Redis, workers, a goroutine that feeds and one that
// collects.
type batchRun struct {
	prepared *spec.Prepared
	server   *modelServer
	tools    *Tools
	workers  int // at least 1
	slots    int // model requests in flight per worker; 0 uses the backend's safe number
	logger   *slog.Logger
	tracer   trace.Tracer // nil disables tracing
	id       batch.ID
	sink     collect.Sink
	planned  collect.Sink // for the planner's one result; nil without a planner
	summary  collect.Sink // for the reduction's one result; nil without a reduction
	wait     ServerWait
	notify   notice.Func
	check    func(id batch.ID, output json.RawMessage) error // see [worker.Config]
	note     func(batch.Result)                              // is called with every result; nil is skipped

	reread  func()                                  // is told that the jobs are read again; nil is skipped
	have    collect.Bitmap                          // indexes that need not run again
	still   func(index int64, payload []byte) error // checks that such a job's question is unchanged; nil if have is empty
	earlier int64
	items   [][]byte           // jobs of the plan of an earlier run; nil if there is no such plan
	ended   *earlier.EndedJobs // results of an earlier run, for a reducer; nil does not feed them

	store *statestore.Store // of the embedded Redis, while it runs

	mu      sync.Mutex
	written int64         // guarded by mu: number of results in the sink
	pausing []pausing     // guarded by mu: the workers
	room    chan struct{} // capacity 1: signals that written has grown
}

// execute returns when every result is in the sink, or at the sink's first error, after all its goroutines have ended. It
// calls the sink on the caller's goroutine. It calls watch on another goroutine, with a context that ends with the run.
// A nil watch is skipped.
func (l *batchRun) execute(ctx context.Context, watch func(context.Context)) error {
	redis, err := startEmbedded(ctx)
	if err != nil {
		return err
	}
	defer redis.Close()
	l.store, l.room = redis.store, make(chan struct{}, 1)
	batches := operation.Content{Compiled: l.prepared.Jobs, Reduce: l.prepared.Reducer}
	if l.plans() {
		batches.Planner = l.prepared.Planner
	}
	if err := operation.Create(ctx, l.store, l.id, batches); err != nil {
		return err
	}
	work, stop := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	var workers []*worker.Worker
	defer func() { // also if the sink panics
		stop(nil)
		for _, w := range workers {
			w.Abort() // no job is left, or the run was interrupted
		}
		l.dismiss(context.WithoutCancel(ctx), &background)
	}()
	peers := max(l.workers, 1)
	for k := range peers {
		w, err := worker.New(worker.Config{
			ID: fmt.Sprintf("local-%d", k+1), Store: l.store, Backend: l.server.backend, Tools: l.tools.Pool, Programs: l.tools.Programs,
			Slots: l.slots, Peers: peers, Check: l.check, Logger: l.logger, Tracer: l.tracer,
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

	c := &collect.Collector{Store: l.store, ID: l.id, Sink: l.sink, Written: l.trim, Wait: outage.Wait{Store: l.store, Notify: l.notify}, Arrived: l.note}
	err = c.FollowStages(work, collect.IfStage(l.plans(), l.planned), collect.IfStage(l.prepared.Reducer != nil, l.summary))
	if err != nil && ctx.Err() == nil && work.Err() != nil {
		err = context.Cause(work) // the feed or the watch of the server stopped the run
	}
	return err
}

// plans reports whether the planner must still run.
func (l *batchRun) plans() bool { return l.prepared.Planner != nil && l.items == nil }

// fed returns the batch that this process feeds.
func (l *batchRun) fed() batch.ID {
	if l.plans() {
		return l.id.ForStage(batch.StagePlan)
	}
	return l.id
}

// payloads yields all jobs by index.
func (l *batchRun) payloads(ctx context.Context) iter.Seq2[[]byte, error] {
	if l.items == nil {
		return l.prepared.AllPayloads(ctx)
	}
	return func(yield func([]byte, error) bool) {
		for _, item := range l.items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// feedsRest reports whether only jobs without a result are fed.
func (l *batchRun) feedsRest() bool { return l.earlier > 0 && l.ended == nil }

// dismiss waits for the background goroutines. It rings the doorbell, so that workers wake at once and not after their
// read timeout.
func (l *batchRun) dismiss(ctx context.Context, background *sync.WaitGroup) {
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

// feed adds the jobs without results, or the planner's one job. It waits while runAhead jobs are ahead of the written
// results.
func (l *batchRun) feed(ctx context.Context) error {
	jobs := l.missing(ctx)
	if !l.plans() && l.items == nil {
		sorted, err := operation.SortJobs(ctx, l.prepared.Jobs, l.prepared.Total, l.prepared.Openings, jobs, l.notify)
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
	for chunk, err := range operation.Chunks(jobs) {
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
			_, err := l.store.FeedSorted(ctx, l.fed(), fed, chunk.Indexes, chunk.Rests, chunk.Payloads)
			return err
		})
		if err != nil {
			return err
		}
		fed += int64(len(chunk.Payloads))
		_ = l.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: l.fed()})
	}
	return l.store.UntilKnown(ctx, func() error {
		_, err := l.store.Seal(ctx, l.fed(), fed)
		return err
	})
}

func (l *batchRun) ahead(fed int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fed-l.written >= runAhead
}

// missing yields the jobs without a result. If a reducer needs the other results too, missing yields them as jobs that end at
// once.
func (l *batchRun) missing(ctx context.Context) iter.Seq2[prefixorder.Job, error] {
	return func(yield func(prefixorder.Job, error) bool) {
		for job, err := range operation.Numbered(l.payloads(ctx)) {
			if err == nil && l.have.Has(job.Index) {
				err = l.still(job.Index, job.Payload)
				if err == nil && l.ended == nil {
					continue
				}
				if err == nil {
					job.Payload, err = l.ended.Payload(ctx, job.Index)
				}
			}
			if err == nil && !l.runs(job.Index) {
				continue
			}
			if !yield(job, err) {
				return
			}
		}
	}
}

// runs reports whether the batch has a job for a row: the row was chosen, or a reducer needs its result.
func (l *batchRun) runs(row int64) bool {
	return l.plans() || l.items != nil || l.prepared.Chosen(row) || l.ended != nil && l.have.Has(row)
}

// trim makes room: results in the sink are dropped from the embedded Redis.
func (l *batchRun) trim(ctx context.Context, upTo int64, timeline string) error {
	l.mu.Lock()
	l.written = upTo
	l.mu.Unlock()
	select {
	case l.room <- struct{}{}:
	default:
	}
	if l.prepared.Reducer != nil {
		return nil // the reducer needs all results
	}
	return l.store.TrimResults(ctx, l.id, upTo, timeline)
}
