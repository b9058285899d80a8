package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/batchagent/batchagent/pkg/batch"
)

// resultsAtOnce is how many results are read per call.
const resultsAtOnce = 500

// Results implements [agent.Results]. It returns the results of the batch that the job reduces, and uses 16 bytes per result.
func (s *session) Results(ctx context.Context) iter.Seq2[batch.Result, error] {
	id := s.batch.reduces
	return func(yield func(batch.Result, error) bool) {
		cursors, err := s.cursors(ctx, id)
		if err != nil {
			yield(batch.Result{}, err)
			return
		}
		for chunk := range slices.Chunk(cursors, resultsAtOnce) {
			entries, err := s.patient.ResultsAt(ctx, id, chunk)
			if err != nil {
				yield(batch.Result{}, err)
				return
			}
			for _, e := range entries {
				if e == nil {
					continue // the reducer checks how many results it got
				}
				var r batch.Result
				if err := json.Unmarshal(e.Line, &r); err != nil {
					err = fmt.Errorf("decode result %d of batch %s: %w", e.Cursor, id, err)
					yield(batch.Result{}, err)
					return
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// cursors returns the positions of a batch's results, ordered by index.
func (s *session) cursors(ctx context.Context, id batch.ID) ([]int64, error) {
	type position struct{ index, cursor int64 }
	var positions []position
	for after := int64(0); ; {
		entries, err := s.patient.Results(ctx, id, after, resultsAtOnce)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			positions = append(positions, position{e.Index, e.Cursor})
		}
		after = entries[len(entries)-1].Cursor
	}
	slices.SortFunc(positions, func(a, b position) int { return cmp.Compare(a.index, b.index) })
	cursors := make([]int64, len(positions))
	for i, p := range positions {
		cursors[i] = p.cursor
	}
	return cursors, nil
}
