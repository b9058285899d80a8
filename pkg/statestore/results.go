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

// Entry is one committed result in the results stream.
type Entry struct {
	Cursor int64 // position in the stream, from 1; grows, with gaps where retry took a result back
	Index  int64
	Status batch.Status
	Line   []byte // JSON of batch.Result, without a newline
}

// Results returns up to n results after the cursor, in the order of their commits. Repeatable.
func (s *Store) Results(ctx context.Context, id batch.ID, after int64, n int) ([]Entry, error) {
	msgs, err := s.cmd.XRangeN(ctx, keyResults(id), cursorID(after+1), "+", int64(n)).Result()
	if err != nil {
		return nil, classify("read results of batch "+string(id), err)
	}
	return entries(msgs), nil
}

// Result returns the result at a cursor, or nil if it was taken back or trimmed. Repeatable.
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

// NewestResults returns the last n results, in the order of their commits. Repeatable.
func (s *Store) NewestResults(ctx context.Context, id batch.ID, n int) ([]Entry, error) {
	msgs, err := s.cmd.XRevRangeN(ctx, keyResults(id), "+", "-", int64(n)).Result()
	if err != nil {
		return nil, classify("read the last results of batch "+string(id), err)
	}
	slices.Reverse(msgs)
	return entries(msgs), nil
}

// ResultsAt returns the results at cursors, in the order of cursors, with nil for results that were taken back or trimmed. It is one
// round trip, or one for each cursor if its user may only read, because Redis counts every script as a write. Repeatable.
func (s *Store) ResultsAt(ctx context.Context, id batch.ID, cursors []int64) ([]*Entry, error) {
	v, err := s.call(ctx, fmt.Sprintf("read %d results of batch %s", len(cursors), id), s.scripts.at, id, named{"cursors": decimals(cursors)})
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

// AwaitResults is Results, but waits up to wait for the first result. It may notice the end of ctx only after wait.
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

// atLeastOneMS keeps a wait from becoming BLOCK 0, which has no limit.
func atLeastOneMS(d time.Duration) time.Duration { return max(d, time.Millisecond) }

// Timeline identifies the run of the server that holds the results of a batch. A restart and a failover start a new timeline,
// and results lost by them are committed again. So a cursor of one timeline is meaningless in another. Timeline is empty if the
// server does not report it. Repeatable.
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

// timelineOf combines the two IDs that a restart and a promotion change.
func timelineOf(ctx context.Context, conn connection) (string, error) {
	info, err := sections(ctx, conn, "server", "replication")
	if answer, ok := errors.AsType[redis.Error](err); ok && !notNow(answer.Error()) {
		return "", nil // a server without these sections
	}
	return info["run_id"] + info["master_replid"], err
}

// TrimResults deletes the results up to and including the cursor, which was read in that timeline. In another timeline it
// deletes nothing, because its cursors may denote other results. Repeatable.
func (s *Store) TrimResults(ctx context.Context, id batch.ID, upTo int64, timeline string) error {
	op := "trim results of batch " + string(id)
	// One connection for both commands, so that both reach the same server.
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
