package statestore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

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
	// Effects: an attempt at the job made calls with side effects, or may have, so the job has an effect log.
	Effects bool
	// Items are the payloads of the planned jobs, in order. Only the result of a planner has them. The commit adds them to the
	// planned batch and seals it, if it is still open. A result that is not ok ends that batch without jobs.
	Items [][]byte
	// Parked: the job waits for [Store.Resolve], so its journal and its effect log are kept.
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
	args, data, err := argumentsOf(done)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", op, err)
	}
	v, err := s.call(ctx, op, s.scripts.finish, id, args, data...)
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

// What a commit does with the job's journal.
const (
	keepJournal = "keep" // a retryable failure: retry resumes the job from the journal
	dropJournal = "drop"
	noJournal   = "none"
	andEffects  = "all"
)

func (c Completion) journal() string {
	effects := ""
	if c.Effects {
		effects = andEffects
	}
	switch r := c.Result; {
	case c.NoJournal && !c.Effects:
		return noJournal
	case c.Parked, r.Status == batch.StatusFailed && r.Error != nil && r.Error.Retryable:
		return keepJournal + effects
	default:
		return dropJournal + effects
	}
}

// finishArguments are the named arguments of finish.lua: columns with an element for each job, and sums over all jobs.
type finishArguments struct {
	leaseColumns
	Status  []string  `json:"status"`
	Journal []string  `json:"journal"`
	Sums    []string  `json:"sums"`
	Totals  [11]int64 `json:"totals"`
}

// argumentsOf returns the named arguments of finish.lua, and its data: the results and then the planned jobs.
func argumentsOf(done []Completion) (finishArguments, [][]byte, error) {
	leases := make([]batch.Lease, len(done))
	for i, c := range done {
		leases[i] = c.Lease
	}
	args := finishArguments{
		leaseColumns: columnsOf(leases),
		Status:       make([]string, len(done)), Journal: make([]string, len(done)), Sums: make([]string, len(done)),
	}
	data := make([][]byte, len(done))
	for i, c := range done {
		line, err := json.Marshal(c.Result)
		if err != nil {
			return args, nil, fmt.Errorf("encode the result of %s: %w", c.Lease.Job, err)
		}
		sums := sumsOf(c.Result)
		for n, sum := range sums {
			args.Totals[n] += sum
		}
		args.Status[i], args.Journal[i], data[i] = string(c.Result.Status), c.journal(), line
		args.Sums[i] = strings.Join(decimals(sums[3:]), " ") // the script knows the first three from the status
	}
	for _, c := range done {
		data = append(data, c.Items...)
	}
	return args, data, nil
}

// sumsOf returns what a result adds to the counters of its batch, in the order of counters in finish.lua.
func sumsOf(r batch.Result) [11]int64 {
	return [11]int64{
		oneIf(r.Status == batch.OK), oneIf(r.Status == batch.StatusFailed), oneIf(r.Status == batch.StatusCancelled), int64(r.Turns),
		r.Usage.PromptTokens, r.Usage.CachedTokens, r.Usage.CompletionTokens, r.Usage.ContextTokens,
		r.Tools.Asked, r.Tools.Executed, oneIf(r.Usage.Estimated),
	}
}

func oneIf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
