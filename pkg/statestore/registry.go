package statestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// lostKept is how long a lost worker stays listed.
const lostKept = 10 * time.Minute

// Register writes a worker's heartbeat record. Without another record within due, by Redis' clock, the worker is listed as
// lost. That is information for people and does not affect its leases. Repeatable.
func (s *Store) Register(ctx context.Context, w batch.WorkerRecord, due time.Duration) error {
	op := "register worker " + w.ID
	now, err := s.cmd.Time(ctx).Result()
	if err != nil {
		return classify(op, err)
	}
	w.SeenAt, w.DueAt = now.UTC(), now.Add(due).UTC()
	record, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("%s: encode its record: %w", op, err)
	}
	_, err = s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, keyWorker(w.Consumer), record, due+lostKept)
		p.ZAdd(ctx, keyWorkers, redis.Z{Score: float64(now.UnixMilli()), Member: w.Consumer})
		return nil
	})
	return classify(op, err)
}

// Unregister deletes the record of a worker that ends. Repeatable.
func (s *Store) Unregister(ctx context.Context, consumer string) error {
	_, err := s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, keyWorker(consumer))
		p.ZRem(ctx, keyWorkers, consumer)
		return nil
	})
	return classify("unregister worker "+consumer, err)
}

// Workers lists the workers by ID, including those lost in the last ten minutes. It omits a lost process if its worker was
// started again. It removes expired names if its user may write. Repeatable.
func (s *Store) Workers(ctx context.Context) ([]batch.WorkerRecord, error) {
	op := "list workers"
	names, err := s.cmd.ZRange(ctx, keyWorkers, 0, -1).Result()
	if err != nil {
		return nil, classify(op, err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	now, err := s.cmd.Time(ctx).Result()
	if err != nil {
		return nil, classify(op, err)
	}
	records := make([]*redis.StringCmd, len(names))
	_, err = s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			records[i] = p.Get(ctx, keyWorker(name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, classify(op, err)
	}
	var out []batch.WorkerRecord
	live := map[string]bool{}
	for i, name := range names {
		v, err := records[i].Bytes()
		if errors.Is(err, redis.Nil) {
			if err := s.cmd.ZRem(ctx, keyWorkers, name).Err(); err != nil && !forbidden(err) {
				return nil, classify(op, err)
			}
			continue
		}
		if err != nil {
			return nil, classify(op, err)
		}
		var w batch.WorkerRecord
		if err := json.Unmarshal(v, &w); err != nil {
			return nil, fmt.Errorf("%s: decode the record of %s: %w", op, name, err)
		}
		w.Lost = !w.DueAt.IsZero() && now.After(w.DueAt)
		w.State, w.StateReason = batch.StateOf(w)
		if w.LiveAgents > 0 {
			w.AgentAge += max(0, now.Sub(w.SeenAt).Seconds())
		}
		live[w.ID] = live[w.ID] || !w.Lost
		out = append(out, w)
	}
	out = slices.DeleteFunc(out, func(w batch.WorkerRecord) bool { return w.Lost && live[w.ID] })
	slices.SortFunc(out, func(a, b batch.WorkerRecord) int {
		return strings.Compare(a.ID+"\x00"+a.Consumer, b.ID+"\x00"+b.Consumer)
	})
	return out, nil
}
