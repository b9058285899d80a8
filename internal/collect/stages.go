package collect

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// FollowStages collects the plan of a batch, its results and its reduction. A nil sink skips its stage. It returns once
// all stages agree. A retry during the reduction changes the results and causes another reduction. A Redis that loses
// data may cause another plan.
func (c *Collector) FollowStages(ctx context.Context, planned, summary Sink) error {
	for end := (time.Time{}); ; {
		if planned != nil {
			err := followStage(ctx, c.Store, c.ID.ForStage(batch.StagePlan), planned, c.Wait)
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
		if err := followStage(ctx, c.Store, c.ID.ForStage(batch.StageReduce), summary, c.Wait); err != nil {
			return err
		}
		if info, err = c.info(ctx); err != nil || info.DoneAt.Equal(end) {
			return err
		}
	}
}

// IfStage returns s if the stage exists, and otherwise nil.
func IfStage(there bool, s Sink) Sink {
	if !there {
		return nil
	}
	return s
}

func (c *Collector) info(ctx context.Context) (info batch.Info, err error) {
	err = c.Wait.Do(ctx, func() (err error) {
		info, err = c.Store.Info(ctx, c.ID)
		return err
	})
	return info, err
}

// followStage copies the one result of a stage to a sink and returns when the stage is done. A planner is done before
// its batch has jobs, a reducer after its batch.
func followStage(ctx context.Context, s Source, stage batch.ID, to Sink, p outage.Wait) error {
	c := &Collector{Store: s, ID: stage, Sink: to, Wait: p}
	return c.follow(ctx)
}

// StageSink receives the result of a stage. It writes a line to standard output, before or after the results, or alone if
// they go to a file. Another output of the stage's job is another plan or summary; the last one counts.
type StageSink struct {
	Stream
	results *Stream       // on the same standard output; nil if they go to a file
	Last    *batch.Result // the result that counts; nil before the first one
}

// NewStageSink writes in the format of the results if they go to standard output, and otherwise as JSON lines.
func NewStageSink(w io.Writer, results *Stream) *StageSink {
	s := &StageSink{Stream: Stream{W: w, Format: JSONL{}}, results: results}
	if results != nil {
		s.Stream = Stream{W: w, Format: results.Format}
	}
	return s
}

func (s *StageSink) Write(results []batch.Result, lines [][]byte) error {
	s.Last = &results[len(results)-1]
	if s.results == nil {
		return s.Stream.Write(results, lines)
	}
	s.begun = s.results.begun
	err := s.Stream.Write(results, lines)
	s.results.begun = s.begun
	return err
}

// Items returns the number of items in a plan.
func (s *StageSink) Items() int64 {
	if !s.ok() {
		return 0
	}
	items, err := (&spec.Compiled{}).Items(s.Last.Output)
	if err != nil {
		return 0 // unreachable: the planner's worker validated it
	}
	return int64(len(items))
}

func (s *StageSink) ok() bool { return s.Last != nil && s.Last.Status == batch.OK }

// StageOutcome is the result of a plan or a reduction.
type StageOutcome struct {
	Stage  batch.ID
	Result *batch.Result // nil if the stage did not run
	Items  int64         // of a plan
}

// OK reports whether the stage has an output.
func (o *StageOutcome) OK() bool { return o.Result != nil && o.Result.Status == batch.OK }

// Outcome returns what the sink received; nil if the batch has no such stage.
func (s *StageSink) Outcome(stage batch.ID, there bool) *StageOutcome {
	if !there {
		return nil
	}
	return &StageOutcome{Stage: stage, Result: s.Last, Items: s.Items()}
}
