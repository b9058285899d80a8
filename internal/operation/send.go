package operation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/pkg/spec"
)

// sentRerun is a [Rerun] of a batch of the receiver.
type sentRerun struct {
	Batch string `json:"batch"`
	Where string `json:"where"`
}

func (s *Submission) sentRerun() *sentRerun {
	if s.Rerun == (Rerun{}) {
		return nil
	}
	return &sentRerun{s.Rerun.From, s.Rerun.Where}
}

// Send writes the batch in the form that [Receive] reads. The first line has the plans of the batch and its stages;
// each other line has a job. It does not send a planner's one job. With a Rerun it sends all rows, because rows that do not run may keep
// their results, and the receiver chooses.
func (s *Submission) Send(ctx context.Context, w io.Writer) error {
	var selected Selection
	payloads := s.load.payloads
	if s.Rerun != (Rerun{}) && s.load.chosen != nil {
		selected, payloads = s.selected, s.load.all
	}
	line, err := json.Marshal(struct {
		Plan    *spec.Compiled `json:"plan"`
		Planner *spec.Compiled `json:"planner,omitempty"`
		Reduce  *spec.Compiled `json:"reduce,omitempty"`
		Rerun   *sentRerun     `json:"rerun,omitempty"`
		Limit   int64          `json:"limit,omitempty"`
		Sample  int64          `json:"sample,omitempty"`
		Seed    int64          `json:"seed,omitempty"`
	}{s.load.Compiled, s.load.Planner, s.load.Reduce, s.sentRerun(), selected.Limit, selected.Sample, selected.Seed})
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil || s.load.Planner != nil {
		return err
	}
	for payload, err := range payloads(ctx) {
		if err != nil {
			return err
		}
		if _, err := w.Write(append(payload, '\n')); err != nil {
			return err
		}
	}
	return nil
}
