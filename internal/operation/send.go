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
// each other line has a job. It does not send a planner's one job.
func (s *Submission) Send(ctx context.Context, w io.Writer) error {
	line, err := json.Marshal(struct {
		Plan    *spec.Compiled `json:"plan"`
		Planner *spec.Compiled `json:"planner,omitempty"`
		Reduce  *spec.Compiled `json:"reduce,omitempty"`
		Rerun   *sentRerun     `json:"rerun,omitempty"`
	}{s.load.Compiled, s.load.Planner, s.load.Reduce, s.sentRerun()})
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil || s.load.Planner != nil {
		return err
	}
	for payload, err := range s.load.payloads(ctx) {
		if err != nil {
			return err
		}
		if _, err := w.Write(append(payload, '\n')); err != nil {
			return err
		}
	}
	return nil
}
