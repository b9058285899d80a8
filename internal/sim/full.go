package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/worker"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// compiled returns the compiled spec of the batch.
func (c Config) compiled() ([]byte, error) {
	var program *spec.Agent
	turns := c.turns + 1
	if c.programs {
		program, turns = &spec.Agent{Program: programName}, maxTalks*turns
	}
	return json.Marshal(spec.Compiled{
		Agent: program,
		Name:  "sim", System: "You are probed.", Task: "Look at {n}.", Tools: c.tools(),
		MaxTurns: turns, MaxRetries: 3, MaxAttempts: c.maxAttempts, TTL: c.ttl,
		Timeouts: spec.Timeouts{Turn: c.turnPatience, Tool: c.toolPatience},
	})
}

// reducer returns the batch that reduces, and its compiled spec. All results fit into one call: with several, the parts of one
// job would compete for slots in an order that the seed does not decide.
func (c Config) reducer() (batch.Header, []byte, error) {
	plan, err := json.Marshal(spec.Compiled{
		Name: "sim/reduce", System: "You sum up.", Task: sumUp + "\n{" + spec.ResultsField + "}", Model: "m", Reduces: batchID,
		MaxTurns: 1, MaxRetries: 3, MaxAttempts: c.maxAttempts, TTL: c.ttl, Timeouts: spec.Timeouts{Turn: c.turnPatience},
	})
	return batch.Header{ID: reducerID, Name: "sim/reduce", MaxAttempts: c.maxAttempts, TTL: c.ttl}, plan, err
}

// sumUp is the beginning of a reduction's prompt.
const sumUp = "Sum up these {" + spec.CountField + "} results."

func (c Config) tools() []string {
	if c.Mode == Full {
		return []string{"probe", "effect"}
	}
	return []string{"probe"}
}

// fullWorker is one process that runs internal/worker, like the worker command.
type fullWorker struct {
	worker *worker.Worker
	model  *model
	probes *probes
}

// runFull runs a worker until it is drained or killed. A killed worker keeps running without any connection, which is as harmless
// as a process that is gone.
func (w *world) runFull(ctx context.Context, p *process, drain <-chan struct{}) error {
	store, err := w.connect(ctx, p)
	if err != nil {
		return err
	}
	defer store.Close()
	f := &fullWorker{model: newModel(w, p), probes: newProbes(w, p)}
	pool, err := f.probes.pool()
	if err != nil {
		return err
	}
	f.worker, err = worker.New(worker.Config{
		ID: p.name, Consumer: p.name, Store: store, Backend: f.model, Tools: pool,
		Slots: w.cfg.slots, MaxAgents: w.cfg.maxAgents, Lease: w.cfg.lease, DrainTimeout: w.cfg.drainTime,
		Programs: &simPrograms{world: w, proc: p},
		Logger:   slog.New(defects{world: w, proc: p}), Pace: p.pace, Jitter: p.jitter, Judge: w.cfg.judge,
	})
	if err != nil {
		return err
	}
	p.employ(f)
	defer p.employ(nil)
	running, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-drain:
			stop()
		case <-over:
		case <-ctx.Done():
		}
		select {
		case <-ctx.Done():
			f.worker.Abort()
		case <-over:
		}
	})
	err = f.worker.Run(running)
	close(over)
	watcher.Wait()
	return err
}

// employ makes the process's worker visible to [world.inspect].
func (p *process) employ(f *fullWorker) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.full = f
}

// pace delays each step of each agent, so that no two steps share an instant.
func (p *process) pace(job batch.Job) {
	now := strconv.FormatInt(int64(time.Since(p.net.start)), 10)
	time.Sleep(between(p.net.chance.on("pace", p.name, job.String(), now), time.Microsecond, time.Millisecond))
}

// inspect checks every live worker at rest. I8: only a model call in flight holds a slot. I7: nothing exceeds its limit.
func (w *world) inspect() {
	w.conduct.checkAsked()
	for _, s := range w.slots {
		if s.running == nil {
			continue
		}
		p := s.running.proc
		w.net.mu.Lock()
		f, dead := p.full, p.dead
		w.net.mu.Unlock()
		if f == nil || dead {
			continue
		}
		st := f.worker.Status()
		if n := f.model.inFlight(); st.SlotsInUse != n {
			w.check.fail("I8", "%s holds %d slots for %d model calls", p.name, st.SlotsInUse, n)
		}
		if st.SlotsInUse > w.cfg.slots {
			w.check.fail("I7", "%s has %d model calls in flight; it has %d slots", p.name, st.SlotsInUse, w.cfg.slots)
		}
		if st.LiveAgents > w.cfg.maxAgents {
			w.check.fail("I7", "%s has %d live agents; %d are allowed", p.name, st.LiveAgents, w.cfg.maxAgents)
		}
		waiting := st.LiveAgents + w.cfg.maxAgents // fenced agents may not have returned yet
		if w.cfg.programs {
			waiting *= maxTalks
		}
		if st.SlotQueue > waiting {
			w.check.fail("I7", "%s has %d agents waiting for a slot and %d live ones", p.name, st.SlotQueue, st.LiveAgents)
		}
	}
}

// accuse reports a violation from a process's goroutine.
func (w *world) accuse(invariant, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	w.after(0, func() { w.check.fail(invariant, "%s", msg) })
}

// defects is a log handler that turns a worker's report of an internal defect into a violation.
type defects struct {
	world *world
	proc  *process
}

// ownDefects lists log messages that no fault may cause.
var ownDefects = []string{"agent ended without a result", "tool panicked"}

// Enabled implements [slog.Handler].
func (d defects) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// Handle implements [slog.Handler].
func (d defects) Handle(_ context.Context, r slog.Record) error {
	if slices.Contains(ownDefects, r.Message) && !d.proc.gone() {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		d.world.accuse("worker", "%s: %s", d.proc.name, text)
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (d defects) WithAttrs([]slog.Attr) slog.Handler { return d }

// WithGroup implements [slog.Handler].
func (d defects) WithGroup(string) slog.Handler { return d }
