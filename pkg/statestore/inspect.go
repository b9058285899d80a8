package statestore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// JobView is the state of one job in Redis, for people. A successful job keeps only its result.
type JobView struct {
	Job      batch.Job
	Finished bool     // it has a result
	Payload  []byte   // its input as fed; nil if it succeeded, was cancelled, or was retried
	Turns    [][]byte // its journal, oldest first, at most the requested number of turns
	Journal  int      // number of turns in the journal
	Holder   string   // consumer name of the worker that holds its lease; "" without a lease
	Attempt  int      // attempt of the lease; 0 without a lease
	Failed   int64    // cursor of its failed result; 0 without one
}

// Inspect reads one job and at most the first turns of its journal. It takes no lease, and the data may be a moment old.
// ErrNotFound: the batch does not exist, or has no such job. Repeatable.
func (s *Store) Inspect(ctx context.Context, job batch.Job, turns int) (JobView, error) {
	op := "look at " + job.String()
	index := strconv.FormatInt(job.Index, 10)
	v := JobView{Job: job}
	var fed, lease, failed *redis.StringCmd
	var finished, journal *redis.IntCmd
	var entry *redis.XMessageSliceCmd
	var lines *redis.StringSliceCmd
	err := s.together(ctx, func(p redis.Pipeliner) error {
		fed = p.HGet(ctx, keyMeta(job.Batch), "fed")
		lease = p.HGet(ctx, keyLease(job.Batch), index)
		failed = p.HGet(ctx, keyFailed(job.Batch), index)
		finished = p.GetBit(ctx, keyFinished(job.Batch), job.Index)
		entry = p.XRangeN(ctx, keyJobs(job.Batch), cursorID(job.Index+1), cursorID(job.Index+1), 1)
		lines = p.LRange(ctx, keyJournal(job.Batch, job.Index), 0, int64(max(turns, 1))-1)
		journal = p.LLen(ctx, keyJournal(job.Batch, job.Index))
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return v, classify(op, err)
	}
	if n, err := fed.Int64(); err != nil || job.Index >= n {
		return v, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	v.Finished = finished.Val() == 1
	if parts := strings.SplitN(lease.Val(), "|", 3); len(parts) == 3 && parts[2] != "-" {
		v.Attempt, _ = strconv.Atoi(parts[1])
		v.Holder = parts[2]
	}
	if seq, payload, ok := strings.Cut(failed.Val(), " "); ok {
		v.Failed, _ = strconv.ParseInt(seq, 10, 64)
		v.Payload = []byte(payload)
	}
	if msgs := entry.Val(); len(msgs) == 1 {
		v.Payload = []byte(text(msgs[0].Values["p"]))
	}
	for _, line := range lines.Val()[:min(len(lines.Val()), max(turns, 0))] {
		v.Turns = append(v.Turns, []byte(line))
	}
	v.Journal = int(journal.Val())
	return v, nil
}
