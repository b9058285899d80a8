package statestore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// EventKind is the kind of change of a batch.
type EventKind string

// The kinds of events.
const (
	JobsWaiting    EventKind = "jobs"   // jobs can be claimed
	BatchCancelled EventKind = "cancel" // running agents should stop
)

// Event is one ring of the doorbell. It is a hint: workers check the batches every few seconds anyway, so a lost event costs
// only time.
type Event struct {
	Kind  EventKind
	Batch batch.ID
}

// eventsKept is the length of the doorbell stream. A reader that is further behind checks all batches anyway.
const eventsKept = 1000

// Ring sends an event to all workers.
func (s *Store) Ring(ctx context.Context, e Event) error {
	return classify("ring for batch "+string(e.Batch), s.cmd.XAdd(ctx, &redis.XAddArgs{
		Stream: keyEvents, MaxLen: eventsKept, Approx: true, Values: []any{"kind", string(e.Kind), "batch", string(e.Batch)},
	}).Err())
}

// EventPosition returns the current end of the event stream: the first position for [Store.Listen]. Repeatable.
func (s *Store) EventPosition(ctx context.Context) (string, error) {
	last, err := s.cmd.XRevRangeN(ctx, keyEvents, "+", "-", 1).Result()
	if err != nil {
		return "", classify("read the end of the event stream", err)
	}
	if len(last) == 0 {
		return "0-0", nil
	}
	return last[0].ID, nil
}

// Listen waits up to wait for events after the position, and returns the next position. It may notice the end of ctx only after
// wait.
func (s *Store) Listen(ctx context.Context, after string, wait time.Duration) ([]Event, string, error) {
	streams, err := s.blocking.XRead(ctx, &redis.XReadArgs{
		Streams: []string{keyEvents, after}, Count: eventsKept, Block: atLeastOneMS(wait),
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, after, nil
	}
	if err != nil {
		return nil, after, classify("listen for events", err)
	}
	var out []Event
	for _, m := range streams[0].Messages {
		out = append(out, Event{Kind: EventKind(text(m.Values["kind"])), Batch: batch.ID(text(m.Values["batch"]))})
		after = m.ID
	}
	return out, after, nil
}
