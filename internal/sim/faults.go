package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// A kind of fault that strikes at one instant. Those that hit single commands are [rates].
type kind string

const (
	killWorker    kind = "kill"    // the process dies; a new one starts later
	pauseWorker   kind = "pause"   // as SIGSTOP, then SIGCONT
	drainWorker   kind = "drain"   // SIGTERM; a new process starts later
	outage        kind = "outage"  // Redis is restarted and is away for a while
	forgetScripts kind = "flush"   // SCRIPT FLUSH
	killFeeder    kind = "refeed"  // the submitting process dies and is run again
	cancelBatch   kind = "cancel"  // a user cancels the batch
	retryFailed   kind = "retry"   // a user retries failed jobs while others run
	resetAll      kind = "resets"  // every connection of a worker breaks
	lookAround    kind = "inspect" // a user asks for the status
	serverAway    kind = "server"  // a worker's inference server restarts; full mode
	amnesia       kind = "amnesia" // Redis is restarted, or its replica takes over, without what it was last told
	killFollower  kind = "refollow"
)

// fault is one such event of a run.
type fault struct {
	kind kind
	at   time.Duration // after the start
	slot int           // which worker
	last time.Duration // how long it takes until things are as before
	lost time.Duration // how much is forgotten
}

func (f fault) String() string {
	if f.lost > 0 {
		return fmt.Sprintf("%s@%v/%v/lost %v", f.kind, f.at.Round(time.Millisecond), f.last.Round(time.Millisecond), f.lost.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s@%v/w%d/%v", f.kind, f.at.Round(time.Millisecond), f.slot, f.last.Round(time.Millisecond))
}

// drawFaults makes the plan of a run. Every fault and what it takes to recover from it lies before calmAt.
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

// drawAmnesia makes Redis forget in some runs, and then kills those who collect the results too.
func drawAmnesia(r *rand.Rand, c Config) []fault {
	var out []fault
	for range []int{0, 0, 0, 0, 0, 0, 0, 1, 1, 2}[r.IntN(10)] {
		f := fault{kind: amnesia, at: between(r, 0, c.calmAt), lost: between(r, time.Millisecond, time.Second)}
		if likely(r, 0.3) { // a failover to a replica that was behind
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

// drawKills ends those who collect the results.
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

// calm ends the faults for good.
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

// strike makes one fault happen. It runs at rest and must not wait.
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
			// A batch that is done may be gone by its TTL, and a feeder would then submit another one of the same name.
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

// amnesia makes Redis start again with what it had at that time. What is forgotten of a submission is submitted again: of a
// batch that is not sealed nothing is promised but that.
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
