package coordinator

import (
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

// check refuses a plan that another planner's prompt led to, unless force accepts it.
func (p *planFile) check(planner *spec.Plan, asks, prints spec.Question, force bool) error {
	if p.made == nil || force {
		return nil
	}
	var job spec.Payload
	switch {
	case p.made.Question != "" && p.made.Question == asks.Of(planner, &job):
		return nil
	case p.made.Question == "" && p.made.Fingerprint == prints.Of(planner, &job):
		return nil
	}
	return usagef("%s was made by another planner than the spec has now: its prompt, schema, tools or sampling were changed; "+
		"--out with another name plans again, --force keeps this plan", p.path)
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
