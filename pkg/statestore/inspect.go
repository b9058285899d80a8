package statestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// JobView is the state of one job in Redis, for people. A successful job keeps only its result.
type JobView struct {
	Job      batch.Job
	Finished bool     // it has a result
	Payload  []byte   // its input as fed; nil if it succeeded, was cancelled, was retried, or waits in another place than its index
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
	n, err := fed.Int64()
	// A batch that is fed in another order has some indexes above the number of its jobs.
	seen := lease.Val() != "" || failed.Val() != "" || finished.Val() == 1
	if err != nil || job.Index >= n && !seen {
		return v, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	v.Finished = finished.Val() == 1
	v.Attempt, v.Holder, _ = batch.ParseFence(lease.Val())
	if seq, payload, ok := strings.Cut(failed.Val(), " "); ok {
		v.Failed, _ = strconv.ParseInt(seq, 10, 64)
		v.Payload = []byte(payload)
	}
	if payload, ok := payloadOf(entry.Val(), index); ok {
		v.Payload = payload
	} else if v.Holder != "" {
		v.Payload, err = s.held(ctx, op, job, v.Holder)
		if err != nil {
			return v, err
		}
	}
	for _, line := range lines.Val()[:min(len(lines.Val()), max(turns, 0))] {
		v.Turns = append(v.Turns, []byte(line))
	}
	v.Journal = int(journal.Val())
	return v, nil
}

const (
	maxHeld  = 1024 // entries of a worker that are looked through for a job
	heldOnce = 16   // of them that are read at a time
)

// held returns the payload of a job that is not in the place of its index, from the entries that its worker holds. It is nil if it is not
// among the first of them.
func (s *Store) held(ctx context.Context, op string, job batch.Job, holder string) ([]byte, error) {
	pending, err := s.cmd.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: keyJobs(job.Batch), Group: group, Start: "-", End: "+", Count: maxHeld, Consumer: holder,
	}).Result()
	if err != nil {
		if redis.HasErrorPrefix(err, "NOGROUP") {
			return nil, nil // the batch is done meanwhile
		}
		return nil, classify(op, err)
	}
	for chunk := range slices.Chunk(pending, heldOnce) {
		entries := make([]*redis.XMessageSliceCmd, len(chunk))
		err := s.together(ctx, func(p redis.Pipeliner) error {
			for i, e := range chunk {
				entries[i] = p.XRangeN(ctx, keyJobs(job.Batch), e.ID, e.ID, 1)
			}
			return nil
		})
		if err != nil {
			return nil, classify(op, err)
		}
		for _, e := range entries {
			if payload, ok := payloadOf(e.Val(), strconv.FormatInt(job.Index, 10)); ok {
				return payload, nil
			}
		}
	}
	return nil, nil
}

// payloadOf returns the payload of an entry, if it is that of the job with this index.
func payloadOf(entry []redis.XMessage, index string) ([]byte, bool) {
	if len(entry) != 1 || text(entry[0].Values["i"]) != index {
		return nil, false
	}
	return []byte(text(entry[0].Values["p"])), true
}
