package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/version"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Config configures a worker. ID, Store, Backend and Tools are required. The caller closes Store, Backend and Tools
// after Run.
type Config struct {
	ID      string // shown to users and in every result
	Store   *statestore.Store
	Backend backend.Backend
	Tools   *toolpool.Pool

	Slots        int                   // model requests in flight. Defaults to the backend's MaxConcurrent, or 64.
	MaxAgents    int                   // live agents, including those that wait for tools. Defaults to 4 x Slots.
	Lease        time.Duration         // the same for all workers of a cluster. Defaults to 15 s.
	DrainTimeout time.Duration         // how long a drain waits for agents to reach a turn boundary. Defaults to 30 s.
	Logger       *slog.Logger          // Defaults to none.
	Metrics      prometheus.Registerer // Defaults to none.
	Tracer       trace.Tracer          // made by internal/tracing, so that all attempts at a job share one trace. Defaults to none.
	Consumer     string                // unique for every start of a process. Defaults to ID and a random part.

	// Check returns an error for an output that matches its schema but cannot be used. The model then gets a repair turn.
	// It is called concurrently. Nil accepts all outputs.
	Check func(id batch.ID, output json.RawMessage) error

	// Pace is called wherever the agents of a worker would act at the same instant: when they begin, when the backend came
	// back, when they end. A simulation waits in it, so that no two agents act at the same instant and a run can be
	// replayed. Nil does not wait.
	Pace func(job batch.Job)
	// Judge replaces the judge of failed model calls, so that a simulation can try faulty ones. Nil changes nothing.
	Judge func(agent.Endpoint) agent.Endpoint
	// Jitter replaces the random source of the agents' waits, numbers in [0,1), so that a run can be replayed. Nil uses
	// math/rand.
	Jitter func() float64
}

func (c Config) withDefaults() (Config, error) {
	var missing []string
	for name, ok := range map[string]bool{
		"ID": c.ID != "", "Store": c.Store != nil, "Backend": c.Backend != nil, "Tools": c.Tools != nil,
	} {
		if !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return c, fmt.Errorf("worker config: %s must be set", strings.Join(missing, ", "))
	}
	if c.Slots <= 0 {
		c.Slots = c.Backend.Capabilities().MaxConcurrent
	}
	if c.Slots <= 0 {
		c.Slots = 64
	}
	if c.MaxAgents <= 0 {
		c.MaxAgents = 4 * c.Slots
	}
	if c.Lease <= 0 {
		c.Lease = 15 * time.Second
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = mathrand.Float64
	}
	if c.Pace == nil {
		c.Pace = func(batch.Job) {}
	}
	if c.Consumer == "" {
		c.Consumer = c.ID + "-" + strings.ToLower(rand.Text()[:10])
	}
	return c, nil
}

// Causes with which agents are cancelled.
var (
	errDrained   = errors.New("the worker is shutting down")
	errCancelled = errors.New("the batch was cancelled")
	// errBackendAway: the backend was unreachable for a whole lease. Another worker may reach it.
	errBackendAway = errors.New("the backend is not ready")
	errOtherModel  = errors.New("another model answered first, and the batch is bound to it")
)

// lastWords limits each write to Redis when the worker leaves.
const lastWords = 3 * time.Second

// Worker runs agents. Make one with [New]; Run it once.
type Worker struct {
	cfg      Config
	log      *slog.Logger
	slots    *scheduler.Slots
	fair     *scheduler.FairShare // belongs to the claim loop
	standby  batch.ID             // the batch that this worker is the standby of, or ""; belongs to the claim loop
	runner   *agent.Runner
	batches  *batches
	commits  *committer
	metrics  *metrics
	kv       *admission
	pressure *pressure
	spans    *spans    // nil unless jobs are traced
	tails    tails     // belongs to the claim loop
	adaptive *adaptive // nil if the backend's limit is known
	started  time.Time

	stopping chan struct{} // closed when a drain begins: agents stop at their next turn boundary
	aborted  chan struct{} // closed by Abort
	abort    sync.Once
	wake     chan struct{} // capacity 1: there may be something to claim
	report   chan struct{} // capacity 1: the worker's record changed

	health *health
	models atomic.Pointer[[]backend.Model]

	modelsRead time.Time // belongs to watch

	mu     sync.Mutex
	live   map[batch.Job]*attempt // guarded by mu
	totals totals                 // guarded by mu
	agents sync.WaitGroup

	spending context.Context // context of the script calls that reserve and settle; set by Run
	spenders sync.WaitGroup  // the goroutines that make these calls
}

// totals counts the worker's jobs, turns and tokens since it started.
type totals struct {
	jobs, turns int64
	usage       batch.Usage
}

// New checks the configuration. It makes no connection.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Worker{
		cfg:      cfg,
		log:      cfg.Logger.With("worker", cfg.ID),
		slots:    scheduler.NewSlots(cfg.Slots),
		fair:     scheduler.NewFairShare(),
		stopping: make(chan struct{}),
		aborted:  make(chan struct{}),
		wake:     make(chan struct{}, 1),
		report:   make(chan struct{}, 1),
		live:     make(map[batch.Job]*attempt),
		started:  time.Now(),
	}
	w.models.Store(&[]backend.Model{})
	w.health = newHealth(cfg.Backend, w.slots, cfg.Jitter, w.log, w.healthChanged)
	if w.batches, err = newBatches(cfg.Store, cfg.Tools, cfg.Backend.Capabilities(), cfg.Check, w.served, w.log); err != nil {
		return nil, err
	}
	var model agent.Model = cfg.Backend
	var tools agent.Tools = watched{cfg.Tools}
	if start := cfg.Backend.Capabilities().StartConcurrent; start > 0 {
		w.adaptive = newAdaptive(cfg.Backend, w.slots, start, cfg.Slots, w.poke)
		model = keepCounting(w.adaptive, model)
	}
	model = keepCounting(guarded{model, w.health}, model)
	w.kv = &admission{wake: w.poke}
	w.pressure = newPressure(cfg.Backend)
	w.tails.waiting = map[batch.ID]*waitingJobs{}
	var slots agent.Slots = batchSlots{worker: w.slots, health: w.health, kv: w.kv, patience: cfg.Lease}
	if cfg.Tracer != nil {
		w.spans = &spans{cfg.Tracer}
		model = traceModel(model, cfg.Backend, cfg.Tracer)
		tools = tracedTools{tools, cfg.Tracer, cfg.ID}
		slots = tracedSlots{slots, cfg.Tracer}
	}
	model = keepCounting(accounted{model, w.kv}, model)
	model = keepCounting(seeded{model, w.poke}, model)
	model = keepCounting(advised{model}, model)
	var judge agent.Endpoint = w.health
	if cfg.Judge != nil {
		judge = cfg.Judge(judge)
	}
	w.runner = agent.NewRunner(model, slots, tools,
		agent.Config{Worker: cfg.ID, Logger: w.log, Jitter: cfg.Jitter, Endpoint: judge})
	w.commits = newCommitter(cfg.Store, cfg.MaxAgents+2*statestore.MaxClaim, w.settle, w.log)
	w.metrics = newMetrics(cfg.Metrics, w)
	return w, nil
}

// Run claims and runs jobs until ctx is done, and then drains. During the drain it claims no more jobs, and lets agents
// reach a turn boundary within DrainTimeout or until [Worker.Abort]. It commits finished results, and releases the other
// jobs without spending an attempt. Run returns nil after a drain, even if Redis was unreachable during it.
func (w *Worker) Run(ctx context.Context) error {
	// Work that continues during the drain needs a context that outlives ctx.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)

	w.spending = life
	var background sync.WaitGroup
	beating, stopBeating := context.WithCancel(life)
	defer stopBeating()
	var beats sync.WaitGroup // write the worker's record
	beats.Go(func() { w.heartbeat(beating) })
	beats.Go(func() { w.watch(beating) })
	committing, giveUp := context.WithCancelCause(life)
	defer giveUp(nil)
	background.Go(func() { w.commits.run(committing) })

	background.Go(func() { w.watchQueue(life) })
	background.Go(func() { w.listen(life) })

	w.claim(ctx, life)
	close(w.stopping)
	if w.liveCount() > 0 { // otherwise the record is removed at once
		beats.Go(func() { w.registerNow(beating) })
	}
	w.drain(life)
	// If Redis cannot be reached in time, the workers that take the jobs over compute these results again.
	late := time.AfterFunc(lastWords, func() { giveUp(errDrained) })
	w.commits.close()
	late.Stop()
	if w.adaptive != nil {
		w.adaptive.stop()
	}
	w.health.stop()
	stopBeating()
	beats.Wait()
	w.unregister(life)
	end(errDrained)
	background.Wait()
	w.spenders.Wait()
	return nil
}

// Abort ends a drain at once: agents are cancelled and their leases released. It does not wait for Run to return.
func (w *Worker) Abort() { w.abort.Do(func() { close(w.aborted) }) }

// drain waits for the agents, at most DrainTimeout, and then cancels them. Each agent releases its own lease.
func (w *Worker) drain(life context.Context) {
	ended := make(chan struct{})
	go func() {
		w.agents.Wait()
		close(ended)
	}()
	w.log.Info("draining", "live_agents", w.liveCount(), "timeout", w.cfg.DrainTimeout)
	timeout := time.NewTimer(w.cfg.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
	case <-timeout.C:
	case <-w.aborted:
	}
	w.cancelWhere(errDrained, func(*attempt) bool { return true })
	<-ended
}

func (w *Worker) unregister(life context.Context) {
	ctx, cancel := context.WithTimeout(life, lastWords)
	defer cancel()
	if err := w.cfg.Store.Unregister(ctx, w.cfg.Consumer); err != nil {
		w.log.Warn("could not unregister", "error", err)
	}
}

// Ready reports whether the worker claims jobs: the backend answers and no drain has begun.
func (w *Worker) Ready() bool { return w.health.works() && !w.draining() }

// Pauses returns why the worker starts no model calls; empty while it starts them.
func (w *Worker) Pauses() []batch.Pause {
	out := w.batches.pauses()
	for _, p := range w.health.pauses() {
		if !slices.ContainsFunc(out, func(o batch.Pause) bool { return o.Model == p.Model }) {
			out = append(out, p)
		}
	}
	return out
}

// healthChanged is called when jobs may be claimed. pauses reports whether pauses began or ended.
func (w *Worker) healthChanged(pauses bool) {
	w.poke()
	if pauses {
		w.reportState()
	}
}

// reportState sends a heartbeat at once, because the worker's state changed.
func (w *Worker) reportState() {
	select {
	case w.report <- struct{}{}:
	default:
	}
}

func (w *Worker) draining() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// served returns the models that the backend last listed.
func (w *Worker) served() []backend.Model { return *w.models.Load() }

// Status returns the worker's current heartbeat record.
func (w *Worker) Status() batch.WorkerRecord {
	host, _ := os.Hostname()
	r := batch.WorkerRecord{
		ID:         w.cfg.ID,
		Consumer:   w.cfg.Consumer,
		Version:    version.String(),
		Host:       host,
		Endpoint:   w.cfg.Backend.Endpoint(),
		Tools:      w.cfg.Tools.Names(),
		Sharing:    Sharing(w.cfg.Tools),
		Ready:      w.Ready(),
		Pauses:     w.Pauses(),
		Draining:   w.draining(),
		LiveAgents: w.liveCount(),
		MaxAgents:  w.cfg.MaxAgents,
		SlotsInUse: w.slots.InUse(),
		Slots:      w.slots.Capacity(),
		SlotQueue:  w.slots.Waiting(),
		StartedAt:  w.started.UTC(),
	}
	kv := w.kv.state()
	r.KVHeld, r.KVCapacity = int64(kv.Held), int64(kv.Budget)
	r.ToolUse = toolUse(w.cfg.Tools)
	for _, m := range w.served() {
		r.Models = append(r.Models, m.ID)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.JobsDone, r.Turns, r.Usage = w.totals.jobs, w.totals.turns, w.totals.usage
	return r
}

func (w *Worker) liveCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live)
}

// poke wakes the claim loop.
func (w *Worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Sharing returns the sharing that the operator of a pool allows, by tool.
func Sharing(p *toolpool.Pool) map[string]batch.ToolSharing {
	out := map[string]batch.ToolSharing{}
	for _, name := range p.Names() {
		t, _ := p.Lookup(name)
		out[name] = batch.ToolSharing{Share: string(t.Share), TTL: t.TTL}
	}
	return out
}
