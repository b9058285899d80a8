package statestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// CallRef is the position of a call with side effects in its job: the turn, 1-based, and the call's index within the turn, from
// 0.
type CallRef struct{ Turn, Call int }

// String returns the position as keys and users write it.
func (p CallRef) String() string { return fmt.Sprintf("%d.%d", p.Turn, p.Call) }

// ParseCallRef is the inverse of String.
func ParseCallRef(s string) (CallRef, error) {
	var p CallRef
	if _, err := fmt.Sscanf(s, "%d.%d", &p.Turn, &p.Call); err != nil || p.String() != s {
		return CallRef{}, fmt.Errorf("%q is not the place of a call; one looks like 2.0, the turn and the call's number in it", s)
	}
	return p, nil
}

// Intend records that the call is about to run, and returns the record of an earlier attempt at the same position. known is false
// if there is no such record. outcome is nil if the record has no outcome. ErrFenced. Repeatable.
func (s *Store) Intend(ctx context.Context, l batch.Lease, p CallRef, intent []byte) (known bool, outcome []byte, err error) {
	op := fmt.Sprintf("record call %s of %s", p, l)
	v, err := s.call(ctx, op, s.scripts.intend, l.Job.Batch,
		named{"index": decimal(l.Job.Index), "fence": l.Fence(), "call": p.String()}, intent)
	if err != nil {
		return false, nil, err
	}
	r := reply{v}
	switch r.at(0).num() {
	case -1:
		return false, nil, fmt.Errorf("%s: %w", op, ErrFenced)
	case 1:
		return false, nil, nil
	}
	if text := r.at(1).str(); text != "" {
		outcome = []byte(text)
	}
	return true, outcome, nil
}

// Settle records the outcome of the call. ErrFenced. Repeatable.
func (s *Store) Settle(ctx context.Context, l batch.Lease, p CallRef, outcome []byte) error {
	return s.note(ctx, fmt.Sprintf("record the outcome of call %s of %s", p, l), l, "o"+p.String(), outcome)
}

// Park records that the outcome of the call is unknown, so that [Store.Resolve] must set it. ErrFenced. Repeatable.
func (s *Store) Park(ctx context.Context, l batch.Lease, p CallRef) error {
	return s.note(ctx, fmt.Sprintf("park call %s of %s", p, l), l, "a"+p.String(), []byte("1"))
}

// OpenTurn records a turn whose calls with side effects are about to run. ErrFenced. Repeatable.
func (s *Store) OpenTurn(ctx context.Context, l batch.Lease, turn int, data []byte) error {
	return s.note(ctx, fmt.Sprintf("open turn %d of %s", turn, l), l, fmt.Sprint("t", turn), data)
}

// OpenedTurn returns the turn that OpenTurn recorded, or nil. Repeatable.
func (s *Store) OpenedTurn(ctx context.Context, l batch.Lease, turn int) ([]byte, error) {
	v, err := s.cmd.HGet(ctx, keyEffects(l.Job.Batch, l.Job.Index), fmt.Sprint("t", turn)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, classify(fmt.Sprintf("read whether turn %d of %s was opened", turn, l), err)
}

func (s *Store) note(ctx context.Context, op string, l batch.Lease, field string, value []byte) error {
	v, err := s.call(ctx, op, s.scripts.note, l.Job.Batch,
		named{"index": decimal(l.Job.Index), "fence": l.Fence(), "field": field}, value)
	if err != nil {
		return err
	}
	if (reply{v}).num() < 0 {
		return fmt.Errorf("%s: %w", op, ErrFenced)
	}
	return nil
}

// Asked is a parked call: its outcome is unknown, and the user is asked for it.
type Asked struct {
	Call   CallRef
	Intent json.RawMessage // the argument of Intend
}

// Asked lists the parked calls of a job, in order. Repeatable.
func (s *Store) Asked(ctx context.Context, job batch.Job) ([]Asked, error) {
	fields, err := s.cmd.HGetAll(ctx, keyEffects(job.Batch, job.Index)).Result()
	if err != nil {
		return nil, classify("read the parked calls of "+job.String(), err)
	}
	var out []Asked
	for field := range fields {
		place, ok := strings.CutPrefix(field, "a")
		if !ok {
			continue
		}
		p, err := ParseCallRef(place)
		if err != nil {
			return nil, err
		}
		_, intent, _ := strings.Cut(fields["i"+place], " ")
		out = append(out, Asked{Call: p, Intent: json.RawMessage(intent)})
	}
	slices.SortFunc(out, func(a, b Asked) int {
		if a.Call.Turn != b.Call.Turn {
			return a.Call.Turn - b.Call.Turn
		}
		return a.Call.Call - b.Call.Call
	})
	return out, nil
}

// Resolve sets the outcome of a parked call of a failed job. Without an outcome the call may run again. It returns the number
// of the job's calls that are still parked. ErrNotAsked: the job has not failed, or the call is not parked. Repeatable: the
// second time, the call is no longer parked.
func (s *Store) Resolve(ctx context.Context, job batch.Job, p CallRef, outcome []byte) (left int, err error) {
	op := fmt.Sprintf("resolve call %s of %s", p, job)
	v, err := s.call(ctx, op, s.scripts.resolve, job.Batch, named{"index": decimal(job.Index), "call": p.String()}, outcome)
	if err != nil {
		return 0, err
	}
	r := reply{v}
	if r.at(0).num() != 1 {
		return 0, fmt.Errorf("%s: %w", op, ErrNotAsked)
	}
	return int(r.at(1).num()), nil
}
