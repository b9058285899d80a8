package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// kind is a kind of fault that strikes at one instant. [rates] are the faults that hit single commands.
type kind string

const (
	killWorker    kind = "kill"    // the process dies; a new one starts later
	pauseWorker   kind = "pause"   // like SIGSTOP, then SIGCONT
	drainWorker   kind = "drain"   // SIGTERM; a new process starts later
	outage        kind = "outage"  // Redis restarts and is unreachable for a while
	forgetScripts kind = "flush"   // SCRIPT FLUSH
	killFeeder    kind = "refeed"  // the submitting process dies and is started again
	cancelBatch   kind = "cancel"  // a user cancels the batch
	retryFailed   kind = "retry"   // a user retries failed jobs while others run
	resetAll      kind = "resets"  // every connection of a worker breaks
	lookAround    kind = "inspect" // a user runs status
	serverAway    kind = "server"  // a worker's inference server restarts; full mode
	amnesia       kind = "amnesia" // Redis restarts, or its replica takes over, without the latest acknowledged writes
	killFollower  kind = "refollow"
)

// fault is one planned fault of a run.
type fault struct {
	kind kind
	at   time.Duration // after the start
	slot int           // index of the worker
	last time.Duration // time until recovery
	lost time.Duration // span of the lost writes
}

func (f fault) String() string {
	if f.lost > 0 {
		return fmt.Sprintf("%s@%v/%v/lost %v", f.kind, f.at.Round(time.Millisecond), f.last.Round(time.Millisecond), f.lost.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s@%v/w%d/%v", f.kind, f.at.Round(time.Millisecond), f.slot, f.last.Round(time.Millisecond))
}

// drawFaults draws the faults of a run. Every fault and its recovery end before calmAt.
func drawFaults(r *rand.Rand, c Config) []fault {
	kinds := []kind{
		killWorker, killWorker, killWorker, pauseWorker, pauseWorker, pauseWorker, drainWorker, outage, outage,
		forgetScripts, killFeeder, retryFailed, resetAll, lookAround,
	}
	var out []fault
	for range r.IntN(13) {
		f := fault{kind: kinds[r.IntN(len(kinds))], at: between(r, 0, c.calmAt), slot: r.IntN(c.workers)}
		f.last = between(r, 10*time.Millisecond, 5*c.lease/2)
		f.last = min(f.last, c.calmAt-f.at)
		out = append(out, f)
	}
	if likely(r, 0.12) {
		out = append(out, fault{kind: cancelBatch, at: between(r, 0, c.calmAt)})
	}
	slices.SortFunc(out, func(a, b fault) int { return int(a.at - b.at) })
	return out
}

// drawAmnesia draws losses of writes in Redis, in some runs. Those runs also kill the process that collects the results.
func drawAmnesia(r *rand.Rand, c Config) []fault {
	var out []fault
	for range []int{0, 0, 0, 0, 0, 0, 0, 1, 1, 2}[r.IntN(10)] {
		f := fault{kind: amnesia, at: between(r, 0, c.calmAt), lost: between(r, time.Millisecond, time.Second)}
		if likely(r, 0.3) { // a failover to a replica that lagged behind
			f.lost = between(r, time.Second, furthest)
		}
		f.last = min(between(r, 10*time.Millisecond, 5*c.lease/2), c.calmAt-f.at)
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil
	}
	return append(out, drawKills(r, c)...)
}

// drawKills draws kills of the process that collects the results.
func drawKills(r *rand.Rand, c Config) []fault {
	var out []fault
	for range r.IntN(3) {
		f := fault{kind: killFollower, at: between(r, 0, c.calmAt)}
		f.last = min(between(r, 10*time.Millisecond, 2*time.Second), c.calmAt-f.at)
		out = append(out, f)
	}
	return out
}

// plan posts the faults of a run as events, so that each strikes between two commands.
func (w *world) plan() {
	for _, f := range w.cfg.faults {
		w.net.at(f.at, func() { w.strike(f) })
	}
	w.net.at(w.cfg.calmAt, w.calm)
}

// calm ends all faults permanently.
func (w *world) calm() {
	if w.over {
		return
	}
	w.over = true
	w.trace.note("faults are over")
	w.net.setCalm()
	w.net.setDown(false)
	for _, s := range w.slots {
		if s.running != nil {
			s.running.proc.resume()
		}
	}
}

// strike makes one fault happen. It runs at rest and must not block.
func (w *world) strike(f fault) {
	if w.over {
		return
	}
	w.trace.note("%v", f)
	s := w.slots[f.slot]
	switch f.kind {
	case killWorker:
		s.kill()
		w.after(f.last, func() { w.startWorker(s) })
	case pauseWorker:
		if p := s.running; p != nil {
			p.proc.pause()
			w.after(f.last, p.proc.resume)
		}
	case drainWorker:
		s.drain()
		w.after(f.last, func() { w.startWorker(s) })
	case amnesia:
		w.net.setDown(true)
		w.amnesia(w.now() - f.lost)
		w.after(f.last, func() { w.net.setDown(false) })
	case killFollower:
		w.reads.kill()
		w.after(f.last, w.startFollower)
	case outage:
		w.net.setDown(true)
		w.restart(w.now())
		w.after(f.last, func() { w.net.setDown(false) })
	case forgetScripts:
		w.forget()
	case killFeeder:
		w.feeder.kill()
		w.after(f.last, func() {
			// The TTL may have removed a finished batch. A feeder would then submit a new one with the same ID.
			if w.doneAt == 0 {
				w.startFeeder()
			}
		})
	case resetAll:
		if p := s.running; p != nil {
			p.proc.reset()
		}
	case cancelBatch:
		w.startUser("cancel", w.cancel)
	case retryFailed:
		w.startUser("retry", w.retry)
	case serverAway:
		if p := s.running; p != nil {
			w.net.mu.Lock()
			full := p.proc.full
			w.net.mu.Unlock()
			if full != nil {
				full.model.setAway(true)
				w.after(f.last, func() { full.model.setAway(false) })
			}
		}
	case lookAround:
		w.startUser("status", w.status)
	}
}

// amnesia restarts Redis with the data of an earlier instant. A lost submission is repeated. An unsealed batch has no other
// guarantee.
func (w *world) amnesia(until time.Duration) {
	w.restart(until)
	for i, k := range w.checks {
		k.forget(until)
		w.history[i].forget(until)
	}
	w.doneAt = 0
	if st := w.check.before; (!st.exists || st.phase == batch.Open) && w.feeder.over() {
		w.feeder.kill()
		w.startFeeder()
	}
}

func (w *world) restart(until time.Duration) {
	if err := w.redis.restart(w.net.start.Add(until)); err != nil {
		w.check.fail("sim", "restart Redis: %v", err)
	}
}

func (w *world) forget() {
	if err := w.redis.forgetScripts(); err != nil {
		w.check.fail("sim", "%v", err)
	}
}
