package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// planFile holds the one result of a planner beside the results file of a run, which keeps no Redis: what is in the results file is
// about the items of this plan and no other.
type planFile struct {
	path string
	made *batch.Result // by an earlier run; nil if none did
	line []byte
}

// openPlanFile reads the plan that belongs to a results file, if there is one.
func openPlanFile(out string) (*planFile, error) {
	p := &planFile{path: out + ".plan"}
	line, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, usagef("--out: %w", err)
	}
	var r batch.Result
	err = json.Unmarshal(line, &r)
	if _, plans := r.Batch.Plans(); err != nil || !plans || r.Status != batch.OK {
		return nil, usagef("%s is not the plan of a run; --out with another name begins anew", p.path)
	}
	p.made, p.line = &r, line
	return p, nil
}

// resume is the batch to go on with, and its jobs. held is what batch the results file is of, "" if it is empty.
func (p *planFile) resume(held batch.ID, planner *spec.Plan) (id batch.ID, items [][]byte, err error) {
	switch {
	case p.made == nil && held == "":
		return "", nil, nil
	case p.made == nil:
		return "", nil, usagef("%s is not there, so nobody knows what the results are about; --out with another name begins anew", p.path)
	case held != "" && held.Planner() != p.made.Batch:
		return "", nil, usagef("%s holds the plan of batch %s, and the results are of batch %s; --out with another name begins anew",
			p.path, p.made.Batch.Whole(), held)
	}
	items, err = planner.Items(p.made.Output)
	if err != nil {
		return "", nil, usagef("%s: %w", p.path, err)
	}
	return p.made.Batch.Whole(), items, nil
}

// planSink keeps a plan in a file before it goes on.
type planSink struct {
	sink
	file *planFile
}

func (s planSink) Write(results []batch.Result, lines [][]byte) error {
	if last := len(results) - 1; results[last].Status == batch.OK {
		if err := s.file.write(lines[last]); err != nil {
			return err
		}
	}
	return s.sink.Write(results, lines)
}

// write returns when the plan is on disk: it is whole, or not there.
func (p *planFile) write(line []byte) error {
	err := replaceFile(p.path, 0o644, func(w io.Writer) error {
		_, err := w.Write(append(line[:len(line):len(line)], '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("write the plan to %s: %w", p.path, err)
	}
	return nil
}

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
