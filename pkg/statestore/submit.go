package statestore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// A chunk of jobs is one script call; these bound how long it keeps Redis busy.
const (
	MaxFeedJobs  = 500
	MaxFeedBytes = 1 << 20
)

// submissionMemory is how long an interrupted submission can be continued by running it again.
const submissionMemory = 30 * 24 * time.Hour

// NewID makes a batch ID.
func NewID(now time.Time) batch.ID {
	return batch.ID("b_" + strings.ToLower(ulid.MustNew(ulid.Timestamp(now), rand.Reader).String()))
}

// Submission finds the batch that an interrupted submission with this fingerprint began, or books id for it. It
// returns the ID to go on with. The booking lasts until [Store.Announced]. Repeatable.
func (s *Store) Submission(ctx context.Context, fingerprint string, id batch.ID) (batch.ID, error) {
	v, err := s.run(ctx, "look for an interrupted submission", s.scripts.book, []string{keySubmit(fingerprint)},
		string(id), submissionMemory.Milliseconds())
	if err != nil {
		return "", err
	}
	return batch.ID(reply{v}.str()), nil
}

// Once finds the batch that was submitted under a key which its submitter chose, or books id for it, for 30 days.
// fingerprint says what is submitted; ErrKeyUsed: something else was, under the same key. Repeatable.
func (s *Store) Once(ctx context.Context, key, fingerprint string, id batch.ID) (batch.ID, error) {
	const op = "look for a submission under the same key"
	sum := sha256.Sum256([]byte(key))
	v, err := s.run(ctx, op, s.scripts.book, []string{keySubmit("key:" + hex.EncodeToString(sum[:]))},
		string(id)+" "+fingerprint, submissionMemory.Milliseconds())
	if err != nil {
		return "", err
	}
	booked, what, _ := strings.Cut(reply{v}.str(), " ")
	if what != fingerprint {
		return "", fmt.Errorf("%s: %w: it made batch %s", op, ErrKeyUsed, booked)
	}
	return batch.ID(booked), nil
}

// Announced forgets a booking once somebody has been told the ID of the batch: the same spec then makes a new one. Until
// then a submission that died is gone on with, also if it died between its last step and its last word. Repeatable.
func (s *Store) Announced(ctx context.Context, fingerprint string, id batch.ID) error {
	_, err := s.run(ctx, "end the submission of batch "+string(id), s.scripts.announced, []string{keySubmit(fingerprint)}, string(id))
	return err
}

// Create makes a batch in phase [batch.Open] and lists it for workers. A batch that is there already is left as it
// is. One that is reduced needs its reducer to be created before, and one that is planned is created before its planner: it gets
// its jobs when that is finished. ErrNotFound if the one that has to be there before is not; it was, and a failover forgot it.
// Repeatable.
func (s *Store) Create(ctx context.Context, h batch.Header, plan []byte) error {
	op := "create batch " + string(h.ID)
	header, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("%s: encode its header: %w", op, err)
	}
	keys := []string{keyMeta(h.ID), keyPlan(h.ID), keyJobs(h.ID)}
	before := "" // what has to be there
	if of, plans := h.ID.Plans(); plans {
		before = batchKey(of, "")
	} else if h.Reduce {
		before = batchKey(h.ID.Reducer(), "")
	}
	args := []any{header, plan, max(h.MaxAttempts, 1), h.TTL.Milliseconds(), before}
	if h.Reduce {
		args = append(args, "reduce", batchKey(h.ID.Reducer(), ""))
	}
	if h.Plan {
		args = append(args, "planner", batchKey(h.ID.Planner(), ""))
	}
	if whole := h.ID.Whole(); whole != h.ID {
		args = append(args, "of", batchKey(whole, ""))
	}
	if h.Budget != (batch.Budget{}) || h.Prices != (batch.Prices{}) {
		args = append(args, "cap_tokens", h.Budget.Tokens, "cap_usd", h.Budget.USD,
			"price_prompt", h.Prices.Prompt, "price_cached", h.Prices.Cached, "price_completion", h.Prices.Completion)
	}
	v, err := s.run(ctx, op, s.scripts.create, keys, args...)
	if err != nil {
		return err
	}
	if (reply{v}).num() < 0 {
		return fmt.Errorf("%s: what it belongs to has to be created before: %w", op, ErrNotFound)
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

// Feed adds payloads as the jobs from, from+1, …; those that are there already are skipped. It returns how many jobs
// the batch has. At most MaxFeedJobs payloads. ErrConflict: the batch is not open, or from leaves a gap. Repeatable.
func (s *Store) Feed(ctx context.Context, id batch.ID, from int64, payloads [][]byte) (fed int64, err error) {
	return s.feed(ctx, id, from, "", payloads)
}

// FeedSorted is Feed for jobs in another order than that of their indexes: the job at place from+n of the batch has indexes[n]. A
// batch has each index from 0 to its total once, and every feeder of it feeds the same jobs in the same places.
func (s *Store) FeedSorted(ctx context.Context, id batch.ID, from int64, indexes []int64, payloads [][]byte) (fed int64, err error) {
	inOrder := true
	var list []byte
	for n, index := range indexes {
		inOrder = inOrder && index == from+int64(n)
		list = append(strconv.AppendInt(list, index, 10), ' ')
	}
	if inOrder {
		list = nil
	}
	return s.feed(ctx, id, from, string(list), payloads)
}

// feed adds payloads in the places from, from+1, …. indexes are theirs, with a space after each; "" if they are the places.
func (s *Store) feed(ctx context.Context, id batch.ID, from int64, indexes string, payloads [][]byte) (fed int64, err error) {
	op := fmt.Sprintf("feed jobs %d to %d of batch %s", from, from+int64(len(payloads))-1, id)
	args := make([]any, 0, len(payloads)+2)
	args = append(args, from, indexes)
	for _, p := range payloads {
		args = append(args, p)
	}
	v, err := s.run(ctx, op, s.scripts.feed, []string{keyMeta(id), keyJobs(id)}, args...)
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

// Seal says that all inputs are in; total is how many there are. It returns the phase, which is [batch.Done] if
// every job has ended already. ErrConflict: another number was fed, or the batch was cancelled. Repeatable.
func (s *Store) Seal(ctx context.Context, id batch.ID, total int64) (batch.Phase, error) {
	op := "seal batch " + string(id)
	v, err := s.run(ctx, op, s.scripts.seal, allKeys(id), total)
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
