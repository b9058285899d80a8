package operation

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Prompt is the prompt that a spec makes of a row.
type Prompt struct {
	System, Task string
	// Changed reports that the result answers another question. It is false if the batch has tools, whose versions are not known
	// here.
	Changed bool
}

// PromptOf returns the prompt of a result's row: the row with its ID, or without one the row with its fields. Results of earlier
// versions have neither, and belong to the row with their index.
func PromptOf(ctx context.Context, o SubmitOptions, r batch.Result) (Prompt, error) {
	s, p, err := LoadSpec(ctx, o)
	if err != nil {
		return Prompt{}, err
	}
	defer s.Close()
	if p.Planner != nil {
		return Prompt{}, fault.Usagef("%s has a plan, and the prompts of its jobs are not known from the spec alone", o.Spec)
	}
	index := int64(-1)
	for line, err := range p.AllPayloads(ctx) {
		if err != nil {
			return Prompt{}, err
		}
		index++
		payload, err := spec.DecodePayload(line)
		if err != nil {
			return Prompt{}, fmt.Errorf("read %s: %w", batch.JobID(index), err)
		}
		if isRowOf(r, &payload, index) {
			return promptOf(p, payload, r)
		}
	}
	return Prompt{}, fault.Usagef("none of the %d inputs of %s is the row of %s: it was edited or removed; without the spec, the result is shown alone", p.Rows, o.Spec, r.JobID)
}

func isRowOf(r batch.Result, payload *spec.Payload, index int64) bool {
	switch {
	case r.ID != "":
		return payload.ID == r.ID
	case r.Row != "":
		return payload.Row == r.Row
	}
	return index == r.Index
}

func promptOf(p *spec.Prepared, payload spec.Payload, r batch.Result) (Prompt, error) {
	asked, bad := p.Jobs.Asked(&payload)
	if bad != "" {
		return Prompt{}, fault.Usagef("the input of %s cannot be used: %s", r.JobID, bad)
	}
	out := Prompt{System: p.Jobs.System, Task: withCalls(asked)}
	if len(p.Jobs.Needs()) > 0 || r.Question == "" {
		return out, nil
	}
	question, err := p.Jobs.Asks([]spec.AskedTool{})
	if err != nil {
		return Prompt{}, err
	}
	out.Changed = question.Of(p.Jobs, &payload) != r.Question
	return out, nil
}
