package coordinator

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// endedJobs gives jobs the results that a results file holds, for a reducer that has to see them all. Its memory is about 40 bytes per result.
type endedJobs struct {
	past   *filePast
	places map[int64]int64
}

// openEnded reads where results stand. The caller closes its past.
func openEnded(ctx context.Context, out string) (*endedJobs, error) {
	past, err := openFilePast(out, out)
	if err != nil {
		return nil, err
	}
	e := &endedJobs{past: past, places: map[int64]int64{}}
	err = past.scan(ctx, func(r batch.Result, at int64) error {
		e.places[r.Index] = at // of a job that was run again the last one counts
		return nil
	})
	if err != nil {
		past.close()
		return nil, err
	}
	return e, nil
}

// payload is a job that ends at once with the result that it had.
func (e *endedJobs) payload(ctx context.Context, index int64) ([]byte, error) {
	at, ok := e.places[index]
	if !ok {
		return nil, fmt.Errorf("%s has no result of %s any more", e.past.name(), batch.JobID(index))
	}
	results, err := e.past.at(ctx, []int64{at})
	if err != nil {
		return nil, err
	}
	return spec.EndedPayload(results[0])
}
