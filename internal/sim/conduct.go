package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// conduct checks how workers react to the answers of Redis. Redis refuses every stale write. A worker that continues a lost job,
// forgets a job or repeats a turn corrupts no data. But it wastes attempts, tokens and tool calls. Everything here runs on the
// network's goroutine, at rest.
type conduct struct {
	world *world
	procs map[string]*record
	asked []askedModel // since the last rest; guarded by net.mu
}

// askedModel is a model call that began, or that was answered.
type askedModel struct {
	proc     *process
	index    int
	at       time.Time
	answered bool
}

// record is the history of one process: the answers it received and its reactions.
type record struct {
	proc    *process
	claims  map[batch.ID]*exchange // executed claims without an answer so far
	leases  map[tenure]*leased
	drained time.Time // when the drain began; zero before
}

// tenure identifies a lease. When Redis loses claims, it grants their tokens again: to other jobs, or to the same one.
type tenure struct {
	batch batch.ID
	index int
	fence fence
}

// leased is one lease that was granted to a process.
type leased struct {
	index      int
	turns      int       // in the journal when the job was claimed
	told       bool      // the answer with the lease arrived
	handedBack bool      // the process sent a release
	finishing  bool      // the process sent a result
	missed     bool      // the process sent a renewal without this lease
	fenced     time.Time // when an answer first reported the lease as lost; zero before
}

// lost records that an answer reported the lease as lost.
func (l *leased) lost() {
	if l.fenced.IsZero() {
		l.fenced = time.Now()
	}
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

// drains records the start of a drain.
func (k *conduct) drains(p *process) { k.of(p).drained = time.Now() }

// sent checks every request that a process sent, whether or not it arrives.
func (k *conduct) sent(x *exchange) {
	r := k.of(x.proc)
	for _, c := range k.world.trace.calls(x) {
		switch c.verb {
		case "claim":
			if r.claims[c.batch()] != nil {
				k.fail("I4", "%s claims again before it looked up the leases of a claim without an answer", x.proc.name)
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
				// A renewal without any lease only keeps contact with the batch.
				if f.batch == c.batch() && l.told && len(c.named.Fence) > 0 && !slices.Contains(c.named.Fence, f.fence.String()) {
					l.missed = true
				}
			}
		case "checkpoint":
			for i := range c.leases() {
				k.checkpoint(x.proc, r, c, i)
			}
		}
	}
}

// checkpoint checks one turn of a checkpoint.
func (k *conduct) checkpoint(p *process, r *record, c call, i int) {
	sent, turn := c.leases()[i], c.named.Turn[i]
	l := r.leases[tenure{c.batch(), sent.index, sent.fence}]
	if l == nil {
		return
	}
	if !l.fenced.IsZero() {
		k.fail("I1", "%s continues job %d after an answer reported the lease as lost", p.name, l.index)
	}
	if turn <= l.turns {
		k.fail("I3", "%s repeated turn %d of job %d; the journal in its claim has %d turns", p.name, turn, l.index, l.turns)
	}
	if strings.Contains(c.data[i], "Error: call tool") {
		k.fail("I3", "%s journals a turn of job %d whose tool calls were cancelled: %s", p.name, l.index, c.data[i])
	}
}

// asks records a model call that begins, or that was answered. It is called on the goroutine of the process.
func (k *conduct) asks(p *process, id string, answered bool) {
	job, _, _ := strings.Cut(id, "#")
	index, ours := strings.CutPrefix(job, string(batchID)+"/job-")
	if !ours {
		return
	}
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	k.asked = append(k.asked, askedModel{p, number(index), time.Now(), answered})
}

// reaction is how long a worker may take to end an agent whose lease is lost.
const reaction = 5 * time.Millisecond

// checkAsked checks that no model call began or continued after an answer reported the job's lease as lost.
func (k *conduct) checkAsked() {
	k.world.net.mu.Lock()
	asked := k.asked
	k.asked = nil
	k.world.net.mu.Unlock()
	for _, a := range asked {
		var held bool
		var fenced time.Time
		for t, l := range k.of(a.proc).leases {
			if t.batch != batchID || l.index != a.index || !l.told {
				continue
			}
			held = held || l.fenced.IsZero() && !l.handedBack || a.at.Before(l.fenced.Add(reaction))
			if l.fenced.After(fenced) {
				fenced = l.fenced
			}
		}
		if !held && !fenced.IsZero() && !a.proc.gone() {
			did := "called the model for"
			if a.answered {
				did = "waited for the model's answer to"
			}
			k.fail("I1", "%s %s job %d, %v after an answer reported the lease as lost", a.proc.name, did, a.index, a.at.Sub(fenced))
		}
	}
}

// executed records the leases that Redis granted.
func (k *conduct) executed(x *exchange, calls []call) {
	r := k.of(x.proc)
	for _, c := range calls {
		if c.verb == "retry" && c.ran && c.batch() == batchID {
			k.world.forgetWitnesses()
		}
		if c.verb != "claim" || !c.ran {
			continue
		}
		if !x.abandoned() { // otherwise the process had stopped waiting and cannot know the lease
			r.claims[c.batch()] = x
		}
		for _, l := range c.leased() {
			r.leases[tenure{c.batch(), l.index, l.fence}] = &leased{index: l.index, turns: l.turns}
		}
	}
}

// delivered records the answers that arrived.
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
			for i, sent := range c.leases() {
				if l := r.leases[tenure{c.batch(), sent.index, sent.fence}]; l != nil && 1+i < len(codes) && codes[1+i] == int64(-1) {
					l.lost()
				}
			}
		case c.verb == "checkpoint":
			for i, sent := range c.leases() {
				if l := r.leases[tenure{c.batch(), sent.index, sent.fence}]; l != nil && codes[i] == int64(-1) {
					l.lost()
				}
			}
		}
	}
}

// takenOver checks a lease that lapsed and went to another worker. The holder must have had a reason to let it lapse: it died, it
// could not reach Redis, or it never received the lease.
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
		// Before the calm, its release may have been lost, or an outage may have outlasted the drain. A renewal may have
		// succeeded just before.
		if !l.finishing && now > cfg.calmAt && !k.world.net.wasDown(r.drained) {
			k.fail("I5", "%s left without handing job %d back", old.holder, l.index)
		}
	case l.missed && l.fenced.IsZero():
		k.fail("I4", "%s forgot job %d: it did not renew the lease, did not hand it back, and did not learn that it was lost", old.holder, l.index)
	case now > cfg.calmAt+2*cfg.lease:
		k.fail("I4", "%s let the lease of job %d lapse without any fault", old.holder, l.index)
	}
}

// toldJob is one job in a claim's answer.
type toldJob struct {
	index, turns int
	fence        fence
	exhausted    bool
}

// leased returns the jobs that a claim leased.
func (c call) leased() []toldJob {
	list, _ := c.reply.([]any)
	var out []toldJob
	for _, e := range list[min(1, len(list)):] {
		if w, turns := words(e), e.([]any); len(w) == 9 {
			journal, _ := turns[6].([]any)
			out = append(out, toldJob{
				index: number(w[0]), turns: len(journal), exhausted: w[4] == "1",
				fence: fence{token: int64(number(w[2])), attempt: number(w[3]), holder: c.named.Consumer},
			})
		}
	}
	return out
}
