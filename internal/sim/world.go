package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Outcome is the result of a run.
type Outcome struct {
	Config    Config
	Violation *Violation // nil after a correct run
	Hash      uint64     // of the whole trace
	Commands  int        // trace lines
	Lost      int        // jobs that ended because all of their attempts lost their worker
	Took      time.Duration
	Trace     []string

	histories []*history
}

// Linearize checks that, for each job, some order of its operations explains all answers. The error shows the first job without
// such an order. Call it outside of the bubble: it takes real time.
func (o Outcome) Linearize() error {
	for _, h := range o.histories {
		if err := h.linearize(o.Config.of(h.check.id)); err != nil {
			return err
		}
	}
	return nil
}

// Report describes a failed run for people: the violation, the command that repeats the run, and the last lines of the trace.
func (o Outcome) Report(lines int) string {
	return fmt.Sprintf("%v\n\nrepeat it: make sim SEED=%d COUNT=1\n%v\n\n%s",
		o.Violation, o.Config.Seed, o.Config, strings.Join(o.Trace[max(0, len(o.Trace)-lines):], "\n"))
}

// clientsEnd is the longest time for which the Redis client dials after it was closed.
const clientsEnd = 10 * time.Second

// world is one run.
type world struct {
	cfg      Config
	chance   chance
	net      *network
	redis    *server
	judge    *judge
	check    *checker   // of the batch
	checks   []*checker // of the batch, and of its reducer if the run has one
	conduct  *conduct
	history  []*history // one per checker
	trace    *trace
	life     context.Context // ends when the processes must end
	carrying context.Context // ends when the network must end
	procs    sync.WaitGroup  // the goroutines of all processes

	slots     []*slot
	feeder    *slot
	follower  reader
	reads     *slot // runs the follower
	users     int   // number of users started
	raised    int   // number of times the budget was raised
	unlimited bool  // the limit was removed
	witnesses witnesses
	busy      int  // users that are still running
	retries   int  // retries still to do after the batch is done
	over      bool // no more faults
	unknown   bool // the mutant does not match a script
	mutated   bool // a script has the mutant
	doneAt    time.Duration
	finished  chan struct{} // closed when the batch has ended or the run failed
	once      sync.Once
}

// Run executes one configuration. Call it inside a synctest bubble. It leaves no goroutine behind.
func Run(ctx context.Context, cfg Config) (Outcome, error) {
	redis, err := newServer(cfg.skew)
	if err != nil {
		return Outcome{}, err
	}
	defer redis.close()
	life, end := context.WithCancel(ctx)
	defer end()
	w := &world{
		cfg: cfg, chance: chance(cfg.Seed), redis: redis, trace: newTrace(), life: life, retries: cfg.retries,
		finished: make(chan struct{}), witnesses: witnesses{},
	}
	carrying, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	w.carrying = carrying
	w.net = newNetwork(w.chance, cfg.rates, redis.dial)
	w.net.timeline = redis.memory.timeline
	w.net.arrives = redis.setClock
	w.net.seen = w.executed
	w.net.heard = w.heard
	w.conduct = newConduct(w)
	w.judge = &judge{failed: func(v *Violation) {
		w.trace.note("violation: %v", v)
		w.finish()
	}}
	for _, id := range cfg.batches() {
		k := newChecker(cfg, id, redis, w.judge)
		k.taken = func(index int, old fence, renewed time.Duration) { w.conduct.takenOver(id, index, old, renewed) }
		if id == reducerID {
			k.reduces = w.checks[0]
		}
		w.checks, w.history = append(w.checks, k), append(w.history, newHistory(k))
	}
	w.check = w.checks[0]
	w.follower = &follower{world: w}
	if cfg.forgets() || cfg.reduce {
		c, err := newCollector(w)
		if err != nil {
			return Outcome{}, err
		}
		defer c.remove()
		w.follower, w.check.committed = c, c.executed
	}
	var network sync.WaitGroup
	network.Go(func() { w.net.deliver(carrying) })

	w.open()
	<-w.finished
	if w.check.violation == nil {
		w.close()
	}
	w.atRest(func() {
		end()
		for _, s := range append(w.slots, w.feeder, w.reads) {
			s.kill()
		}
	})
	hangUp()
	w.procs.Wait()
	network.Wait()
	time.Sleep(clientsEnd)
	if m := cfg.Mutant; m != nil && (w.unknown || m.Script != "" && !w.mutated) {
		return Outcome{}, fmt.Errorf("mutant %s: script %s must contain its Old text exactly once; fix the mutant", cfg.Mutant.Name, cfg.Mutant.Script)
	}
	return Outcome{
		Config: cfg, Violation: w.check.violation, Hash: w.trace.sum.Sum64(), Commands: len(w.trace.lines),
		Took: w.now(), Trace: w.trace.lines, histories: w.history, Lost: w.check.lost,
	}, nil
}

func (w *world) now() time.Duration { return time.Since(w.net.start) }

func (w *world) after(d time.Duration, do func()) { w.net.at(w.now()+d, do) }

// atRest runs do between two events and waits for it.
func (w *world) atRest(do func()) {
	done := make(chan struct{})
	w.after(0, func() { do(); close(done) })
	select {
	case <-done:
	case <-w.carrying.Done():
	}
}

func (w *world) finish() { w.once.Do(func() { close(w.finished) }) }

// executed is called at rest for every request that Redis executed.
func (w *world) executed(x *exchange) {
	calls := w.trace.calls(x)
	w.trace.exchange(x, calls)
	w.redis.memory.remember(x, calls)
	for _, c := range calls {
		for _, k := range w.checks {
			k.executed(x.proc.name, c)
		}
	}
	w.conduct.executed(x, calls)
	for _, h := range w.history {
		h.executed(x, calls)
	}
	w.inspect()
}

// heard is called at rest with the traffic since the last call. Answers come first, because most requests react to them.
func (w *world) heard(sent, delivered []*exchange) {
	for _, x := range delivered {
		w.conduct.delivered(x)
		for _, h := range w.history {
			h.delivered(x)
		}
	}
	for _, x := range sent {
		for _, h := range w.history {
			h.sent(x)
		}
		w.conduct.sent(x)
	}
}

// open posts the first events: it starts the processes, the faults and the checks for the end of the run.
func (w *world) open() {
	r := w.chance.on("open")
	w.feeder = &slot{name: "feed"}
	w.net.at(between(r, 0, time.Second), w.startFeeder)
	for i := range w.cfg.workers {
		s := &slot{name: fmt.Sprintf("w%d", i)}
		w.slots = append(w.slots, s)
		w.net.at(between(r, 0, 2*time.Second), func() { w.startWorker(s) })
	}
	w.reads = &slot{name: "follow"}
	w.net.at(between(r, 0, time.Second), w.startFollower)
	w.plan()
	w.after(time.Second, w.look)
}

func (w *world) startFollower() { w.start(w.reads, w.follower.run) }

// look ends the run once the batch is done and stays done, or after the deadline.
func (w *world) look() {
	phase, failed, err := w.redis.progress(batchID)
	if err != nil {
		w.check.fail("sim", "%v", err)
	}
	if w.cfg.reduce && phase == batch.Done {
		reducing, lost, err := w.redis.progress(reducerID)
		if err != nil {
			w.check.fail("sim", "%v", err)
		}
		if reducing != batch.Done && failed > 0 && w.retries > 0 && w.busy == 0 && likely(w.chance.on("retry", w.now().String()), 0.05) {
			w.retries--
			w.startUser("retry", w.retry) // during the reduction
		}
		phase, failed = reducing, failed+lost
	}
	if phase != batch.Done && phase != "" {
		w.raise()
	}
	if phase == batch.Done && w.doneAt == 0 {
		w.doneAt = w.now()
	}
	if phase != batch.Done {
		w.doneAt = 0
	}
	switch {
	case w.check.violation != nil || w.now() > w.cfg.endBy:
		w.finish()
		return
	case w.doneAt == 0 || w.busy > 0:
	case w.now() < min(w.cfg.calmAt, w.doneAt+w.cfg.ttl/2): // late traffic may still cause errors
	case w.retries > 0 && failed > 0 && w.cfg.ttl >= time.Hour: // with a shorter TTL, the batch may be gone before the retry arrives
		w.retries--
		w.startUser("retry", w.retry)
	default:
		w.finish()
		return
	}
	w.after(100*time.Millisecond, w.look)
}

// slot is a place in the cluster for one process at a time.
type slot struct {
	name    string
	starts  int
	running *incarnation // nil without a process
}

// incarnation is one start of a process.
type incarnation struct {
	proc  *process
	die   context.CancelFunc
	drain chan struct{} // closed to start the drain
	ended chan struct{} // closed when the process has left
	asked func(*process)
}

// start runs a process until it returns.
func (w *world) start(s *slot, run func(ctx context.Context, p *process, drain <-chan struct{}) error) {
	if s.running != nil || w.life.Err() != nil {
		return
	}
	s.starts++
	ctx, die := context.WithCancel(w.life)
	in := &incarnation{
		proc: w.net.process(fmt.Sprintf("%s.%d", s.name, s.starts)), die: die,
		drain: make(chan struct{}), ended: make(chan struct{}), asked: w.conduct.drains,
	}
	s.running = in
	w.trace.note("%s starts", in.proc.name)
	w.procs.Go(func() {
		defer close(in.ended)
		defer die()
		err := run(ctx, in.proc, in.drain)
		if err != nil && ctx.Err() == nil {
			w.atRest(func() { w.check.fail("store", "%s: %v", in.proc.name, err) })
		}
	})
}

// over reports whether the process in the slot has ended by itself.
func (s *slot) over() bool {
	if s.running == nil {
		return false // the next one will start soon
	}
	select {
	case <-s.running.ended:
		return true
	default:
		return false
	}
}

// kill ends the process immediately.
func (s *slot) kill() {
	if s.running == nil {
		return
	}
	s.running.proc.kill()
	s.running.die()
	s.running = nil
}

// drain starts the drain of the process. The slot is free afterwards.
func (s *slot) drain() {
	if s.running == nil {
		return
	}
	s.running.asked(s.running.proc)
	close(s.running.drain)
	s.running = nil
}

// connect opens a store for a process. It retries during outages.
func (w *world) connect(ctx context.Context, p *process) (*statestore.Store, error) {
	for {
		s, err := statestore.Open(ctx, "redis://"+redisAddress, statestore.Options{
			Dialer: p.dial, PoolSize: 64, Jitter: p.jitter,
			Script: func(name, text string) string { return w.script(p, name, text) },
		})
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := sleep.For(ctx, between(w.chance.on("connect", p.name, w.now().String()), 100*time.Millisecond, time.Second)); err != nil {
			return nil, err
		}
	}
}

// script implements [statestore.Options.Script] for a process: it applies the mutant and registers the script's name.
func (w *world) script(p *process, name, text string) string {
	w.net.mu.Lock() // processes may connect at the same time
	defer w.net.mu.Unlock()
	if m := w.cfg.Mutant; m != nil && m.concerns(name, text) {
		changed, ok := m.apply(text, w.clock(p))
		w.unknown, w.mutated = w.unknown || !ok, true
		text = changed
	}
	w.redis.memory.texts[w.trace.learn(name, text)] = text
	return text
}

// clock returns how far a process's clock is ahead of Redis'. Only mutants use it: no script gets a process's time, and processes
// use their clock only for durations. TestWallClock in the module's root enforces this.
func (w *world) clock(p *process) time.Duration {
	return between(w.chance.on("clock", p.name), -5*time.Minute, 5*time.Minute) - w.cfg.skew
}

// tolerable reports whether an error is acceptable after a verb was repeated until its outcome was known. Concurrent commands of
// users cause such errors.
func tolerable(err error) bool {
	return err == nil || errors.Is(err, statestore.ErrConflict) || errors.Is(err, statestore.ErrNotFound)
}
