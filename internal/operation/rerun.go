package operation

import (
	"context"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Rerun says which rows of an earlier batch run again. Its other results become results of the new batch. The zero value runs all rows.
type Rerun struct {
	From  string // the earlier batch: its ID, or a results file
	Where string // condition on the results whose rows run again
}

// errRerunReuse refuses two sources of earlier results.
var errRerunReuse = fault.Usagef("rerun keeps the results of rows that do not run again, and reuse takes results for the same questions; give one of them")

// errRerunPart: rerun has a batch without a condition, or a condition without a batch.
var errRerunPart = fault.Usagef("rerun needs two things: a condition such as failed, and the earlier batch whose results have the rows")

// check returns an error for a Rerun with a part missing.
func (r Rerun) check() error {
	if (r.From == "") != (r.Where == "") {
		return errRerunPart
	}
	return nil
}

// ChosenRows returns the row of each job by index. It returns nil if the jobs are all rows or the first ones, so that an index is a row.
func (s *Submission) ChosenRows() []int64 {
	if s.load.chosen == nil {
		return nil
	}
	rows := make([]int64, 0, s.Total)
	first := true
	for row := range s.load.rows {
		if s.load.chosen(row) || s.kept != nil && s.kept.Keeps(row) {
			first = first && row == int64(len(rows))
			rows = append(rows, row)
		}
	}
	if first {
		return nil
	}
	return rows
}

// KeepRows pairs the rows of the batch with those of an earlier one: jobs of rows that do not run again end at once with their earlier
// result. Call it before Submit.
func (s *Submission) KeepRows(ctx context.Context, from Rerun, store *statestore.Store) error {
	switch {
	case s.load.Planner != nil:
		return earlier.ErrRerunPlan
	case s.reuse != nil || s.ReuseFrom != "":
		return errRerunReuse
	}
	o := earlier.RerunOptions{From: from.From, Where: from.Where, Spec: s.load.Compiled.Name, Total: s.Total, Runs: s.load.chosen}
	connect := func(context.Context) (*statestore.Store, error) { return store, nil }
	kept, err := earlier.OpenRerun(ctx, o, s.load.Compiled, s.load.all(ctx), connect, s.notify)
	if err != nil {
		return err
	}
	s.kept, s.Total = kept, kept.Total()
	s.load.keep(kept)
	return nil
}
