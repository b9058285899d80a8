package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// followStages collects a batch, before it the plan that gave it jobs, and behind it its reduction. A sink that is nil stands for a
// stage that there is not. Who retries failed jobs while the results are reduced makes other results and another reduction of them, and a
// Redis that forgets may make another plan: it returns when all stand.
func (c *collector) followStages(ctx context.Context, planned, summary sink) error {
	for end := (time.Time{}); ; {
		if planned != nil {
			err := followStage(ctx, c.store, c.id.Planner(), planned, c.patience)
			if err != nil && !errors.Is(err, statestore.ErrNotFound) { // else somebody removed it
				return err
			}
		}
		if err := c.follow(ctx); err != nil || planned == nil && summary == nil {
			return err
		}
		info, err := c.info(ctx)
		if err != nil {
			return err
		}
		if at := info.DoneAt; at.IsZero() || !at.Equal(end) {
			end = at // of this end not all may have been read
			continue
		}
		if summary == nil {
			return nil
		}
		if err := followStage(ctx, c.store, c.id.Reducer(), summary, c.patience); err != nil {
			return err
		}
		if info, err = c.info(ctx); err != nil || info.DoneAt.Equal(end) {
			return err
		}
	}
}

// ifStage is a sink for followStages, if there is such a stage.
func ifStage(there bool, s sink) sink {
	if !there {
		return nil
	}
	return s
}

func (c *collector) info(ctx context.Context) (info batch.Info, err error) {
	err = c.patience.do(ctx, func() (err error) {
		info, err = c.store.Info(ctx, c.id)
		return err
	})
	return info, err
}

// followStage brings the one result of a stage to a sink, and returns when the stage is done: a planner before its batch has jobs, a
// reducer once its batch is done.
func followStage(ctx context.Context, s Source, stage batch.ID, to sink, p patience) error {
	c := &collector{store: s, id: stage, sink: to, patience: p}
	return c.follow(ctx)
}

// stageSink is where the result of a stage goes: to standard output, as a line of its own before or behind the results, or
// alone if those go to a file. Another output of its job is another plan or summary, and the last one counts.
type stageSink struct {
	stream
	results *stream       // that go to the same place; nil if they do not
	last    *batch.Result // the one that counts; nil if none came
}

// newStageSink writes in the format of the results if they go to standard output, too.
func newStageSink(w io.Writer, results *stream) *stageSink {
	s := &stageSink{stream: stream{w: w, format: jsonl{}}, results: results}
	if results != nil {
		s.stream = stream{w: w, format: results.format}
	}
	return s
}

func (s *stageSink) Write(results []batch.Result, lines [][]byte) error {
	s.last = &results[len(results)-1]
	if s.results == nil {
		return s.stream.Write(results, lines)
	}
	s.begun = s.results.begun
	err := s.stream.Write(results, lines)
	s.results.begun = s.begun
	return err
}

// says how the stage ended.
func (s *stageSink) says(stage batch.ID) string {
	switch {
	case s.last == nil:
		if _, reduces := stage.Reduces(); reduces {
			return "not run: there was nothing to reduce, or it was cancelled"
		}
		return "not made: it was cancelled or removed"
	case s.last.Error != nil:
		return fmt.Sprintf("%s  %s: %s", s.last.Status, s.last.Error.Type, firstLine(s.last.Error.Message, 300))
	}
	made := ""
	if _, plans := stage.Plans(); plans {
		made = plural(s.items(), "item", "items") + "   "
	}
	u := s.last.Usage
	return fmt.Sprintf("ok   %s%s   prompt %s (%s cached)   completion %s", made, plural(int64(s.last.Turns), "model call", "model calls"),
		count(u.PromptTokens), percent(u.CachedTokens, u.PromptTokens), count(u.CompletionTokens))
}

// items is how many jobs a plan asks for.
func (s *stageSink) items() int64 {
	if !s.ok() {
		return 0
	}
	items, err := (&spec.Plan{}).Items(s.last.Output)
	if err != nil {
		return 0 // the planner's worker found it sound
	}
	return int64(len(items))
}

func (s *stageSink) ok() bool { return s.last != nil && s.last.Status == batch.OK }

// stagesOf are the batches that plan and reduce a batch, "" for those that there are not. A batch that is a stage itself has none, and
// one that is not there neither: what the verb does to that tells so.
func stagesOf(ctx context.Context, s *statestore.Store, id batch.ID, p *patience) (planner, reducer batch.ID, err error) {
	var h batch.Header
	err = p.do(ctx, func() (err error) {
		h, err = s.Header(ctx, id)
		return err
	})
	if errors.Is(err, statestore.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if h.Plan {
		planner = id.Planner()
	}
	if h.Reduce {
		reducer = id.Reducer()
	}
	return planner, reducer, nil
}

// ifThere does something to a stage of a batch, unless there is none, or it is gone.
func ifThere(stage batch.ID, do func(batch.ID) error) error {
	if stage == "" {
		return nil
	}
	if err := do(stage); err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return err
	}
	return nil
}

// Planning is how the plan of a batch stands.
type Planning struct {
	Batch batch.ID     `json:"batch"`
	Phase batch.Phase  `json:"phase"`
	Error *batch.Error `json:"error"` // why there is no plan; nil if there is one, or it is still made
}

// planningOf looks at the planner of a batch; nil if there is none, or it is gone.
func planningOf(ctx context.Context, s Source, h batch.Header) (*Planning, error) {
	if !h.Plan {
		return nil, nil
	}
	info, err := s.Info(ctx, h.ID.Planner())
	if errors.Is(err, statestore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Planning{Batch: info.ID, Phase: info.Phase}
	if info.Counts.Failed+info.Counts.Cancelled == 0 {
		return p, nil // a plan may be long, and nobody asks what is in it
	}
	entries, err := s.Results(ctx, p.Batch, 0, 1)
	if err != nil || len(entries) == 0 {
		return p, err
	}
	r, err := decode(p.Batch, entries[0])
	p.Error = r.Error
	return p, err
}

// says how the plan stands, in one line.
func (p *Planning) says() string {
	switch {
	case p.Error != nil:
		return fmt.Sprintf("by %s, which gave no plan: %s: %s; `coordinator retry %s` runs it again",
			p.Batch, p.Error.Type, firstLine(p.Error.Message, 300), p.Batch.Whole())
	case p.Phase != batch.Done:
		return fmt.Sprintf("by %s, which is at work; there are no jobs before it has ended", p.Batch)
	}
	return fmt.Sprintf("by %s", p.Batch)
}
