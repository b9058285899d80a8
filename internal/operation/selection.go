package operation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Selection selects the rows that run, of all inputs. The zero value selects all.
type Selection struct {
	Limit  int64 // the first Limit rows; 0 is no limit
	Sample int64 // Sample rows, chosen at random; 0 chooses none
	Seed   int64 // of the choice. The same seed chooses the same rows, and a larger sample includes a smaller one.
}

// ErrSelectionPlan refuses a selection for a planned batch.
var ErrSelectionPlan = fault.Usagef("limit and sample select rows of the inputs, and a plan makes the inputs of this batch; its max_items limits them")

// Apply makes p run the selected rows only.
func (s Selection) Apply(p *spec.Prepared) error {
	chosen, n, err := s.choose(p.Rows)
	switch {
	case err != nil:
		return err
	case s != Selection{} && p.Planner != nil:
		return ErrSelectionPlan
	case chosen != nil:
		p.Choose(chosen, n, s.identity())
	}
	return nil
}

// choose returns a function that reports whether a row is one of the n selected. It is nil if all rows are.
func (s Selection) choose(rows int64) (chosen func(index int64) bool, n int64, err error) {
	switch {
	case s == Selection{}:
		return nil, rows, nil
	case s.Limit < 0 || s.Sample < 0 || s == Selection{Seed: s.Seed}:
		return nil, 0, fault.Usagef("limit and sample are numbers of rows above 0; limit is %d and sample is %d", s.Limit, s.Sample)
	case s.Limit > 0 && s.Sample > 0:
		return nil, 0, fault.Usagef("limit takes the first rows and sample takes random ones; give one of them")
	case max(s.Limit, s.Sample) >= rows:
		return nil, rows, nil
	case s.Limit > 0:
		return func(index int64) bool { return index < s.Limit }, s.Limit, nil
	}
	return s.draw(rows).Has, s.Sample, nil
}

// identity is part of the fingerprint of a submission.
func (s Selection) identity() string { return fmt.Sprintf("%d %d %d", s.Limit, s.Sample, s.Seed) }

// draw chooses Sample of the rows: those with the lowest random numbers. It uses 16 bytes of memory per chosen row, and one bit
// per row.
func (s Selection) draw(rows int64) collect.Bitmap {
	type drawn struct {
		number uint64
		index  int64
	}
	lowest := func(kept []drawn) []drawn {
		slices.SortFunc(kept, func(a, b drawn) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.index, b.index)) })
		return kept[:min(int64(len(kept)), s.Sample)]
	}
	var kept []drawn
	random := rand.NewPCG(uint64(s.Seed), 0)
	for index := range rows {
		kept = append(kept, drawn{random.Uint64(), index})
		if int64(len(kept)) >= 2*s.Sample+1024 {
			kept = lowest(kept)
		}
	}
	var chosen collect.Bitmap
	for _, d := range lowest(kept) {
		chosen.Set(d.index)
	}
	return chosen
}
