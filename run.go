package batchagent

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Run runs a batch and returns one result per input, in the order of the inputs. Jobs that failed have an Err and are no
// error of Run. If Run fails, the results are those that were there by then, also in order.
func Run[Out any](ctx context.Context, b Batch[Out], options ...Option) ([]Result[Out], error) {
	var results []Result[Out]
	var there []bool
	err := b.each(ctx, options, func(r Result[Out]) error {
		for len(results) <= r.Index {
			results, there = append(results, Result[Out]{}), append(there, false)
		}
		results[r.Index], there[r.Index] = r, true // a job that somebody retried comes a second time
		return nil
	})
	if err != nil {
		kept := results[:0]
		for i, r := range results {
			if there[i] {
				kept = append(kept, r)
			}
		}
		results = kept
	}
	return results, err
}

// Stream runs a batch and yields each result as it is finished. An error is the last thing that it yields, and stands
// without a result. Nothing runs before the loop begins, and every loop over it runs the batch anew. Leaving the loop ends
// the batch, except on a cluster, where it goes on.
func Stream[Out any](ctx context.Context, b Batch[Out], options ...Option) iter.Seq2[Result[Out], error] {
	return func(yield func(Result[Out], error) bool) {
		left := false
		err := b.each(ctx, options, func(r Result[Out]) error {
			if left = !yield(r, nil); left {
				return errLeft
			}
			return nil
		})
		if err != nil && !left {
			yield(Result[Out]{}, err)
		}
	}
}

// errLeft says that the loop over a stream was left.
var errLeft = errors.New("the loop was left")

// each runs the batch and gives every result to f.
func (b Batch[Out]) each(ctx context.Context, options []Option, f func(Result[Out]) error) error {
	p := programOf(options)
	var err error
	if p.Spec, p.Tools, err = b.wire(); err != nil {
		return fmt.Errorf("run a batch: %w", err)
	}
	p.Inputs = b.Inputs.records
	return p.Run(ctx, func(r batch.Result) error {
		result, err := typed[Out](r)
		if err != nil {
			return err
		}
		if b.OnResult != nil {
			b.OnResult(result)
		}
		return f(result)
	})
}
