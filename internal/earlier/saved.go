package earlier

import (
	"cmp"
	"context"
	"slices"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/filter"
)

// Saved is a results file that is read to show it.
type Saved struct{ past *filePast }

// OpenSaved opens a results file. The caller closes it.
func OpenSaved(path string) (*Saved, error) {
	past, err := openFilePast(path, path)
	if err != nil {
		return nil, err
	}
	return &Saved{past}, nil
}

// Close closes the file.
func (s *Saved) Close() { s.past.Close() }

// Each calls f with the result of every job that meets a condition, in the order of the inputs. Nil selects all. It returns
// an error for a field of the condition that no result has. It uses about 70 bytes of memory per result.
func (s *Saved) Each(ctx context.Context, where *filter.Filter, f func(batch.Result) error) error {
	type place struct{ index, at int64 }
	last := map[int64]int64{}
	err := s.past.Scan(ctx, func(r batch.Result, from int64) error {
		last[r.Index] = from
		return nil
	})
	if err != nil {
		return err
	}
	places := make([]place, 0, len(last))
	for index, at := range last {
		places = append(places, place{index, at})
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.index, b.index) })
	for _, p := range places {
		found, err := s.past.at(ctx, []int64{p.at})
		if err != nil {
			return err
		}
		if where != nil {
			met, err := where.Matches(found[0], false)
			if err != nil {
				return asUsage(err)
			}
			if !met {
				continue
			}
		}
		if err := f(found[0]); err != nil {
			return err
		}
	}
	if where != nil {
		return asUsage(where.Unseen())
	}
	return nil
}

// Job returns the result of the job with this index.
func (s *Saved) Job(ctx context.Context, index int64) (batch.Result, error) {
	last := int64(-1)
	err := s.past.Scan(ctx, func(r batch.Result, from int64) error {
		if r.Index == index {
			last = from
		}
		return nil
	})
	if err == nil && last < 0 {
		err = fault.Usagef("%s has no result of %s", s.past.shown, batch.JobID(index))
	}
	if err != nil {
		return batch.Result{}, err
	}
	found, err := s.past.at(ctx, []int64{last})
	if err != nil {
		return batch.Result{}, err
	}
	return found[0], nil
}

// asUsage marks an error of a condition as the user's. Nil stays nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &fault.UsageError{Err: err}
}
