package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// history records the operations of all processes on each job: the answer, and the order of request and answer. An operation
// without an answer stays open: it may take effect at any later time, or never. linearize compares the record with [serialJob], a
// store that executes one operation after the other and loses nothing. It asks: does an order of the operations exist that
// explains every answer?
//
// This check is independent of [checker]. The checker sees the effects in Redis; history uses only the answers to clients.
type history struct {
	check *checker
	tick  int64
	asked map[*exchange]int64
	open  map[*exchange][]*operation
	all   map[int][]*operation // by job
}

// operation is one verb about one job.
type operation struct {
	verb         string
	proc         string
	fence        fence // in the request; for a claim, the granted lease
	turn         int   // of a checkpoint; for a claim, the length of its journal; for a requeue, the turns that are left
	exhausted    bool  // of a claim
	keep         string
	code         int64 // the answer
	told         bool  // the answer arrived
	asked, known int64
	at           time.Duration // when Redis executed it
}

func (o *operation) String() string {
	return fmt.Sprintf("[%d,%d] %s %s %v turn %d → %d told %v", o.asked, o.known, o.proc, o.verb, o.fence, o.turn, o.code, o.told)
}

func newHistory(c *checker) *history {
	return &history{
		check: c, asked: make(map[*exchange]int64), open: make(map[*exchange][]*operation), all: make(map[int][]*operation),
	}
}

func (h *history) sent(x *exchange) {
	h.tick++
	h.asked[x] = h.tick
}

// executed records the commands that Redis executed. It runs after the checker.
func (h *history) executed(x *exchange, calls []call) {
	add := func(index int, o operation) {
		o.proc, o.asked, o.known, o.at = x.proc.name, h.asked[x], math.MaxInt64, h.check.now()
		h.all[index] = append(h.all[index], &o)
		h.open[x] = append(h.open[x], &o)
	}
	for _, c := range calls {
		if !c.ran || c.batch() != h.check.id {
			continue
		}
		codes := func(i int) int64 { // one code of a list
			list, _ := c.reply.([]any)
			if i >= len(list) {
				return 0
			}
			n, _ := list[i].(int64)
			return n
		}
		switch c.verb {
		case "claim":
			for _, j := range c.leased() {
				add(j.index, operation{verb: c.verb, fence: j.fence, turn: j.turns, exhausted: j.exhausted})
			}
		case "renew":
			for i, l := range c.leases() {
				add(l.index, operation{verb: c.verb, fence: l.fence, code: codes(1 + i)})
			}
		case "release":
			for i, l := range c.leases() {
				add(l.index, operation{verb: c.verb, fence: l.fence, code: codes(i)})
			}
		case "checkpoint":
			for i, l := range c.leases() {
				add(l.index, operation{verb: c.verb, fence: l.fence, turn: c.named.Turn[i], code: codes(i)})
			}
		case "finish":
			for i, l := range c.leases() {
				add(l.index, operation{verb: c.verb, fence: l.fence, keep: c.named.Journal[i], code: codes(1 + i)})
			}
		}
	}
	// Effects of a claim and a retry on jobs that their answers do not name.
	for _, index := range h.check.kept {
		add(index, operation{verb: "keep"})
	}
	for _, index := range h.check.requeued {
		add(index, operation{verb: "requeue", turn: len(h.check.job(index).journal)})
	}
	if h.check.anew {
		add(0, operation{verb: "anew"})
	}
	h.check.kept, h.check.requeued, h.check.anew = nil, nil, false
}

func (h *history) delivered(x *exchange) {
	h.tick++
	for _, o := range h.open[x] {
		o.told, o.known = true, h.tick
	}
	delete(h.open, x)
	delete(h.asked, x)
}

// forget drops the operations that Redis lost. Later answers depend only on the remaining data.
func (h *history) forget(until time.Duration) {
	for index, ops := range h.all {
		h.all[index] = slices.DeleteFunc(ops, func(o *operation) bool { return o.at > until })
	}
}

// serialJob is a job in a store that executes one operation after the other.
type serialJob struct {
	fence     fence // of the lease, or of the last one
	highest   int64 // token
	turns     int
	exhausted bool
	finished  bool
}

// step returns the effect of an operation on a job, and its answer. The answer of a claim is the job's next lease, which may be
// impossible.
func (j serialJob) step(o *operation, cfg Config) (after serialJob, code int64, possible bool) {
	mine := j.fence == o.fence && j.fence.held()
	switch o.verb {
	case "claim":
		spent := j.fence.attempt
		exhausted := spent >= cfg.maxAttempts
		fits := o.fence.token > j.highest && o.turn == j.turns && o.exhausted == exhausted &&
			o.fence.attempt == min(spent+1, cfg.maxAttempts)
		if j.finished || !fits {
			return j, 0, false
		}
		j.fence, j.highest, j.exhausted = o.fence, o.fence.token, exhausted
		return j, 0, true
	case "keep":
		j.fence.holder = "-"
		return j, 0, !j.finished
	case "anew":
		return serialJob{highest: j.highest}, 0, true
	case "requeue":
		// The journal of a failed job expires after the batch's TTL, even while the batch runs.
		lapsed := o.turn == 0 && cfg.ttl < time.Hour
		ok := j.finished && (o.turn == j.turns || lapsed)
		j.finished, j.exhausted, j.fence, j.turns = false, false, fence{holder: "-"}, o.turn
		return j, 0, ok
	case "renew", "release", "checkpoint", "finish":
		if !mine {
			if o.verb == "finish" && j.finished {
				return j, 0, true
			}
			return j, -1, true
		}
	}
	switch o.verb {
	case "release":
		if !j.exhausted {
			j.fence.attempt--
		}
		j.fence.holder, j.exhausted = "-", false
	case "checkpoint":
		switch {
		case o.turn <= j.turns:
			return j, 0, true
		case o.turn > j.turns+1:
			return j, -2, true
		}
		j.turns++
	case "finish":
		j.finished, j.fence = true, fence{}
		if strings.HasPrefix(o.keep, "drop") { // with or without the effect log
			j.turns = 0
		}
	}
	return j, 1, true
}

// linearize searches, for each job, an order of its operations that explains all answers. It returns an error for the first job
// that has none. Call it outside of the bubble: it takes real time.
func (h *history) linearize(cfg Config) error {
	model := porcupine.Model{
		Init: func() any { return serialJob{} },
		Step: func(state, input, output any) (bool, any) {
			o := input.(*operation)
			after, code, possible := state.(serialJob).step(o, cfg)
			if possible && o.told && code != o.code {
				// An expired batch has no results.
				possible = o.verb == "finish" && cfg.ttl < time.Hour && o.code == -1
			}
			return possible, after
		},
	}
	for index := range cfg.jobs {
		var ops []porcupine.Operation
		for _, o := range h.all[index] {
			if !o.told && (o.verb == "renew") {
				continue // no effect and no answer
			}
			ops = append(ops, porcupine.Operation{Input: o, Call: o.asked, Return: o.known})
		}
		if porcupine.CheckOperationsTimeout(model, ops, time.Minute) != porcupine.Ok {
			text := ""
			for _, o := range h.all[index] {
				text += "\n" + o.String()
			}
			return fmt.Errorf("no order of the operations on job %d explains all answers:%s", index, text)
		}
	}
	return nil
}
