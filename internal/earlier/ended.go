package earlier

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// EndedJobs provides the results in a results file as ended jobs, so that a reducer sees all jobs. It uses about 40
// bytes of memory per result.
type EndedJobs struct {
	past      *filePast
	positions map[int64]int64
}

// OpenEnded reads the positions of the results in a file. The caller closes its past.
func OpenEnded(ctx context.Context, out string) (*EndedJobs, error) {
	past, err := openFilePast(out, out)
	if err != nil {
		return nil, err
	}
	e := &EndedJobs{past: past, positions: map[int64]int64{}}
	err = past.Scan(ctx, func(r batch.Result, at int64) error {
		e.positions[r.Index] = at // a later result of the same job replaces the earlier one
		return nil
	})
	if err != nil {
		past.Close()
		return nil, err
	}
	return e, nil
}

// Payload returns the payload of a job that ends at once with its earlier result.
func (e *EndedJobs) Payload(ctx context.Context, index int64) ([]byte, error) {
	at, ok := e.positions[index]
	if !ok {
		return nil, fmt.Errorf("%s has no result of %s any more", e.past.name(), batch.JobID(index))
	}
	results, err := e.past.at(ctx, []int64{at})
	if err != nil {
		return nil, err
	}
	return spec.EndedPayload(results[0])
}

// Close closes the file.
func (e *EndedJobs) Close() { e.past.Close() }
