package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Outcome is what a run came to.
type Outcome struct {
	Config    Config
	Violation *Violation // nil if nothing was wrong
	Hash      uint64     // of the whole trace
	Commands  int        // trace lines
	Lost      int        // jobs that ended because all of their attempts lost their worker
	Took      time.Duration
	Trace     []string

	histories []*history
}

// Linearize looks for an order of the operations on each job that explains what all callers were told; an error shows the
// first job that has none. It takes real time, so call it outside of the bubble.
func (o Outcome) Linearize() error {
	for _, h := range o.histories {
		if err := h.linearize(o.Config.of(h.check.id)); err != nil {
			return err
		}
	}
	return nil
}

// Report is the outcome of a failed run for people: what broke, how to see it again, and the end of the trace.
func (o Outcome) Report(lines int) string {
	return fmt.Sprintf("%v\n\nsee it again: make sim SEED=%d COUNT=1\n%v\n\n%s",
		o.Violation, o.Config.Seed, o.Config, strings.Join(o.Trace[max(0, len(o.Trace)-lines):], "\n"))
}

// clientsEnd is how long the Redis client may go on dialling after it was closed.
const clientsEnd = 10 * time.Second

// world is one run.
type world struct {
	cfg      Config
	chance   chance
	net      *network
	redis    *server
	judge    *judge
	check    *checker   // of the batch
	checks   []*checker // of it, and of its reducer if it has one
	conduct  *conduct
	history  []*history // of each of them
	trace    *trace
	life     context.Context // of the processes
	carrying context.Context // of the network
	procs    sync.WaitGroup  // the goroutines of all processes

	slots     []*slot
	feeder    *slot
	follower  reader
	reads     *slot // where the follower runs
	users     int   // how many were started
	raised    int   // how often the budget was raised
	unlimited bool  // it was raised for good
	busy      int   // users that have not finished
	retries   int   // still to come once the batch is done
	over      bool  // no more faults
	unknown   bool  // the mutant does not match a script
	doneAt    time.Duration
	finished  chan struct{} // closed when the batch came to its end, or the run failed
	once      sync.Once
}

// Run plays one configuration from its beginning to its end. It must be called inside a synctest bubble, and leaves
// no goroutine behind.
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
		finished: make(chan struct{}),
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
	network.Go(func() { w.net.run(carrying) })

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
	if cfg.Mutant != nil && w.unknown {
		return Outcome{}, fmt.Errorf("mutant %s: the text that it replaces is not in the script %s", cfg.Mutant.Name, cfg.Mutant.Script)
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

// heard is called at rest for what reached processes and what they sent, most of it in answer to that.
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

// open posts the first events: the processes start, faults strike, and somebody looks whether all is done.
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

// look ends the run when the batch is done and stays so, or takes too long.
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
			w.startUser("retry", w.retry) // while the results are reduced
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
	case w.now() < min(w.cfg.calmAt, w.doneAt+w.cfg.ttl/2): // what is late may still do harm
	case w.retries > 0 && failed > 0 && w.cfg.ttl >= time.Hour: // else the batch may be gone before the retry gets through
		w.retries--
		w.startUser("retry", w.retry)
	default:
		w.finish()
		return
	}
	w.after(100*time.Millisecond, w.look)
}

// slot is a place in the cluster where one process after the other runs.
type slot struct {
	name    string
	starts  int
	running *incarnation // nil while nothing runs here
}

// incarnation is one start of a process.
type incarnation struct {
	proc  *process
	die   context.CancelFunc
	drain chan struct{} // closed to ask it to leave
	ended chan struct{} // closed when it has left
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
		drain: make(chan struct{}), ended: make(chan struct{}), asked: w.conduct.asked,
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

// over reports whether what ran here has ended by itself.
func (s *slot) over() bool {
	if s.running == nil {
		return false // another one is on its way
	}
	select {
	case <-s.running.ended:
		return true
	default:
		return false
	}
}

// kill is the end of a process at this instant.
func (s *slot) kill() {
	if s.running == nil {
		return
	}
	s.running.proc.kill()
	s.running.die()
	s.running = nil
}

// drain asks the process to leave. It is left to itself from here on.
func (s *slot) drain() {
	if s.running == nil {
		return
	}
	s.running.asked(s.running.proc)
	close(s.running.drain)
	s.running = nil
}

// connect opens a store for a process, through any outage.
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
		if err := sleep(ctx, between(w.chance.on("connect", p.name, w.now().String()), 100*time.Millisecond, time.Second)); err != nil {
			return nil, err
		}
	}
}

// script is [statestore.Options.Script] of a process: it applies the mutant and learns the scripts' names.
func (w *world) script(p *process, name, text string) string {
	if m := w.cfg.Mutant; m != nil && (m.Script == name || m.Script == everyScript) {
		changed, ok := m.apply(text, w.clock(p))
		if !ok {
			w.unknown = true
		}
		text = changed
	}
	w.net.mu.Lock() // processes may connect at the same instant
	defer w.net.mu.Unlock()
	w.redis.memory.texts[w.trace.learn(name, text)] = text
	return text
}

// clock is how far a process's clock is ahead of Redis'. No script is told it and no process reads a clock but for durations, so
// only mutants are; TestWallClock in the root of the module holds the code to that.
func (w *world) clock(p *process) time.Duration {
	return between(w.chance.on("clock", p.name), -5*time.Minute, 5*time.Minute) - w.cfg.skew
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// tolerable are the errors that a process may get from a verb that was repeated until its outcome was known, because
// of what users do meanwhile.
func tolerable(err error) bool {
	return err == nil || errors.Is(err, statestore.ErrConflict) || errors.Is(err, statestore.ErrNotFound)
}
