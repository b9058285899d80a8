package statestore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxFinish bounds the results of one commit.
const MaxFinish = 64

// Completion is a result with the lease under which it was made.
type Completion struct {
	Lease  batch.Lease
	Result batch.Result
}

// FinishOutcome is what became of one completion.
type FinishOutcome int

// The outcomes of a finish.
const (
	Committed FinishOutcome = iota // this call committed the result
	Already                        // the job has a result: this one from an earlier try, or another worker's
	Fenced                         // the lease was lost; another worker will commit
)

// String is the metric label.
func (o FinishOutcome) String() string { return [...]string{"committed", "already", "fenced"}[o] }

// Finish commits up to MaxFinish results of one batch in one step: result, acknowledgement, counters, and the end of
// the batch if it was the last job. It returns the phase ("" if the batch is gone) and one outcome per completion.
// Repeatable; after an unknown outcome a repeat answers Already for what was committed.
func (s *Store) Finish(ctx context.Context, id batch.ID, done []Completion) (batch.Phase, []FinishOutcome, error) {
	op := fmt.Sprintf("finish %d jobs of batch %s", len(done), id)
	args := make([]any, 0, 1+12*len(done))
	args = append(args, prefixJournal(id))
	for _, c := range done {
		r := c.Result
		line, err := json.Marshal(r)
		if err != nil {
			return "", nil, fmt.Errorf("%s: encode the result of %s: %w", op, c.Lease.Job, err)
		}
		// A failure that may pass keeps its journal, so that `retry` goes on where it stopped.
		keep := 0
		if r.Status == batch.StatusFailed && r.Error != nil && r.Error.Retryable {
			keep = 1
		}
		args = append(args, c.Lease.Job.Index, c.Lease.Entry, c.Lease.Fence(), string(r.Status), keep, line, r.Turns,
			r.Usage.PromptTokens, r.Usage.CachedTokens, r.Usage.CompletionTokens, r.Tools.Asked, r.Tools.Executed)
	}
	v, err := s.run(ctx, op, s.scripts.finish, allKeys(id), args...)
	if err != nil {
		return "", nil, err
	}
	r := reply{v}
	out := make([]FinishOutcome, len(done))
	for i := range done {
		out[i] = map[int64]FinishOutcome{1: Committed, 0: Already, -1: Fenced}[r.at(1+i).num()]
	}
	return batch.Phase(r.at(0).str()), out, nil
}
