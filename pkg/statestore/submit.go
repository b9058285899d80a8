package statestore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// The limits of a chunk of jobs. One script call adds a chunk, so they limit how long it blocks Redis.
const (
	MaxFeedJobs  = 500
	MaxFeedBytes = 1 << 20
)

// MaxRest is the most jobs of a group that a claim parks. A longer group is cut.
const MaxRest = 255

// submissionMemory is how long running an interrupted submission again continues it.
const submissionMemory = 30 * 24 * time.Hour

// NewID returns a new batch ID.
func NewID(now time.Time) batch.ID {
	return batch.ID("b_" + strings.ToLower(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String()))
}

// Submission returns the batch of an interrupted submission with this fingerprint, or books id for it. The caller continues
// with the returned ID. The booking lasts until [Store.Announced], at most 30 days. Repeatable.
func (s *Store) Submission(ctx context.Context, fingerprint string, id batch.ID) (batch.ID, error) {
	booked, err := s.book(ctx, "look for an interrupted submission", fingerprint, string(id))
	return batch.ID(booked), err
}

// book stores a value under a key, unless the key has one. It returns the value of the key.
func (s *Store) book(ctx context.Context, op, key, value string) (string, error) {
	v, err := s.callOn(ctx, s.cmd, op, s.scripts.book, []string{keySubmit(key)},
		named{"id": value, "lifetime": submissionMemory.Milliseconds()})
	return reply{v}.str(), err
}

// Once returns the batch that was submitted under a key of the submitter's choice, or books id for it, for 30 days. fingerprint
// identifies the content of the submission. ErrKeyUsed: the key was used with another fingerprint. Repeatable.
func (s *Store) Once(ctx context.Context, key, fingerprint string, id batch.ID) (batch.ID, error) {
	const op = "look for a submission under the same key"
	sum := sha256.Sum256([]byte(key))
	found, err := s.book(ctx, op, "key:"+hex.EncodeToString(sum[:]), string(id)+" "+fingerprint)
	if err != nil {
		return "", err
	}
	booked, what, _ := strings.Cut(found, " ")
	if what != fingerprint {
		return "", fmt.Errorf("%s: %w: it made batch %s", op, ErrKeyUsed, booked)
	}
	return batch.ID(booked), nil
}

// Announced deletes a booking after the user has seen the ID of the batch: submitting the same spec then makes a new batch.
// Before that, it continues the old submission, even if the old one died between its last step and its output. Repeatable.
func (s *Store) Announced(ctx context.Context, fingerprint string, id batch.ID) error {
	_, err := s.callOn(ctx, s.cmd, "end the submission of batch "+string(id), s.scripts.announced, []string{keySubmit(fingerprint)},
		named{"id": string(id)})
	return err
}

// Create makes a batch in phase [batch.Open] and lists it for workers. An existing batch stays unchanged. The reduce
// stage of a batch must be created before the batch, and its plan stage after it. The result of the planner adds the jobs.
// ErrNotFound: the batch that must exist is missing, because a failover lost it. Repeatable.
func (s *Store) Create(ctx context.Context, h batch.Header, plan []byte) error {
	op := "create batch " + string(h.ID)
	header, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("%s: encode its header: %w", op, err)
	}
	// The batch that must exist: the batch of a plan stage, and the reduce stage of a batch.
	needs := ""
	if h.ID.Stage() == batch.StagePlan {
		needs = keyPrefix(h.ID.Whole())
	} else if h.Reduce {
		needs = keyPrefix(h.ID.ForStage(batch.StageReduce))
	}
	fields := []string{}
	for _, stage := range h.Stages() {
		if name, ok := stageNames[stage]; ok {
			fields = append(fields, name, keyPrefix(h.ID.ForStage(stage)))
		}
	}
	if whole := h.ID.Whole(); whole != h.ID {
		fields = append(fields, "of", keyPrefix(whole))
	}
	if h.Budget != (batch.Budget{}) || h.Prices != (batch.Prices{}) {
		fields = append(fields, "cap_tokens", decimal(h.Budget.Tokens), "cap_usd", amount(h.Budget.USD),
			"price_prompt", amount(h.Prices.Prompt), "price_cached", amount(h.Prices.Cached), "price_completion", amount(h.Prices.Completion))
	}
	v, err := s.call(ctx, op, s.scripts.create, h.ID, named{
		"attempts": max(h.MaxAttempts, 1), "ttl": h.TTL.Milliseconds(), "needs": needs, "fields": fields,
	}, header, plan)
	if err != nil {
		return err
	}
	if (reply{v}).num() < 0 {
		return fmt.Errorf("%s: the batch that it belongs to must be created first: %w", op, ErrNotFound)
	}
	created, err := s.cmd.HGet(ctx, keyMeta(h.ID), "created").Float64()
	if err != nil {
		return classify(op, err)
	}
	_, err = s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, keyBatches, redis.Z{Score: created, Member: string(h.ID)})
		p.SAdd(ctx, keyActive, string(h.ID))
		return nil
	})
	return classify(op, err)
}

// Feed adds payloads as the jobs from, from+1, … and skips existing jobs. It returns how many jobs the batch has. At most
// MaxFeedJobs payloads. ErrConflict: the batch is not open, or from leaves a gap. Repeatable.
func (s *Store) Feed(ctx context.Context, id batch.ID, from int64, payloads [][]byte) (fed int64, err error) {
	return s.feed(ctx, id, from, nil, nil, payloads)
}

// FeedSorted is Feed for jobs in another order than that of their indexes: the job at position from+n of the batch has indexes[n]. A
// batch has each index from 0 to its total once, and every feeder of it feeds the same jobs in the same positions. rests[n] is how
// many of the jobs after it share its prefix, at most MaxRest; nil means that no job does. A worker that claims the job of a group keeps
// the rest of the group parked for itself, see [Store.Claim].
func (s *Store) FeedSorted(
	ctx context.Context, id batch.ID, from int64, indexes, rests []int64, payloads [][]byte,
) (fed int64, err error) {
	if isRange(indexes, from) {
		indexes = nil
	}
	if !slices.ContainsFunc(rests, func(n int64) bool { return n > 0 }) {
		rests = nil
	}
	return s.feed(ctx, id, from, indexes, rests, payloads)
}

// isRange reports whether indexes are from, from+1, ….
func isRange(indexes []int64, from int64) bool {
	for n, index := range indexes {
		if index != from+int64(n) {
			return false
		}
	}
	return true
}

// feed adds payloads in the positions from, from+1, …. indexes are theirs; nil if they are the positions. rests are theirs, too; nil
// if there are no groups.
func (s *Store) feed(ctx context.Context, id batch.ID, from int64, indexes, rests []int64, payloads [][]byte) (fed int64, err error) {
	op := fmt.Sprintf("feed jobs %d to %d of batch %s", from, from+int64(len(payloads))-1, id)
	args := named{"from": from}
	if indexes != nil {
		args["indexes"] = decimals(indexes)
	}
	if rests != nil {
		args["rests"] = decimals(rests)
	}
	v, err := s.call(ctx, op, s.scripts.feed, id, args, payloads...)
	if err != nil {
		return 0, err
	}
	r := reply{v}
	phase, fed := batch.Phase(r.at(0).str()), r.at(1).num()
	switch {
	case phase == "":
		return 0, fmt.Errorf("%s: %w", op, ErrNotFound)
	case phase != batch.Open:
		return fed, fmt.Errorf("%s: %w: it is %s", op, ErrConflict, phase)
	case from > fed:
		return fed, fmt.Errorf("%s: %w: jobs from %d on are missing", op, ErrConflict, fed)
	}
	return fed, nil
}

// Seal marks the batch as complete; total is the number of its jobs. It returns the phase, which is [batch.Done] if every job
// has already ended. ErrConflict: another number was fed, or the batch was cancelled. Repeatable.
func (s *Store) Seal(ctx context.Context, id batch.ID, total int64) (batch.Phase, error) {
	op := "seal batch " + string(id)
	v, err := s.call(ctx, op, s.scripts.seal, id, named{"total": total})
	if err != nil {
		return "", err
	}
	phase, fed := batch.Phase(reply{v}.at(0).str()), reply{v}.at(1).num()
	switch {
	case phase == "":
		return "", fmt.Errorf("%s: %w", op, ErrNotFound)
	case fed != total:
		return phase, fmt.Errorf("%s with %d jobs: %w: it has %d", op, total, ErrConflict, fed)
	case phase == batch.Cancelling:
		return phase, fmt.Errorf("%s: %w: it was cancelled", op, ErrConflict)
	}
	return phase, nil
}
