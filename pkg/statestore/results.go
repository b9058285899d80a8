package statestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Entry is one committed result as it stands in the results stream.
type Entry struct {
	Cursor int64 // position in the stream, from 1; grows, with gaps where a result was taken back by retry
	Index  int64
	Status batch.Status
	Line   []byte // JSON of batch.Result, without a newline
}

// Results reads up to n results after the cursor, in the order in which they were committed. Repeatable.
func (s *Store) Results(ctx context.Context, id batch.ID, after int64, n int) ([]Entry, error) {
	msgs, err := s.cmd.XRangeN(ctx, keyResults(id), cursorID(after+1), "+", int64(n)).Result()
	if err != nil {
		return nil, classify("read results of batch "+string(id), err)
	}
	return entries(msgs), nil
}

// Result reads the one result at a cursor, and nil if it was taken back or trimmed. Repeatable.
func (s *Store) Result(ctx context.Context, id batch.ID, cursor int64) (*Entry, error) {
	msgs, err := s.cmd.XRangeN(ctx, keyResults(id), cursorID(cursor), cursorID(cursor), 1).Result()
	if err != nil {
		return nil, classify(fmt.Sprintf("read result %d of batch %s", cursor, id), err)
	}
	if len(msgs) == 0 {
		return nil, nil
	}
	return &entries(msgs)[0], nil
}

// NewestResults reads the last n results, in the order in which they were committed. Repeatable.
func (s *Store) NewestResults(ctx context.Context, id batch.ID, n int) ([]Entry, error) {
	msgs, err := s.cmd.XRevRangeN(ctx, keyResults(id), "+", "-", int64(n)).Result()
	if err != nil {
		return nil, classify("read the last results of batch "+string(id), err)
	}
	slices.Reverse(msgs)
	return entries(msgs), nil
}

// ResultsAt reads the results at cursors, in their order, and nil for one that was taken back or trimmed. It is one round
// trip, or one for each cursor if its user may only read: Redis takes every script for a write. Repeatable.
func (s *Store) ResultsAt(ctx context.Context, id batch.ID, cursors []int64) ([]*Entry, error) {
	args := make([]any, len(cursors))
	for i, c := range cursors {
		args[i] = c
	}
	v, err := s.run(ctx, fmt.Sprintf("read %d results of batch %s", len(cursors), id), s.scripts.at, []string{keyResults(id)}, args...)
	out := make([]*Entry, len(cursors))
	if forbidden(err) {
		for i, c := range cursors {
			if out[i], err = s.Result(ctx, id, c); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for i, c := range cursors {
		if r := (reply{v}).at(i); len(r.list()) > 0 {
			out[i] = &Entry{Cursor: c, Index: r.at(0).num(), Status: batch.Status(r.at(1).str()), Line: []byte(r.at(2).str())}
		}
	}
	return out, nil
}

// AwaitResults is Results that waits up to wait for the first one. Cancelling ctx may take as long as wait to be
// noticed.
func (s *Store) AwaitResults(ctx context.Context, id batch.ID, after int64, n int, wait time.Duration) ([]Entry, error) {
	streams, err := s.blocking.XRead(ctx, &redis.XReadArgs{
		Streams: []string{keyResults(id), cursorID(after)}, Count: int64(n), Block: atLeastOneMS(wait),
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, classify("wait for results of batch "+string(id), err)
	}
	return entries(streams[0].Messages), nil
}

// atLeastOneMS keeps a wait from becoming BLOCK 0, which is for ever.
func atLeastOneMS(d time.Duration) time.Duration { return max(d, time.Millisecond) }

// Timeline names the run of the server that holds the results of a batch. A restart and a failover make another one, and what
// they forget is committed again: a cursor of one timeline says nothing about results of another. "" if the server does not
// tell. Repeatable.
func (s *Store) Timeline(ctx context.Context, id batch.ID) (string, error) {
	op := "ask for the timeline of batch " + string(id)
	conn, _, err := s.connectionOf(ctx, keyResults(id))
	if err != nil {
		return "", classify(op, err)
	}
	defer conn.Close()
	timeline, err := timelineOf(ctx, conn)
	return timeline, classify(op, err)
}

// timelineOf takes both of what a restart and what a promotion changes.
func timelineOf(ctx context.Context, conn *redis.Conn) (string, error) {
	info, err := sections(ctx, conn, "server", "replication")
	if answer, ok := errors.AsType[redis.Error](err); ok && !notNow(answer.Error()) {
		return "", nil // a server without these sections
	}
	return info["run_id"] + info["master_replid"], err
}

// TrimResults drops the results up to and including the cursor, which was read in that timeline. In another timeline it
// drops nothing: other results may stand there. Repeatable.
func (s *Store) TrimResults(ctx context.Context, id batch.ID, upTo int64, timeline string) error {
	op := "trim results of batch " + string(id)
	// Asked and told on one connection, so that both are of one server.
	conn, _, err := s.connectionOf(ctx, keyResults(id))
	if err != nil {
		return classify(op, err)
	}
	defer conn.Close()
	switch now, err := timelineOf(ctx, conn); {
	case err != nil:
		return classify(op, err)
	case now != timeline:
		return nil
	}
	return classify(op, conn.XTrimMinID(ctx, keyResults(id), cursorID(upTo+1)).Err())
}

func cursorID(n int64) string { return strconv.FormatInt(n, 10) + "-0" }

func entries(msgs []redis.XMessage) []Entry {
	out := make([]Entry, 0, len(msgs))
	for _, m := range msgs {
		seq, _, _ := strings.Cut(m.ID, "-")
		e := Entry{Status: batch.Status(text(m.Values["s"])), Line: []byte(text(m.Values["r"]))}
		e.Cursor, _ = strconv.ParseInt(seq, 10, 64)
		e.Index, _ = strconv.ParseInt(text(m.Values["i"]), 10, 64)
		out = append(out, e)
	}
	return out
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
