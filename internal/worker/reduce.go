package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// resultsAtOnce is how many results are read per call.
const resultsAtOnce = 500

// resultsOf returns all results of another batch, ordered by index. It keeps trying during an outage of Redis. It uses
// 16 bytes per result.
func (w *Worker) resultsOf(id batch.ID) func(context.Context) iter.Seq2[batch.Result, error] {
	return func(ctx context.Context) iter.Seq2[batch.Result, error] {
		return func(yield func(batch.Result, error) bool) {
			cursors, err := w.cursors(ctx, id)
			if err != nil {
				yield(batch.Result{}, err)
				return
			}
			for chunk := range slices.Chunk(cursors, resultsAtOnce) {
				var entries []*statestore.Entry
				err := w.untilKnown(ctx, func() (err error) {
					entries, err = w.cfg.Store.ResultsAt(ctx, id, chunk)
					return err
				})
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
}

// cursors returns the positions of a batch's results, ordered by index.
func (w *Worker) cursors(ctx context.Context, id batch.ID) ([]int64, error) {
	type place struct{ index, cursor int64 }
	var places []place
	for after := int64(0); ; {
		var entries []statestore.Entry
		err := w.untilKnown(ctx, func() (err error) {
			entries, err = w.cfg.Store.Results(ctx, id, after, resultsAtOnce)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			places = append(places, place{e.Index, e.Cursor})
		}
		after = entries[len(entries)-1].Cursor
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.index, b.index) })
	cursors := make([]int64, len(places))
	for i, p := range places {
		cursors[i] = p.cursor
	}
	return cursors, nil
}

// untilKnown retries op during an outage of Redis. If ctx ends, it returns the cause.
func (w *Worker) untilKnown(ctx context.Context, op func() error) error {
	err := w.cfg.Store.UntilKnown(ctx, op)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
