package batchagent

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Run runs a batch in this process and returns one result per input, in the order of the inputs. A failed job has an Err and is not
// an error of Run. If Run returns an error, the results are those of the jobs that had ended, in the same order.
func Run[Out any](ctx context.Context, b Batch[Out], options ...Option) ([]Result[Out], error) {
	return ordered(func(f func(Result[Out]) error) error { return b.here(ctx, options, f) })
}

// Stream runs a batch in this process and yields each result when its job ends. An error is yielded last, with a zero result. The
// batch starts with the loop, and every loop runs the batch again. Leaving the loop stops the batch.
func Stream[Out any](ctx context.Context, b Batch[Out], options ...Option) iter.Seq2[Result[Out], error] {
	return yielding(func(f func(Result[Out]) error) error { return b.here(ctx, options, f) })
}

// here runs the batch in this process and calls f with every result of a job.
func (b Batch[Out]) here(ctx context.Context, options []Option, f func(Result[Out]) error) error {
	p, s, err := b.program()
	if err != nil {
		return fmt.Errorf("run a batch: %w", err)
	}
	configure(p, options)
	return receive(ctx, s, f, func(to collect.Callbacks) error { return p.Run(ctx, to) })
}

// receive calls run with callbacks that decode results. It returns the errors of this package.
func receive[Out any](ctx context.Context, s stages, f func(Result[Out]) error, run func(collect.Callbacks) error) error {
	for _, stage := range []*stage{s.plan, s.reduce} {
		if stage != nil {
			stage.begin()
		}
	}
	var unplanned error // the planner failed
	err := run(collect.Callbacks{
		Each: func(r batch.Result) error {
			result, err := decoded(r, decodeOutput[Out])
			if err != nil {
				return err
			}
			return f(result)
		},
		Planned: func(r batch.Result) (err error) {
			unplanned, err = s.plan.result(r)
			return err
		},
		Reduced: func(r batch.Result) error {
			_, err := s.reduce.result(r)
			return err
		},
	})
	if err == nil && unplanned != nil {
		return fmt.Errorf("run the planner: %w", unplanned)
	}
	return public(ctx, err)
}

// result passes on the result of a stage. The caller may not have declared the stage.
func (s *stage) result(r batch.Result) (failed, err error) {
	if s != nil {
		return s.take(r)
	}
	if r.Error != nil {
		failed = errorOf(r.Error)
	}
	return failed, nil
}

// ordered returns the results that run passes to its function, in the order of their indexes. The result of a retried job replaces
// the earlier one.
func ordered[Out any](run func(func(Result[Out]) error) error) ([]Result[Out], error) {
	var results []Result[Out]
	var there []bool
	err := run(func(r Result[Out]) error {
		for len(results) <= r.Index {
			results, there = append(results, Result[Out]{}), append(there, false)
		}
		results[r.Index], there[r.Index] = r, true
		return nil
	})
	kept := results[:0]
	for i, r := range results {
		if there[i] {
			kept = append(kept, r)
		}
	}
	return kept, err
}

// errLeft ends a run after its caller left the loop.
var errLeft = errors.New("the loop was left")

// yielding returns a sequence of the results that run passes to its function, and of its error.
func yielding[Out any](run func(func(Result[Out]) error) error) iter.Seq2[Result[Out], error] {
	return func(yield func(Result[Out], error) bool) {
		left := false
		err := run(func(r Result[Out]) error {
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
