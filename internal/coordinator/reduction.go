package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// followReducer brings the one result of a reduction to a sink, once the batch that it reduces is done.
func followReducer(ctx context.Context, s Source, id batch.ID, to sink, p patience) error {
	c := &collector{store: s, id: id.Reducer(), sink: to, patience: p}
	return c.follow(ctx)
}

// summarySink is where the result of a reduction goes: to standard output, as a line of its own behind the results, or
// alone if those go to a file.
type summarySink struct {
	stream
	last *batch.Result // the one that counts; nil if none came
}

// newSummarySink writes in the format of the results if they go to standard output, too.
func newSummarySink(w io.Writer, results *stream) *summarySink {
	s := &summarySink{stream: stream{w: w, format: jsonl{}}}
	if results != nil {
		s.stream = stream{w: w, format: results.format, begun: true}
	}
	return s
}

func (s *summarySink) Write(results []batch.Result, lines [][]byte) error {
	s.last = &results[len(results)-1]
	return s.stream.Write(results, lines)
}

// says how the reduction ended.
func (s *summarySink) says(id batch.ID) string {
	switch {
	case s.last == nil:
		return fmt.Sprintf("%s has no result", id.Reducer())
	case s.last.Error != nil:
		return fmt.Sprintf("%s  %s: %s", s.last.Status, s.last.Error.Type, firstLine(s.last.Error.Message, 300))
	}
	u := s.last.Usage
	return fmt.Sprintf("ok   %s   prompt %s (%s cached)   completion %s", plural(int64(s.last.Turns), "model call", "model calls"),
		count(u.PromptTokens), percent(u.CachedTokens, u.PromptTokens), count(u.CompletionTokens))
}

func (s *summarySink) ok() bool { return s.last != nil && s.last.Status == batch.OK }

// beforeBatch does what must be done to a batch's reducer before it is done to the batch. A batch that is a reducer itself
// has none.
func beforeBatch(ctx context.Context, s *statestore.Store, id batch.ID, do func(batch.ID) error) error {
	h, err := s.Header(ctx, id)
	if err != nil || !h.Reduce {
		return nil // the verb itself tells what is wrong with the batch
	}
	if err := do(id.Reducer()); err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return err
	}
	return nil
}
