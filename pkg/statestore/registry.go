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

// Register writes a worker's heartbeat record. The record vanishes when no other follows within keep; that is what
// people see of a dead worker and decides nothing. Repeatable.
func (s *Store) Register(ctx context.Context, w batch.WorkerRecord, keep time.Duration) error {
	op := "register worker " + w.ID
	now, err := s.cmd.Time(ctx).Result()
	if err != nil {
		return classify(op, err)
	}
	w.SeenAt = now.UTC()
	record, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("%s: encode its record: %w", op, err)
	}
	_, err = s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, keyWorker(w.Consumer), record, keep)
		p.ZAdd(ctx, keyWorkers, redis.Z{Score: float64(now.UnixMilli()), Member: w.Consumer})
		return nil
	})
	return classify(op, err)
}

// Unregister drops a worker's record when it leaves. Repeatable.
func (s *Store) Unregister(ctx context.Context, consumer string) error {
	_, err := s.cmd.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, keyWorker(consumer))
		p.ZRem(ctx, keyWorkers, consumer)
		return nil
	})
	return classify("unregister worker "+consumer, err)
}

// Workers lists the workers that are alive, by ID, and forgets the others, if its user may write. Repeatable.
func (s *Store) Workers(ctx context.Context) ([]batch.WorkerRecord, error) {
	op := "list workers"
	names, err := s.cmd.ZRange(ctx, keyWorkers, 0, -1).Result()
	if err != nil {
		return nil, classify(op, err)
	}
	var out []batch.WorkerRecord
	for _, name := range names {
		v, err := s.cmd.Get(ctx, keyWorker(name)).Bytes()
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
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b batch.WorkerRecord) int {
		return strings.Compare(a.ID+"\x00"+a.Consumer, b.ID+"\x00"+b.Consumer)
	})
	return out, nil
}
