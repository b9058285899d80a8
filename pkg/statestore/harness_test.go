package statestore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// world is the environment of a conformance scenario: a store on some server, and the length of a lease there. Inside a bubble
// waiting takes no time. On a real server it does, so leases are short.
type world struct {
	*testing.T
	store *statestore.Store
	raw   redis.UniversalClient // bypasses the store
	lease time.Duration
	fake  bool // the bubble's clock is used, so upper limits on durations hold
	idle  bool // claims set Idle
}

var batches atomic.Int64

// create makes an open batch of jobs with three attempts.
func (w *world) create() batch.ID { return w.createAs(3, time.Hour) }

func (w *world) createAs(attempts int, ttl time.Duration) batch.ID {
	w.Helper()
	// IDs sort by time. Two of the same millisecond would be in random order.
	id := statestore.NewID(time.UnixMilli(1_700_000_000_000 + batches.Add(1)))
	w.createID(id, attempts, ttl)
	return id
}

func (w *world) createID(id batch.ID, attempts int, ttl time.Duration) {
	w.Helper()
	require.NoError(w, w.store.Create(w.Context(), batch.Header{ID: id, Name: "n", MaxAttempts: attempts, TTL: ttl}, []byte("plan")))
}

// sealed makes a sealed batch of n jobs.
func (w *world) sealed(n int) batch.ID {
	w.Helper()
	id := w.create()
	w.feed(id, 0, n)
	w.seal(id, n)
	return id
}

func (w *world) feed(id batch.ID, from, n int) {
	w.Helper()
	fed, err := w.store.Feed(w.Context(), id, int64(from), payloads(from, n))
	require.NoError(w, err)
	require.EqualValues(w, from+n, fed)
	w.check(id)
}

func (w *world) seal(id batch.ID, total int) batch.Phase {
	w.Helper()
	phase, err := w.store.Seal(w.Context(), id, int64(total))
	require.NoError(w, err)
	w.check(id)
	return phase
}

func payloads(from, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = payload(int64(from + i))
	}
	return out
}

func payload(index int64) []byte { return fmt.Appendf(nil, "payload %d", index) }

// claim leases up to n jobs and checks the properties of every claim.
func (w *world) claim(id batch.ID, consumer string, n int) []statestore.Claimed {
	w.Helper()
	_, jobs := w.claimPhase(id, consumer, n)
	return jobs
}

func (w *world) claimPhase(id batch.ID, consumer string, n int) (batch.Phase, []statestore.Claimed) {
	w.Helper()
	phase, jobs, err := w.store.Claim(w.Context(), statestore.ClaimParams{
		Batch: id, Consumer: consumer, Count: n, Lease: w.lease, Idle: w.idle,
	})
	require.NoError(w, err)
	require.LessOrEqual(w, len(jobs), n)
	for _, j := range jobs {
		require.Equal(w, id, j.Lease.Job.Batch)
		require.Equal(w, consumer, j.Lease.Holder)
		require.Equal(w, string(payload(j.Lease.Job.Index)), string(j.Payload))
	}
	w.check(id)
	return phase, jobs
}

// one claims exactly one job.
func (w *world) one(id batch.ID, consumer string) statestore.Claimed {
	w.Helper()
	jobs := w.claim(id, consumer, 1)
	require.Len(w, jobs, 1)
	return jobs[0]
}

// takeover polls as an idle worker does until it has n jobs, and returns them.
func (w *world) takeover(id batch.ID, consumer string, n int) []statestore.Claimed {
	w.Helper()
	var got []statestore.Claimed
	w.until(func() bool {
		got = append(got, w.claim(id, consumer, n-len(got))...)
		return len(got) == n
	}, "%d jobs to be taken over", n)
	return got
}

// until polls often enough that a pause never looks like an outage.
func (w *world) until(ok func() bool, what string, args ...any) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 40*w.lease)
	defer cancel()
	tick := time.NewTicker(w.lease / 10)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			require.FailNow(w, "timed out waiting for "+fmt.Sprintf(what, args...))
		case <-tick.C:
		}
	}
}

// pass lets time pass without any contact to Redis.
func (w *world) pass(d time.Duration) {
	w.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.Context().Done():
	}
}

func (w *world) renew(id batch.ID, consumer string, leases ...batch.Lease) (batch.Phase, []batch.Lease) {
	w.Helper()
	phase, fenced, err := w.store.Renew(w.Context(), id, consumer, w.lease, leases)
	require.NoError(w, err)
	return phase, fenced
}

func (w *world) release(id batch.ID, leases ...batch.Lease) {
	w.Helper()
	require.NoError(w, w.store.Release(w.Context(), id, leases))
	w.check(id)
}

func (w *world) checkpoint(l batch.Lease, turn int, data string) {
	w.Helper()
	require.NoError(w, w.store.Checkpoint(w.Context(), l, turn, []byte(data)))
}

// finish commits results and requires the outcomes.
func (w *world) finish(id batch.ID, done []statestore.Completion, want ...statestore.FinishOutcome) batch.Phase {
	w.Helper()
	phase, got, err := w.store.Finish(w.Context(), id, done)
	require.NoError(w, err)
	require.Equal(w, want, got)
	if phase != "" {
		w.check(id)
	}
	return phase
}

// finishAll commits jobs as ok and requires that each commit is new.
func (w *world) finishAll(id batch.ID, jobs []statestore.Claimed) batch.Phase {
	w.Helper()
	done := make([]statestore.Completion, len(jobs))
	for i, j := range jobs {
		done[i] = succeeded(j.Lease)
	}
	return w.finish(id, done, slices.Repeat([]statestore.FinishOutcome{statestore.Committed}, len(jobs))...)
}

func succeeded(l batch.Lease) statestore.Completion {
	return statestore.Completion{Lease: l, Result: batch.Result{
		Batch: l.Job.Batch, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index, Status: batch.OK,
		Output: json.RawMessage(`{"n":1}`), Attempts: l.Attempt, Turns: 2,
		Usage: batch.Usage{PromptTokens: 100, CachedTokens: 60, CompletionTokens: 7}, Tools: batch.ToolCounts{Asked: 3, Executed: 1},
	}}
}

func failed(l batch.Lease, t batch.ErrorType) statestore.Completion {
	c := succeeded(l)
	c.Result.Status, c.Result.Output, c.Result.Error = batch.StatusFailed, nil, batch.NewError(t, "it did not work")
	return c
}

func cancelled(l batch.Lease) statestore.Completion {
	c := failed(l, batch.JobCancelled)
	c.Result.Status = batch.StatusCancelled
	return c
}

// check reads the batch and requires consistent numbers.
func (w *world) check(id batch.ID) batch.Info {
	w.Helper()
	info, err := w.store.Info(w.Context(), id)
	require.NoError(w, err)
	c := info.Counts
	require.Equal(w, c.Fed, c.Waiting+c.Running+c.Finished(), "Waiting + Running + Finished = Fed in %+v", c)
	for _, n := range []int64{c.Waiting, c.Running, c.OK, c.Failed, c.Cancelled} {
		require.GreaterOrEqual(w, n, int64(0), "%+v", c)
	}
	if info.Phase == batch.Open {
		require.EqualValues(w, -1, c.Total)
	} else {
		require.Equal(w, c.Fed, c.Total)
	}
	require.Equal(w, info.Phase == batch.Done, !info.DoneAt.IsZero())
	if id.Stage() != batch.StagePlan { // a planner is kept as long as its batch
		require.Equal(w, info.Phase == batch.Done, !info.ExpiresAt.IsZero())
	}
	return info
}

func (w *world) counts(id batch.ID) batch.Counts {
	w.Helper()
	return w.check(id).Counts
}

// keys lists all keys with the batch's ID in their name, sorted.
func (w *world) keys(id batch.ID) []string {
	w.Helper()
	var out []string
	it := w.raw.Scan(w.Context(), 0, "*"+string(id)+"*", 1000).Iterator()
	for it.Next(w.Context()) {
		out = append(out, it.Val())
	}
	require.NoError(w, it.Err())
	slices.Sort(out)
	return out
}

// left lists all remains of the batch: keys and entries of global lists.
func (w *world) left(id batch.ID) []string {
	w.Helper()
	out := w.keys(id)
	listed, err := w.raw.ZRange(w.Context(), "ba:batches", 0, -1).Result()
	require.NoError(w, err)
	active, err := w.store.Active(w.Context())
	require.NoError(w, err)
	if slices.Contains(listed, string(id)) {
		out = append(out, "an entry of ba:batches")
	}
	if slices.Contains(active, id) {
		out = append(out, "an entry of ba:active")
	}
	return out
}

// results reads all results as index -> status, and requires at most one per index.
func (w *world) results(id batch.ID) map[int64]batch.Status {
	w.Helper()
	entries, err := w.store.Results(w.Context(), id, 0, 10_000)
	require.NoError(w, err)
	out := map[int64]batch.Status{}
	for _, e := range entries {
		require.NotContains(w, out, e.Index, "I2: job %d has two results", e.Index)
		out[e.Index] = e.Status
		var r batch.Result
		require.NoError(w, json.Unmarshal(e.Line, &r))
		require.Equal(w, e.Index, r.Index)
		require.Equal(w, e.Status, r.Status)
	}
	return out
}

func indexes(jobs []statestore.Claimed) []int64 {
	out := make([]int64, len(jobs))
	for i, j := range jobs {
		out[i] = j.Lease.Job.Index
	}
	return out
}

func leases(jobs []statestore.Claimed) []batch.Lease {
	out := make([]batch.Lease, len(jobs))
	for i, j := range jobs {
		out[i] = j.Lease
	}
	return out
}

func turns(c statestore.Claimed) []string {
	out := make([]string, len(c.Journal))
	for i, t := range c.Journal {
		out[i] = string(t)
	}
	return out
}
