package statestore_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// model is a simple implementation of a batch, following the documentation of the methods.
type model struct {
	attempts int // limit
	jobs     []modelJob
	maxToken int64
}

type modelJob struct {
	holder   string // "" without a lease
	token    int64
	spent    int // counted attempts
	lost     bool
	renewed  time.Time
	journal  []string
	result   bool
	retrying bool // queued by retry
}

// move is one step of a history. pick and n select the lease, job or count.
type move struct {
	verb    string
	who     string
	pick, n int
	ms      int
	idle    bool
}

var anyMove = rapid.Custom(func(rt *rapid.T) move {
	return move{
		verb: rapid.SampledFrom([]string{
			"claim", "claim", "claim", "renew", "checkpoint", "checkpoint", "stale checkpoint", "gap", "finish", "finish", "fail",
			"stale finish", "release", "stale release", "stale renew", "retry", "sleep", "sleep",
		}).Draw(rt, "verb"),
		who:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "who"),
		pick: rapid.IntRange(0, 50).Draw(rt, "pick"),
		n:    rapid.IntRange(1, 4).Draw(rt, "n"),
		ms:   rapid.IntRange(1, 20_000).Draw(rt, "ms"),
		idle: rapid.Bool().Draw(rt, "idle"),
	}
})

// TestAnyHistory plays histories of valid and invalid calls against the store and the model. The calls do not overlap; package
// sim tests overlapping ones.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		jobs, attempts := rapid.IntRange(1, 6).Draw(rt, "jobs"), rapid.IntRange(1, 3).Draw(rt, "attempts")
		group := rapid.IntRange(0, jobs).Draw(rt, "jobs of the first group")
		moves := rapid.SliceOfN(anyMove, 5, 60).Draw(rt, "moves")
		var problem error
		synctest.Test(t, func(t *testing.T) {
			dial, _ := testredis.Pipe(t)
			w := bubbleOver(t, dial)
			id := w.createAs(attempts, time.Hour)
			w.feedGroups(id, group, jobs-group)
			w.seal(id, jobs)
			h := &history{world: w, id: id, past: map[batch.Lease]bool{}, model: model{attempts: attempts, jobs: make([]modelJob, jobs)}}
			for i, m := range moves {
				if problem = h.play(m); problem != nil {
					problem = fmt.Errorf("move %d (%+v): %w", i, m, problem)
					return
				}
			}
			problem = h.end()
		})
		if problem != nil {
			rt.Fatal(problem)
		}
	})
}

type history struct {
	*world
	id    batch.ID
	model model
	now   map[int64]batch.Lease // held
	past  map[batch.Lease]bool  // every lease ever returned
	quiet time.Time             // last contact with Redis
	grace time.Time             // no takeover before
}

func (h *history) play(m move) error {
	if m.verb == "sleep" {
		h.pass(time.Duration(m.ms) * time.Millisecond)
		return nil
	}
	held := h.held()
	var current batch.Lease
	ok := len(held) > 0
	if ok {
		current = held[m.pick%len(held)]
	}
	stale, isStale := h.stale(m.pick)
	ctx := h.Context()
	switch m.verb {
	case "claim":
		return h.claimed(m)
	case "renew":
		if !ok {
			return nil
		}
		h.touch()
		_, fenced, err := h.store.Renew(ctx, h.id, current.Holder, h.lease, []batch.Lease{current})
		h.model.jobs[current.Job.Index].renewed = time.Now()
		return expect(err == nil && len(fenced) == 0, "renewing %v: fenced %v, %v", current, fenced, err)
	case "stale renew":
		if !isStale {
			return nil
		}
		h.touch()
		_, fenced, err := h.store.Renew(ctx, h.id, stale.Holder, h.lease, []batch.Lease{stale})
		return expect(err == nil && len(fenced) == 1, "renewing the lost lease %v: fenced %v, %v", stale, fenced, err)
	case "checkpoint", "gap":
		if !ok {
			return nil
		}
		j := &h.model.jobs[current.Job.Index]
		turn, text := len(j.journal)+1, fmt.Sprintf("turn %d by %d", len(j.journal)+1, current.Token)
		if m.verb == "gap" {
			err := h.store.Checkpoint(ctx, current, turn+1, []byte(text))
			return expect(errors.Is(err, statestore.ErrConflict), "a turn after a missing one: %v", err)
		}
		j.journal = append(j.journal, text)
		return h.store.Checkpoint(ctx, current, turn, []byte(text))
	case "stale checkpoint":
		if !isStale {
			return nil
		}
		err := h.store.Checkpoint(ctx, stale, len(h.model.jobs[stale.Job.Index].journal)+1, []byte("late"))
		return expect(errors.Is(err, statestore.ErrFenced), "a checkpoint under the lost lease %v: %v", stale, err)
	case "finish", "fail":
		if !ok {
			return nil
		}
		c := succeeded(current)
		if m.verb == "fail" {
			c = failed(current, batch.Timeout)
		}
		return h.finished(current, c)
	case "stale finish":
		if !isStale {
			return nil
		}
		_, out, err := h.store.Finish(ctx, h.id, []statestore.Completion{succeeded(stale)})
		want := statestore.Fenced
		if h.model.jobs[stale.Job.Index].result {
			want = statestore.Already
		}
		return expect(err == nil && len(out) == 1 && out[0] == want, "finishing under the lost lease %v: %v, %v", stale, out, err)
	case "release":
		if !ok {
			return nil
		}
		j := &h.model.jobs[current.Job.Index]
		if !j.lost {
			j.spent--
		}
		j.holder, j.lost = "", false
		return h.store.Release(ctx, h.id, []batch.Lease{current})
	case "stale release":
		if !isStale {
			return nil
		}
		return h.store.Release(ctx, h.id, []batch.Lease{stale})
	case "retry":
		return h.retried()
	}
	return nil
}

// claimed checks that a claim returned only jobs without a lease and jobs with an expired one, and no more than requested.
func (h *history) claimed(m move) error {
	h.touch()
	_, jobs, err := h.store.Claim(h.Context(), statestore.ClaimParams{Batch: h.id, Consumer: m.who, Count: m.n, Lease: h.lease, Idle: m.idle})
	if err != nil {
		return err
	}
	if err := h.setAside(); err != nil {
		return err
	}
	free, waiting := 0, 0
	for _, j := range h.model.jobs {
		switch {
		case j.holder != "" || j.result:
		case h.last(j):
			waiting++
		default:
			free++
		}
	}
	if free == 0 && m.idle && len(jobs) == 0 && waiting > 0 {
		return fmt.Errorf("%d jobs wait to run alone, and an idle worker got none", waiting)
	}
	fresh := 0
	for _, c := range jobs {
		j := &h.model.jobs[c.Lease.Job.Index]
		if j.result {
			return fmt.Errorf("job %d has a result and was claimed", c.Lease.Job.Index)
		}
		if c.Alone != h.last(*j) || c.Alone && (!m.idle || len(jobs) > 1) {
			return fmt.Errorf("job %d after %d of %d attempts came with %d others: alone %v",
				c.Lease.Job.Index, j.spent, h.model.attempts, len(jobs)-1, c.Alone)
		}
		if j.holder == "" {
			if !c.Alone {
				fresh++
			}
		} else if idle := time.Since(j.renewed); idle < h.lease || time.Now().Before(h.grace) {
			return fmt.Errorf("job %d was taken from %s after %v, %v before that is allowed", c.Lease.Job.Index, j.holder, idle, time.Until(h.grace))
		}
		if c.Lease.Token <= h.model.maxToken {
			return fmt.Errorf("token %d was used before: %d was", c.Lease.Token, h.model.maxToken)
		}
		h.model.maxToken = c.Lease.Token
		if c.Exhausted != (j.spent >= h.model.attempts) {
			return fmt.Errorf("job %d after %d of %d attempts: exhausted %v", c.Lease.Job.Index, j.spent, h.model.attempts, c.Exhausted)
		}
		j.lost = c.Exhausted
		if !c.Exhausted {
			j.spent++
			if c.Lease.Attempt != j.spent {
				return fmt.Errorf("job %d is attempt %d, not %d", c.Lease.Job.Index, c.Lease.Attempt, j.spent)
			}
		}
		if !slices.Equal(turns(c), j.journal) {
			return fmt.Errorf("job %d has the journal %q, not %q", c.Lease.Job.Index, turns(c), j.journal)
		}
		j.holder, j.token, j.renewed = m.who, c.Lease.Token, time.Now()
		h.past[c.Lease] = true
		h.now = put(h.now, c.Lease)
	}
	return expect(fresh == min(free, m.n-(len(jobs)-fresh)) || len(jobs) == m.n, "%d of %d free jobs came, %d were asked for and %d came in all", fresh, free, m.n, len(jobs))
}

// last reports whether a job without a lease must run alone.
func (h *history) last(j modelJob) bool { return j.spent > 0 && j.spent == h.model.attempts-1 }

// setAside finds the expired leases that the last claim ended without returning the jobs to its caller.
func (h *history) setAside() error {
	for _, l := range h.held() {
		j := &h.model.jobs[l.Job.Index]
		now, err := h.raw.HGet(h.Context(), "ba:{"+string(h.id)+"}:lease", fmt.Sprint(l.Job.Index)).Result()
		if err != nil {
			return err
		}
		if !strings.HasSuffix(now, "|-") && now == l.Fence() {
			continue
		}
		idle := time.Since(j.renewed)
		if !h.last(*j) {
			continue // returned to the caller, or a defect that claimed reports
		}
		if idle < h.lease || time.Now().Before(h.grace) {
			return fmt.Errorf("job %d was taken from %s after %v, %v before that is allowed", l.Job.Index, j.holder, idle, time.Until(h.grace))
		}
		j.holder = ""
	}
	return nil
}

func (h *history) finished(l batch.Lease, c statestore.Completion) error {
	_, out, err := h.store.Finish(h.Context(), h.id, []statestore.Completion{c})
	j := &h.model.jobs[l.Job.Index]
	j.holder, j.result, j.lost = "", true, false
	j.retrying = c.Result.Status == batch.StatusFailed
	if c.Result.Error == nil || !c.Result.Error.Retryable {
		j.journal = nil
	}
	return expect(err == nil && len(out) == 1 && out[0] == statestore.Committed, "finishing under %v: %v, %v", l, out, err)
}

// retried queues all failed jobs again. Their attempts restart and their journals continue.
func (h *history) retried() error {
	n, err := h.store.Retry(h.Context(), h.id)
	if err != nil {
		return err
	}
	want := int64(0)
	for i := range h.model.jobs {
		j := &h.model.jobs[i]
		if j.result && j.retrying {
			want++
			j.result, j.retrying, j.spent = false, false, 0
		}
	}
	return expect(n == want, "retry queued %d jobs; %d had failed", n, want)
}

// end claims and finishes all remaining jobs.
func (h *history) end() error {
	deadline := time.Now().Add(10 * time.Minute)
	for time.Now().Before(deadline) {
		for _, l := range h.held() {
			if err := h.finished(l, succeeded(l)); err != nil {
				return err
			}
		}
		if info := h.check(h.id); info.Phase == batch.Done {
			results := h.results(h.id)
			return expect(len(results) == len(h.model.jobs), "%d jobs have results, of %d", len(results), len(h.model.jobs))
		}
		h.pass(h.lease / 3)
		if err := h.claimed(move{who: "z", n: 10, idle: true}); err != nil {
			return err
		}
	}
	return errors.New("the batch does not end")
}

// touch records contact with Redis. A silence of more than half a lease is an outage. After it, no lease is taken over for a
// whole lease.
func (h *history) touch() {
	if !h.quiet.IsZero() && time.Since(h.quiet) > h.lease/2 {
		h.grace = time.Now().Add(h.lease)
	}
	h.quiet = time.Now()
}

// held lists the leases held, in an order that is the same in every run.
func (h *history) held() (out []batch.Lease) {
	for _, index := range slices.Sorted(maps.Keys(h.now)) {
		if l := h.now[index]; h.model.jobs[index].token == l.Token && h.model.jobs[index].holder != "" {
			out = append(out, l)
		}
	}
	return out
}

// stale returns a lease that was lost, released or finished.
func (h *history) stale(pick int) (batch.Lease, bool) {
	var lost []batch.Lease
	current := h.held()
	for l := range h.past {
		if !slices.Contains(current, l) {
			lost = append(lost, l)
		}
	}
	if len(lost) == 0 {
		return batch.Lease{}, false
	}
	slices.SortFunc(lost, func(a, b batch.Lease) int { return int(a.Token - b.Token) })
	return lost[pick%len(lost)], true
}

func put(m map[int64]batch.Lease, l batch.Lease) map[int64]batch.Lease {
	if m == nil {
		m = map[int64]batch.Lease{}
	}
	m[l.Job.Index] = l
	return m
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
