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
	var c collected[Out]
	err := b.each(ctx, options, stages{}, c.add)
	return c.ordered(), err
}

// collected are results by index.
type collected[Out any] struct {
	results []Result[Out]
	there   []bool
}

// add takes a result. That of a job that somebody retried comes a second time.
func (c *collected[Out]) add(r Result[Out]) error {
	for len(c.results) <= r.Index {
		c.results, c.there = append(c.results, Result[Out]{}), append(c.there, false)
	}
	c.results[r.Index], c.there[r.Index] = r, true
	return nil
}

// ordered are those that came.
func (c *collected[Out]) ordered() []Result[Out] {
	kept := c.results[:0]
	for i, r := range c.results {
		if c.there[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// Stream runs a batch and yields each result as it is finished. An error is the last thing that it yields, and stands
// without a result. Nothing runs before the loop begins, and every loop over it runs the batch anew. Leaving the loop ends
// the batch, except on a cluster, where it goes on.
func Stream[Out any](ctx context.Context, b Batch[Out], options ...Option) iter.Seq2[Result[Out], error] {
	return func(yield func(Result[Out], error) bool) {
		left := false
		err := b.each(ctx, options, stages{}, func(r Result[Out]) error {
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

// each runs the batch and gives every result to f, and those of its stages to theirs.
func (b Batch[Out]) each(ctx context.Context, options []Option, s stages, f func(Result[Out]) error) error {
	p := programOf(options)
	p.Planned, p.Reduced = s.planned, s.reduced
	p.Check, p.CheckPlan, p.CheckSummary = checkOf(decodeOutput[Out]), s.checkPlan, s.checkSummary
	var err error
	if p.Spec, p.Tools, err = b.wire(s); err != nil {
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
