package worker

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/version"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// lastWords limits each write to Redis when the worker leaves.
const lastWords = 3 * time.Second

// Worker runs agents. Make one with [New]; Run it once.
type Worker struct {
	cfg     Config
	started time.Time
	shared  *shared

	// The parts that work in the background; see the package's list of goroutines.
	claims    *claimer
	readiness *readiness
	heartbeat *heartbeat
	doorbell  *doorbell
	record    *recordWriter

	stopping chan struct{} // closed when a drain begins: agents stop at their next turn boundary
	aborted  chan struct{} // closed by Abort
	abort    sync.Once
}

// signal wakes a goroutine. Several signals before it looks are one. Its capacity is 1.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) send() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// New checks the configuration. It makes no connection.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, started: time.Now(), stopping: make(chan struct{}), aborted: make(chan struct{})}
	log := cfg.Logger.With("worker", cfg.ID)
	claim, report := newSignal(), newSignal() // wake the claim loop; write the worker's record before the next heartbeat

	server := newModelServer(cfg, log, claim, report)
	live := newLiveJobs(server.kv, claim)
	accounts := &spender{store: cfg.Store.Patient(nil), pace: cfg.Pace, log: log}
	batches, err := newBatches(cfg.Store, cfg.Tools, cfg.Programs, cfg.Backend.Capabilities(), cfg.Check, server.served, accounts, log)
	if err != nil {
		return nil, err
	}
	var judge agent.Endpoint = server.health
	if cfg.Judge != nil {
		judge = cfg.Judge(judge)
	}
	counter, _ := cfg.Backend.(backend.TokenCounter)
	w.shared = &shared{
		worker: cfg.ID, leaseFor: cfg.Lease, pace: cfg.Pace, stopping: w.stopping, claim: claim, log: log,
		patient: cfg.Store.Patient(nil), server: server, tools: cfg.Tools, programs: cfg.Programs, live: live, batches: batches, accounts: accounts,
		runner:   agent.NewRunner(agent.Config{Worker: cfg.ID, Logger: log, Jitter: cfg.Jitter, Endpoint: judge, Counter: counter}),
		commits:  newCommitter(cfg.Store, cfg.MaxAgents+2*statestore.MaxClaim, log),
		journals: newJournals(cfg.Store.Patient(nil), cfg.Pace),
		metrics:  newMetrics(),
		spans:    newSpans(cfg),
	}
	w.record = &recordWriter{store: cfg.Store, consumer: cfg.Consumer, status: w.Status, pace: cfg.Pace, every: cfg.Lease / 3, log: log}
	w.claims = newClaimer(w.shared, cfg, w.Status, report)
	w.readiness = &readiness{server: server, batches: batches, live: live, record: w.record, pauses: w.Pauses, claim: claim, report: report, log: log}
	w.heartbeat = &heartbeat{store: cfg.Store, consumer: cfg.Consumer, lease: cfg.Lease, batches: batches, live: live, record: w.record, claim: claim, log: log}
	w.doorbell = &doorbell{store: cfg.Store, batches: batches, live: live, claim: claim}
	if cfg.Metrics != nil {
		w.register(cfg.Metrics)
	}
	return w, nil
}

// Run claims and runs jobs until ctx is done, and then drains. During the drain it claims no more jobs, and lets agents
// reach a turn boundary within DrainTimeout or until [Worker.Abort]. It commits finished results, and releases the other
// jobs without spending an attempt. Run returns nil after a drain, even if Redis was unreachable during it.
func (w *Worker) Run(ctx context.Context) error {
	// Work that continues during the drain needs a context that outlives ctx.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)

	w.shared.accounts.life, w.shared.journals.life = life, life
	var background sync.WaitGroup
	beating, stopBeating := context.WithCancel(life)
	defer stopBeating()
	var beats sync.WaitGroup // write the worker's record
	beats.Go(func() { w.heartbeat.renewLeases(beating) })
	beats.Go(func() { w.readiness.watchBackend(beating) })
	committing, giveUp := context.WithCancelCause(life)
	defer giveUp(nil)
	background.Go(func() { w.shared.commits.commitAll(committing) })

	background.Go(func() { w.shared.server.watchQueue(life, w.shared.live.count) })
	background.Go(func() { w.doorbell.listen(life) })

	w.claims.claimJobs(ctx, life)
	close(w.stopping)
	if w.shared.live.count() > 0 { // otherwise the record is removed at once
		beats.Go(func() { w.record.now(beating) })
	}
	w.drain()
	// If Redis cannot be reached in time, the workers that take the jobs over compute these results again.
	late := time.AfterFunc(lastWords, func() { giveUp(errDrained) })
	w.shared.commits.close()
	late.Stop()
	w.shared.server.stop()
	stopBeating()
	beats.Wait()
	w.record.remove(life)
	end(errDrained)
	background.Wait()
	w.shared.accounts.calls.Wait()
	w.shared.journals.calls.Wait()
	return nil
}

// Abort ends a drain at once: agents are cancelled and their leases released. It does not wait for Run to return.
func (w *Worker) Abort() { w.abort.Do(func() { close(w.aborted) }) }

// drain waits for the agents, at most DrainTimeout, and then cancels them. Each agent releases its own lease.
func (w *Worker) drain() {
	live := w.shared.live
	ended := make(chan struct{})
	go func() {
		live.agents.Wait()
		close(ended)
	}()
	w.shared.log.Info("draining", "live_agents", live.count(), "timeout", w.cfg.DrainTimeout)
	timeout := time.NewTimer(w.cfg.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
	case <-timeout.C:
	case <-w.aborted:
	}
	live.cancel(errDrained, func(*session) bool { return true })
	<-ended
}

// Ready reports whether the worker claims jobs: the backend answers and no drain has begun.
func (w *Worker) Ready() bool { return w.shared.server.health.works() && !w.draining() }

// Pauses returns why the worker starts no model calls; empty while it starts them.
func (w *Worker) Pauses() []batch.Pause {
	out := w.shared.batches.pauses()
	for _, p := range w.shared.server.health.pauses() {
		if !slices.ContainsFunc(out, func(o batch.Pause) bool { return o.Model == p.Model }) {
			out = append(out, p)
		}
	}
	return out
}

func (w *Worker) draining() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// Status returns the worker's current heartbeat record.
func (w *Worker) Status() batch.WorkerRecord {
	host, _ := os.Hostname()
	server := w.shared.server
	r := batch.WorkerRecord{
		ID:         w.cfg.ID,
		Consumer:   w.cfg.Consumer,
		Version:    version.String(),
		Host:       host,
		Endpoint:   w.cfg.Backend.Endpoint(),
		Tools:      append(w.cfg.Tools.Names(), needs(w.cfg.Programs)...),
		Sharing:    Sharing(w.cfg.Tools),
		Ready:      w.Ready(),
		Pauses:     w.Pauses(),
		Draining:   w.draining(),
		LiveAgents: w.shared.live.count(),
		MaxAgents:  w.cfg.MaxAgents,
		SlotsInUse: server.slots.InUse(),
		Slots:      server.slots.Capacity(),
		SlotQueue:  server.slots.Waiting(),
		StartedAt:  w.started.UTC(),
	}
	age, life := w.shared.live.ages()
	r.AgentAge, r.AgentLife = age.Seconds(), life.Seconds()
	kv := server.kv.state()
	r.KVHeld, r.KVCapacity = int64(kv.Held), int64(kv.Budget)
	r.ToolUse = toolUse(w.cfg.Tools)
	for _, m := range server.served() {
		r.Models = append(r.Models, m.ID)
	}
	r.JobsDone, r.Turns, r.Usage = w.shared.totals.read()
	return r
}

// needs returns the names of programs in the form of a spec's needs.
func needs(p Programs) (out []string) {
	if p == nil {
		return nil
	}
	for _, name := range p.Names() {
		out = append(out, spec.NeedOf(name))
	}
	return out
}

// totals counts the jobs, turns and tokens that the worker committed since it started. Safe for concurrent use.
type totals struct {
	mu          sync.Mutex
	jobs, turns int64       // guarded by mu
	usage       batch.Usage // guarded by mu
}

func (t *totals) add(r batch.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.jobs++
	t.turns += int64(r.Turns)
	t.usage.Add(r.Usage)
}

func (t *totals) read() (jobs, turns int64, usage batch.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.jobs, t.turns, t.usage
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
