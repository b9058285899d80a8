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

// followStages collects the plan of a batch, its results and its reduction. A nil sink skips its stage. It returns once
// all stages agree. A retry during the reduction changes the results and causes another reduction. A Redis that loses
// data may cause another plan.
func (c *collector) followStages(ctx context.Context, planned, summary sink) error {
	for end := (time.Time{}); ; {
		if planned != nil {
			err := followStage(ctx, c.store, c.id.ForStage(batch.StagePlan), planned, c.patience)
			if err != nil && !errors.Is(err, statestore.ErrNotFound) { // a removed planner is not an error
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
			end = at // results of this end may not have been read yet
			continue
		}
		if summary == nil {
			return nil
		}
		if err := followStage(ctx, c.store, c.id.ForStage(batch.StageReduce), summary, c.patience); err != nil {
			return err
		}
		if info, err = c.info(ctx); err != nil || info.DoneAt.Equal(end) {
			return err
		}
	}
}

// ifStage returns s if the stage exists, and otherwise nil.
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

// followStage copies the one result of a stage to a sink and returns when the stage is done. A planner is done before
// its batch has jobs, a reducer after its batch.
func followStage(ctx context.Context, s Source, stage batch.ID, to sink, p patience) error {
	c := &collector{store: s, id: stage, sink: to, patience: p}
	return c.follow(ctx)
}

// stageSink receives the result of a stage. It writes a line to standard output, before or after the results, or alone if
// they go to a file. Another output of the stage's job is another plan or summary; the last one counts.
type stageSink struct {
	stream
	results *stream       // on the same standard output; nil if they go to a file
	last    *batch.Result // the result that counts; nil before the first one
}

// newStageSink writes in the format of the results if they go to standard output, and otherwise as JSON lines.
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

// says describes the outcome of the stage.
func (s *stageSink) says(stage batch.ID) string {
	switch {
	case s.last == nil:
		if stage.Stage() == batch.StageReduce {
			return "not run: there was nothing to reduce, or it was cancelled"
		}
		return "not made: it was cancelled or removed"
	case s.last.Error != nil:
		return fmt.Sprintf("%s  %s: %s", s.last.Status, s.last.Error.Type, firstLine(s.last.Error.Message, 300))
	}
	made := ""
	if stage.Stage() == batch.StagePlan {
		made = plural(s.items(), "item", "items") + "   "
	}
	u := s.last.Usage
	return fmt.Sprintf("ok   %s%s   prompt %s (%s cached)   completion %s", made, plural(int64(s.last.Turns), "model call", "model calls"),
		count(u.PromptTokens), percent(u.CachedTokens, u.PromptTokens), count(u.CompletionTokens))
}

// items returns the number of items in a plan.
func (s *stageSink) items() int64 {
	if !s.ok() {
		return 0
	}
	items, err := (&spec.Compiled{}).Items(s.last.Output)
	if err != nil {
		return 0 // unreachable: the planner's worker validated it
	}
	return int64(len(items))
}

func (s *stageSink) ok() bool { return s.last != nil && s.last.Status == batch.OK }

// stagesOf returns the planner and the reducer of a batch, "" for a missing one. A stage has no stages itself. A
// missing batch has none either; the caller's own operation reports it as missing.
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
		planner = id.ForStage(batch.StagePlan)
	}
	if h.Reduce {
		reducer = id.ForStage(batch.StageReduce)
	}
	return planner, reducer, nil
}

// ifThere calls do for a stage, and ignores a stage that is missing.
func ifThere(stage batch.ID, do func(batch.ID) error) error {
	if stage == "" {
		return nil
	}
	if err := do(stage); err != nil && !errors.Is(err, statestore.ErrNotFound) {
		return err
	}
	return nil
}

// Planning is the state of a batch's planner.
type Planning struct {
	Batch batch.ID     `json:"batch"`
	Phase batch.Phase  `json:"phase"`
	Error *batch.Error `json:"error"` // why the plan failed; nil if it exists or is still being made
}

// planningOf reads the planner of a batch; nil if the batch has none or it was removed.
func planningOf(ctx context.Context, s Source, h batch.Header) (*Planning, error) {
	if !h.Plan {
		return nil, nil
	}
	info, err := s.Info(ctx, h.ID.ForStage(batch.StagePlan))
	if errors.Is(err, statestore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Planning{Batch: info.ID, Phase: info.Phase}
	if info.Counts.Failed+info.Counts.Cancelled == 0 {
		return p, nil // do not read the plan, which may be long
	}
	entries, err := s.Results(ctx, p.Batch, 0, 1)
	if err != nil || len(entries) == 0 {
		return p, err
	}
	r, err := decode(p.Batch, entries[0])
	p.Error = r.Error
	return p, err
}

// says describes the state of the plan in one line.
func (p *Planning) says() string {
	switch {
	case p.Error != nil:
		return fmt.Sprintf("by %s, which failed: %s: %s; `coordinator retry %s` runs it again",
			p.Batch, p.Error.Type, firstLine(p.Error.Message, 300), p.Batch.Whole())
	case p.Phase != batch.Done:
		return fmt.Sprintf("by %s, which is at work; the jobs follow when it has ended", p.Batch)
	}
	return fmt.Sprintf("by %s", p.Batch)
}
