package statestore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxFinish is the limit of results per commit.
const MaxFinish = 64

// Completion is a result and the lease under which it was made.
type Completion struct {
	Lease  batch.Lease
	Result batch.Result
	// NoJournal: no attempt at the job wrote a turn, so the commit skips the journal.
	NoJournal bool
	// Effects: an attempt at the job made calls with side effects, or may have, so the job has a ledger of effects.
	Effects bool
	// Items are the payloads of the planned jobs, in order. Only the result of a planner has them. The commit adds them to the
	// planned batch and seals it, if it is still open. A result that is not ok ends that batch without jobs.
	Items [][]byte
	// Parked: the job waits for [Store.Resolve], so its journal and its ledger of effects are kept.
	Parked bool
}

// FinishOutcome is the outcome of one completion.
type FinishOutcome int

// The outcomes of a finish.
const (
	Committed FinishOutcome = iota // this call committed the result
	Already                        // the job has a result, from an earlier try or another worker
	Fenced                         // the lease was lost; another worker will commit
)

// String returns the metric label.
func (o FinishOutcome) String() string { return [...]string{"committed", "already", "fenced"}[o] }

// Finish commits up to MaxFinish results of one batch in one step: results, acknowledgements, counters, and the end of the
// batch after its last job. If the batch is a planner, the planned batch gets its jobs in the same step. Finish returns the
// phase ("" if the batch is gone) and one outcome per completion. Repeatable: after an unknown outcome, a repeat returns
// Already for the committed results.
func (s *Store) Finish(ctx context.Context, id batch.ID, done []Completion) (batch.Phase, []FinishOutcome, error) {
	op := fmt.Sprintf("finish %d jobs of batch %s", len(done), id)
	args, err := finishArguments(id, done)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", op, err)
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

// The effects of a commit on the job's journal.
const (
	keepJournal = "keep" // a retryable failure: retry resumes the job from the journal
	dropJournal = "drop"
	noJournal   = "none"
	andLedger   = "all"
)

func (c Completion) journal() string {
	ledger := ""
	if c.Effects {
		ledger = andLedger
	}
	switch r := c.Result; {
	case c.NoJournal && !c.Effects:
		return noJournal
	case c.Parked, r.Status == batch.StatusFailed && r.Error != nil && r.Error.Retryable:
		return keepJournal + ledger
	default:
		return dropJournal + ledger
	}
}

// finishArguments builds the arguments of finish.lua: first the sums, then one column after the other.
func finishArguments(id batch.ID, done []Completion) ([]any, error) {
	n := len(done)
	const head, columns = 13, 7
	args := make([]any, head+columns*n)
	var counts batch.Counts
	estimated := 0
	for i, c := range done {
		r := c.Result
		line, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encode the result of %s: %w", c.Lease.Job, err)
		}
		switch r.Status {
		case batch.OK:
			counts.OK++
		case batch.StatusFailed:
			counts.Failed++
		case batch.StatusCancelled:
			counts.Cancelled++
		}
		counts.Turns += int64(r.Turns)
		counts.Usage.Add(r.Usage)
		counts.Tools.Add(r.Tools)
		sums := fmt.Sprint(r.Turns, " ", r.Usage.PromptTokens, " ", r.Usage.CachedTokens, " ", r.Usage.CompletionTokens, " ",
			r.Usage.ContextTokens, " ", r.Tools.Asked, " ", r.Tools.Executed, " ", oneIf(r.Usage.Estimated))
		estimated += oneIf(r.Usage.Estimated)
		for column, value := range [columns]any{
			c.Lease.Job.Index, c.Lease.Entry, c.Lease.Fence(), string(r.Status), c.journal(), line, sums,
		} {
			args[head+column*n+i] = value
		}
	}
	copy(args, []any{
		prefixJournal(id), counts.OK, counts.Failed, counts.Cancelled, counts.Turns, counts.Usage.PromptTokens,
		counts.Usage.CachedTokens, counts.Usage.CompletionTokens, counts.Usage.ContextTokens, counts.Tools.Asked, counts.Tools.Executed, estimated, n,
	})
	for _, c := range done {
		for _, item := range c.Items {
			args = append(args, item)
		}
	}
	return args, nil
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
