package localrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// planFile stores the one result of a planner next to the results file of a run without Redis. The results file holds
// results for the items of this plan only.
type planFile struct {
	path string
	made *batch.Result // by an earlier run; nil without one
	line []byte
}

// openPlanFile reads the plan that belongs to a results file. A missing plan is not an error.
func openPlanFile(out string) (*planFile, error) {
	p := &planFile{path: out + ".plan"}
	line, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fault.Usagef("--out: %w", err)
	}
	var r batch.Result
	err = json.Unmarshal(line, &r)
	if plans := r.Batch.Stage() == batch.StagePlan; err != nil || !plans || r.Status != batch.OK {
		return nil, fault.Usagef("%s is not the plan of a run; --out with another name starts over", p.path)
	}
	p.made, p.line = &r, line
	return p, nil
}

// resume returns the batch to resume and its jobs. held is the batch of the results file; "" if that is empty.
func (p *planFile) resume(held batch.ID, planner *spec.Compiled) (id batch.ID, items [][]byte, err error) {
	switch {
	case p.made == nil && held == "":
		return "", nil, nil
	case p.made == nil:
		return "", nil, fault.Usagef("%s is missing, and the results cannot be matched to a plan without it; --out with another name starts over", p.path)
	case held != "" && held.ForStage(batch.StagePlan) != p.made.Batch:
		return "", nil, fault.Usagef("%s holds the plan of batch %s, and the results are of batch %s; --out with another name starts over",
			p.path, p.made.Batch.Whole(), held)
	}
	items, err = planner.Items(p.made.Output)
	if err != nil {
		return "", nil, fault.Usagef("%s: %w", p.path, err)
	}
	return p.made.Batch.Whole(), items, nil
}

// check returns an error if the planner's prompt, schema, tools or sampling have changed, unless force is set.
func (p *planFile) check(planner *spec.Compiled, asks, prints spec.Question, force bool) error {
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
	return fault.Usagef("%s was made by another planner than the spec has now: its prompt, schema, tools or sampling were changed; "+
		"--out with another name plans again, --force keeps this plan", p.path)
}

// planSink writes a plan to its file before it passes the plan on.
type planSink struct {
	collect.Sink
	file *planFile
}

func (s planSink) Write(results []batch.Result, lines [][]byte) error {
	if last := len(results) - 1; results[last].Status == batch.OK {
		if err := s.file.write(lines[last]); err != nil {
			return err
		}
	}
	return s.Sink.Write(results, lines)
}

// write returns when the plan is on disk. After a crash the file is complete or missing.
func (p *planFile) write(line []byte) error {
	err := collect.ReplaceFile(p.path, 0o644, func(w io.Writer) error {
		_, err := w.Write(append(line[:len(line):len(line)], '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("write the plan to %s: %w", p.path, err)
	}
	return nil
}
