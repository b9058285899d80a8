package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// conduct watches what workers do with what they were told. Redis refuses every stale write, so a worker that goes on
// with a lost job, forgets one or runs a turn again does no damage there; it wastes attempts, tokens and tool calls.
// Everything here runs on the network's goroutine, at rest.
type conduct struct {
	world *world
	procs map[string]*record
}

// record is what one process was told and what it did about it.
type record struct {
	proc    *process
	claims  map[batch.ID]*exchange // executed, and their answers have not arrived
	leases  map[tenure]*leased
	drained time.Time // when it was asked to leave; zero if it was not
}

// tenure names a lease. When Redis forgets claims, it gives their tokens out again, to other jobs or even to the same one.
type tenure struct {
	batch batch.ID
	index int
	fence fence
}

// leased is one lease that a process was told of.
type leased struct {
	index      int
	turns      int  // in the journal when it was claimed
	told       bool // the process knows of the lease
	handedBack bool // a release was sent
	finishing  bool // a result was sent
	missed     bool // a renewal was sent without it
	fenced     bool // the process was told that the lease is lost
}

func newConduct(w *world) *conduct { return &conduct{world: w, procs: make(map[string]*record)} }

func (k *conduct) of(p *process) *record {
	r := k.procs[p.name]
	if r == nil {
		r = &record{proc: p, claims: make(map[batch.ID]*exchange), leases: make(map[tenure]*leased)}
		k.procs[p.name] = r
	}
	return r
}

func (k *conduct) fail(invariant, format string, args ...any) {
	k.world.check.fail(invariant, format, args...)
}

// asked notes that a process is asked to leave.
func (k *conduct) asked(p *process) { k.of(p).drained = time.Now() }

// sent is told of every request that a process sent, whether or not it arrives.
func (k *conduct) sent(x *exchange) {
	r := k.of(x.proc)
	for _, c := range k.world.trace.calls(x) {
		switch c.verb {
		case "claim":
			if r.claims[c.batch()] != nil {
				k.fail("I4", "%s claims again and has not asked what a claim without an answer leased to it", x.proc.name)
			}
		case "held":
			delete(r.claims, c.batch())
		case "release":
			for f, l := range r.leases {
				if f.batch == c.batch() && slices.Contains(sent(c, l.index), f.fence) {
					l.handedBack = true
				}
			}
		case "finish":
			for f, l := range r.leases {
				if f.batch == c.batch() && slices.Contains(sent(c, l.index), f.fence) {
					l.finishing = true
				}
			}
		case "renew":
			for f, l := range r.leases {
				// Without any lease it only says that somebody is in touch.
				if f.batch == c.batch() && l.told && len(c.args) > 2 && !slices.Contains(c.args, f.fence.String()) {
					l.missed = true
				}
			}
		case "checkpoint":
			k.checkpoint(x.proc, r, c)
		}
	}
}

func (k *conduct) checkpoint(p *process, r *record, c call) {
	l := r.leases[tenure{c.batch(), number(c.args[0]), parseFence(c.args[1])}]
	if l == nil {
		return
	}
	if l.fenced {
		k.fail("I1", "%s goes on with job %d though it was told that the lease was lost", p.name, l.index)
	}
	if number(c.args[2]) <= l.turns {
		k.fail("I3", "%s ran turn %s of job %d again; the journal that it was given has %d turns", p.name, c.args[2], l.index, l.turns)
	}
	if strings.Contains(c.args[3], "Error: call tool") {
		k.fail("I3", "%s journals a turn of job %d whose tool calls were cancelled: %s", p.name, l.index, c.args[3])
	}
}

// executed is told of what Redis executed.
func (k *conduct) executed(x *exchange, calls []call) {
	r := k.of(x.proc)
	for _, c := range calls {
		if c.verb != "claim" || !c.ran {
			continue
		}
		if !x.abandoned() { // else the process had stopped waiting before, and could not know
			r.claims[c.batch()] = x
		}
		for _, l := range c.leased() {
			r.leases[tenure{c.batch(), l.index, l.fence}] = &leased{index: l.index, turns: l.turns}
		}
	}
}

// delivered is told of every answer that arrived.
func (k *conduct) delivered(x *exchange) {
	r := k.of(x.proc)
	for _, c := range k.world.trace.calls(x) {
		if r.claims[c.batch()] == x {
			delete(r.claims, c.batch())
		}
		codes, _ := c.reply.([]any)
		switch {
		case !c.ran:
		case c.verb == "claim":
			for _, l := range c.leased() {
				if l := r.leases[tenure{c.batch(), l.index, l.fence}]; l != nil {
					l.told = true
				}
			}
		case c.verb == "renew":
			for i, f := range slices.Collect(slices.Chunk(c.args[2:], 3)) {
				if l := r.leases[tenure{c.batch(), number(f[0]), parseFence(f[2])}]; l != nil && 1+i < len(codes) && codes[1+i] == int64(-1) {
					l.fenced = true
				}
			}
		case c.verb == "checkpoint" && c.reply == int64(-1):
			if l := r.leases[tenure{c.batch(), number(c.args[0]), parseFence(c.args[1])}]; l != nil {
				l.fenced = true
			}
		}
	}
}

// takenOver is told of every lease that lapsed and went to another worker. Its holder must have had a reason to let it
// lapse: it died, or could not reach Redis, or never knew of it.
func (k *conduct) takenOver(id batch.ID, index int, old fence, renewed time.Duration) {
	r := k.procs[old.holder]
	if r == nil || r.proc.gone() {
		return
	}
	l := r.leases[tenure{id, index, old}]
	if l == nil || !l.told || l.handedBack || k.world.net.wasDown(k.world.net.start.Add(renewed)) {
		return
	}
	now, cfg := k.world.now(), k.world.cfg
	switch {
	case !r.drained.IsZero():
		// Its words for it may have been lost before the calm, or fallen into an outage that took all the time it has for them,
		// though a renewal of before still got through at the end.
		if !l.finishing && now > cfg.calmAt && !k.world.net.wasDown(r.drained) {
			k.fail("I5", "%s left and did not hand job %d back", old.holder, l.index)
		}
	case l.missed && !l.fenced:
		k.fail("I4", "%s forgot job %d: it neither renewed the lease, nor handed it back, nor knows that it has a result", old.holder, l.index)
	case now > cfg.calmAt+2*cfg.lease:
		k.fail("I4", "%s let the lease of job %d lapse although nothing was wrong", old.holder, l.index)
	}
}

// toldJob is a job in a claim's answer.
type toldJob struct {
	index, turns int
	fence        fence
	exhausted    bool
}

// leased are the jobs that a claim leased.
func (c call) leased() []toldJob {
	list, _ := c.reply.([]any)
	var out []toldJob
	for _, e := range list[min(1, len(list)):] {
		if w, turns := words(e), e.([]any); len(w) == 9 {
			journal, _ := turns[6].([]any)
			out = append(out, toldJob{
				index: number(w[0]), turns: len(journal), exhausted: w[4] == "1",
				fence: fence{token: int64(number(w[2])), attempt: number(w[3]), holder: c.args[0]},
			})
		}
	}
	return out
}
