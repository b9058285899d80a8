package batchagent

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Run runs a batch and returns one result per input, in the order of the inputs. A failed job has an Err and is not an error of
// Run. If Run returns an error, the results are those of the jobs that had ended, in the same order.
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

// add stores a result. The result of a retried job replaces the earlier one.
func (c *collected[Out]) add(r Result[Out]) error {
	for len(c.results) <= r.Index {
		c.results, c.there = append(c.results, Result[Out]{}), append(c.there, false)
	}
	c.results[r.Index], c.there[r.Index] = r, true
	return nil
}

// ordered returns the stored results in the order of their indexes.
func (c *collected[Out]) ordered() []Result[Out] {
	kept := c.results[:0]
	for i, r := range c.results {
		if c.there[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// Stream runs a batch and yields each result when its job ends. An error is yielded last, with a zero result. The batch starts
// with the loop, and every loop runs the batch again. Leaving the loop stops the batch, except on a cluster, where it continues.
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

// errLeft stops the batch after its caller left the loop over a stream.
var errLeft = errors.New("the loop was left")

// each runs the batch and calls f with every result of a job. The functions in s get the results of the stages.
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
