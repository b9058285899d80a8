package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Violation is the first error of a run.
type Violation struct {
	Invariant string // I1 to I12 of package batch; or "store", "worker", or "sim" for a defect of the simulation
	Message   string
}

func (v *Violation) Error() string { return v.Invariant + ": " + v.Message }

// judge keeps the first violation of a run.
type judge struct {
	violation *Violation
	failed    func(*Violation) // called once
}

func (j *judge) fail(invariant, format string, args ...any) {
	if j.violation == nil {
		j.violation = &Violation{Invariant: invariant, Message: fmt.Sprintf(format, args...)}
		j.failed(j.violation)
	}
}

// checker reads one batch from Redis after every script and compares it with the state before. It keeps its own books of
// attempts, tokens and renewals. It runs on the network's goroutine, at rest.
type checker struct {
	*judge

	id    batch.ID
	cfg   Config
	redis *server
	start time.Time
	order []int // indexes of the jobs in the order in which they are fed

	taken     func(index int, old fence, renewed time.Duration) // called for every lapsed lease that a claim ended
	committed func(*state)                                      // called with the batch after each command; may be nil
	reduces   *checker                                          // the checker of the batch that this one reduces; nil if it reduces none

	books
	calls budgetBooks
	pages []page          // earlier books, oldest first
	given map[tenure]bool // every lease ever granted; Redis may lose a grant and repeat it
	lost  int             // jobs that ended because all of their attempts lost their worker

	// Effects of the last script on jobs that its answer does not name: jobs kept to run alone, jobs queued again, and a
	// reduction that was queued from scratch.
	kept, requeued []int
	anew           bool
	ended          bool // the last script ended the batch
}

func newChecker(cfg Config, id batch.ID, redis *server, j *judge) *checker {
	cfg = cfg.of(id)
	return &checker{
		judge: j, id: id, cfg: cfg, redis: redis, start: time.Now(), order: cfg.order(), given: make(map[tenure]bool), books: newBooks(),
	}
}

func (k *checker) now() time.Duration { return time.Since(k.start) }

func (k *checker) job(index int) *job {
	j := k.jobs[index]
	if j == nil {
		j = &job{}
		k.jobs[index] = j
	}
	return j
}

// mutating lists the scripts that may change a batch.
var mutating = []string{
	"create", "feed", "seal", "claim", "renew", "checkpoint", "release", "finish", "cancel", "retry", "remove", "spend", "bind",
}

// executed checks one command that Redis executed.
func (k *checker) executed(proc string, c call) {
	if k.violation != nil || !c.ran || !slices.Contains(mutating, c.verb) {
		return
	}
	k.ended = false
	after, err := k.redis.read(k.id)
	if err != nil {
		k.fail("sim", "%v", err)
		return
	}
	if c.batch() == k.id {
		k.script(proc, c, k.before, after)
	} else {
		k.bystander(proc, c, k.before, after)
	}
	k.standing(after)
	k.before = after
	k.keep()
	if k.committed != nil {
		k.committed(after)
	}
}

// script checks the effect of one script on its batch.
func (k *checker) script(proc string, c call, was, is *state) {
	k.leases(proc, c, was, is)
	if c.verb == "claim" {
		k.place(c, was, is)
	}
	k.life(c, was)
	k.results(proc, c, was, is)
	if k.ended = was.phase != batch.Done && is.phase == batch.Done; k.ended {
		if k.endedAs = was.phase; c.verb == "cancel" {
			k.endedAs = batch.Cancelling
		}
	}
	switch c.verb {
	case "create":
		k.pulse()
	case "renew":
		k.pulse()
		for _, l := range c.leases() {
			if was.lease[l.index] == l.fence {
				k.job(l.index).renewed = k.now()
			}
		}
	case "checkpoint":
		codes, _ := c.reply.([]any)
		for i, l := range c.leases() {
			k.checkpoint(proc, l, c.named.Turn[i], c.data[i], codes[i], was)
		}
	case "spend":
		k.spend(proc, c, was, is)
	case "bind":
		k.bound(c, was, is)
	case "retry":
		if was.phase == batch.Done && is.phase != batch.Done {
			k.pulse()
		}
		for index := range was.retryable {
			if !is.retryable[index] {
				k.retried = true
				k.requeued = append(k.requeued, index)
				k.job(index).spent, k.job(index).exhausted = 0, false
				k.reload(index)
			}
		}
	}
}

// leases checks each change of the lease hash: which process made it, and whether it was allowed to.
func (k *checker) leases(proc string, c call, was, is *state) {
	var claimed int
	if c.verb == "claim" && was.phase != batch.Done && was.exists {
		k.pulse()
	}
	for index := range k.cfg.jobs {
		old, now := was.lease[index], is.lease[index]
		if old == now {
			continue
		}
		switch {
		case c.verb == "claim" && !now.held():
			k.setAside(index, old, now)
		case c.verb == "claim":
			claimed++
			k.company(c, index, was.phase)
			k.claim(proc, c, index, old, now)
		case c.verb == "release":
			if sent := sent(c, index); !slices.Contains(sent, old) {
				k.fail("I1", "%s released job %d, which is held as %v, with fence %v", proc, index, old, sent)
			}
			// A job with no attempts left began none with this lease, so the release returns none.
			begun := 1
			if k.job(index).exhausted {
				begun = 0
			}
			if now.held() || now.attempt != old.attempt-begun {
				k.fail("I5", "a release changed the lease of job %d to %v; it was %v", index, now, old)
			}
			k.job(index).spent -= begun
			k.job(index).exhausted = false
		case c.verb == "finish" && now == fence{}:
			if sent := sent(c, index); !slices.Contains(sent, old) {
				k.fail("I1", "%s finished job %d, which is held as %v, with fence %v", proc, index, old, sent)
			}
		case c.verb == "retry" && now == fence{holder: "-"}:
		case is.phase == batch.Done || !is.exists: // the script drops the whole hash
		default:
			k.fail("I1", "%s changed the lease of job %d from %v to %v with %s", proc, index, old, now, c.verb)
		}
	}
	for _, f := range is.lease {
		k.maxToken = max(k.maxToken, f.token)
	}
	if c.verb == "claim" && claimed > c.named.Count {
		k.fail("I7", "%s claimed at most %d jobs and got %d", proc, c.named.Count, claimed)
	}
}

// sent returns the fences in a release or a finish of a job. These may be an old and a new one of the same worker.
func sent(c call, index int) []fence {
	var out []fence
	for _, l := range c.leases() {
		if l.index == index {
			out = append(out, l.fence)
		}
	}
	return out
}

func (k *checker) reload(index int) {
	journal, err := k.redis.journal(k.id, index)
	if err != nil {
		k.fail("sim", "%v", err)
	}
	k.job(index).journal = journal
}

// checkpoint checks the journal of one job of a checkpoint.
func (k *checker) checkpoint(proc string, sent leaseArgument, turn int, data string, code any, was *state) {
	index := sent.index
	j := k.job(index)
	old := j.journal
	k.reload(index)
	if slices.Equal(old, j.journal) {
		if code == int64(0) && uncredited(old[turn-1]) != uncredited(data) {
			k.fail("I3", "%s continues job %d after turn %d as %s; the journal has %s", proc, index, turn, data, old[turn-1])
		}
		return
	}
	if sent.fence != was.lease[index] {
		k.fail("I1", "%s wrote a turn of job %d with fence %v; it is held as %v", proc, index, sent.fence, was.lease[index])
	}
	if len(j.journal) != len(old)+1 || !slices.Equal(old, j.journal[:len(old)]) {
		k.fail("I3", "%s changed the journal of job %d from %d turns to %d others", proc, index, len(old), len(j.journal))
	}
	if turn != len(j.journal) {
		k.fail("I3", "%s wrote turn %d of job %d as number %d", proc, turn, index, len(j.journal))
	}
	if ttl := k.redis.ttl(journalKey(k.id, index)); ttl > 0 {
		k.fail("I3", "the journal of the running job %d expires in %v", index, ttl)
	}
}

// results checks each new result: its writer held the lease, and a lost job used all its attempts.
func (k *checker) results(proc string, c call, was, is *state) {
	last := 0
	if n := len(was.results); n > 0 {
		last = was.results[n-1].seq
	}
	for _, r := range is.results {
		if r.seq <= last {
			continue
		}
		if c.verb != "finish" {
			k.fail("I2", "%s wrote a result with %s", proc, c.verb)
			continue
		}
		sent := sent(c, r.index)
		if held := was.lease[r.index]; !held.held() || !slices.Contains(sent, held) {
			k.fail("I1", "%s wrote the result of job %d with fence %v; it is held as %v", proc, r.index, sent, held)
		}
		if was.finished[r.index] {
			k.fail("I2", "%s wrote a second result of job %d", proc, r.index)
		}
		var line batch.Result
		if err := json.Unmarshal([]byte(r.line), &line); err != nil {
			k.fail("I2", "result of job %d is not JSON: %v", r.index, err)
		}
		k.answers(line)
		j := k.job(r.index)
		if line.DivergedAt != 0 && line.Status == batch.OK { // a program that fails may end before it has made all calls
			k.fail("I3", "the program of job %d made call %d again or differently; each attempt makes the same calls", r.index, line.DivergedAt)
		}
		calls, journalled := line.Turns, len(j.journal)+1 // the final answer is not in the journal
		if k.cfg.programs {
			calls, journalled = line.Turns+int(line.Tools.Asked), len(j.journal)
		}
		if k.cfg.Mode == Full && k.id == batchID && line.Status == batch.OK && calls != journalled && !j.cut {
			k.fail("I3", "job %d ended after %d calls; its journal and its answer make %d", r.index, calls, journalled)
		}
		k.reload(r.index)
		lost := line.Error != nil && line.Error.Type == batch.WorkerLost
		if lost && !j.exhausted {
			k.fail("I5", "job %d ended as lost after %d of %d attempts", r.index, j.spent, k.cfg.maxAttempts)
		}
		if !lost && j.exhausted && line.Status != batch.StatusCancelled {
			k.fail("I5", "job %d ran again after all of its %d attempts", r.index, k.cfg.maxAttempts)
		}
		if line.Attempts < 1 || line.Attempts > k.cfg.maxAttempts {
			k.fail("I5", "the result of job %d reports %d attempts; the limit is %d", r.index, line.Attempts, k.cfg.maxAttempts)
		}
		if k.cfg.Mode == Full && line.Error != nil && line.Error.Type == batch.BackendRejected {
			k.fail("I4", "a refusal of all calls failed job %d: %s", r.index, line.Error.Message)
		}
		if k.reduces != nil {
			k.summary(line)
		}
	}
}

// standing checks the invariants that always hold.
func (k *checker) standing(st *state) {
	if !st.exists {
		return
	}
	k.reservations(st)
	byIndex := make(map[int]int)
	for _, r := range st.results {
		byIndex[r.index]++
		if byIndex[r.index] > 1 {
			k.fail("I2", "job %d has %d results", r.index, byIndex[r.index])
		}
		if !st.finished[r.index] {
			k.fail("I2", "job %d has a result but is not marked as finished", r.index)
		}
	}
	if n := st.ok + st.failed + st.cancelled; n != len(st.results) || n != len(st.finished) {
		k.fail("I2", "%d jobs are counted as finished, %d have a result and %d are marked", n, len(st.results), len(st.finished))
	}
	if st.phase == batch.Done {
		if len(st.results) != st.total {
			k.fail("I2", "the batch is done with %d results of %d", len(st.results), st.total)
		}
		return
	}
	k.standingJobs(st)
}

func (k *checker) standingJobs(st *state) {
	entry := make(map[int]string)
	for id, index := range st.stream {
		if other, ok := entry[index]; ok {
			k.fail("I2", "job %d is queued twice, as %s and %s", index, other, id)
		}
		entry[index] = id
	}
	noted := make(map[string]bool)
	for _, note := range st.back {
		noted[note] = true
	}
	kept := make(map[string]bool)
	for _, note := range st.alone {
		kept[note] = true
	}
	running := 0
	for place := range st.fed {
		index := place
		if place < len(k.order) {
			index = k.order[place]
		}
		id, queued := entry[index]
		if queued == st.finished[index] {
			k.fail("I4", "job %d: finished %v, queued %v", index, st.finished[index], queued)
		}
		f, leased := st.lease[index]
		holder, pending := st.pending[id]
		switch {
		case !queued && leased:
			k.fail("I2", "job %d is finished and has the lease %v", index, f)
		case f.held():
			running++
			if !pending {
				k.fail("I4", "job %d is held as %v but no worker could take it over: it is not pending", index, f)
			} else if holder != f.holder {
				k.fail("I1", "job %d is held as %v, but %s keeps it alive", index, f, holder)
			}
		case kept[fmt.Sprintf("%s %d", id, index)]:
			if pending {
				k.fail("I5", "job %d waits to run alone but is pending, so a search for lapsed leases would claim it", index)
			}
		case leased && f.token > 0:
			if !pending {
				k.fail("I4", "job %d was handed back as %v but no worker could take it over: it is not pending", index, f)
			}
			if !noted[fmt.Sprintf("%s %d", id, index)] {
				k.fail("I4", "job %d was handed back but is not offered to workers", index)
			}
		case pending:
			k.fail("I4", "job %d is pending without a lease", index)
		}
	}
	k.parkedJobs(st)
	if shown := len(st.pending) - len(st.back); shown != running {
		k.fail("I4", "status shows %d running jobs; %d are held", shown, running)
	}
	if len(st.stream) > st.fed {
		k.fail("I2", "%d jobs are queued; %d were fed", len(st.stream), st.fed)
	}
}

// end checks the final state, after the batch is done and all processes have left.
func (k *checker) end(st *state) {
	if st.phase != batch.Done {
		var open []string
		for index := range k.cfg.jobs {
			if !st.finished[index] {
				open = append(open, fmt.Sprintf("%d (%v)", index, st.lease[index]))
			}
		}
		k.fail("I4", "the batch is %s at %v, %v after the last fault; without a result: %s",
			st.phase, k.now(), k.now()-k.cfg.calmAt, strings.Join(open, ", "))
		return
	}
	k.standing(st)
	for _, r := range st.results {
		var line batch.Result
		if err := json.Unmarshal([]byte(r.line), &line); err != nil {
			continue // reported before
		}
		if line.Error != nil && line.Error.Type == batch.WorkerLost {
			k.lost++
		}
		if k.reduces != nil {
			k.summary(line)
		}
	}
}
