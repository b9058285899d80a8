package operation

import (
	"context"
	"encoding/json"
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

// PromptOf returns the prompt of the row with a result's index.
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
		if index++; index < r.Index {
			continue
		}
		return promptOf(p, line, r)
	}
	return Prompt{}, fault.Usagef("%s has %d inputs, and no row of index %d", o.Spec, p.Rows, r.Index)
}

func promptOf(p *spec.Prepared, line []byte, r batch.Result) (Prompt, error) {
	var payload spec.Payload
	if err := json.Unmarshal(line, &payload); err != nil {
		return Prompt{}, fmt.Errorf("read %s: %w", r.JobID, err)
	}
	asked, bad := payload.Asked(p.Jobs.Ask)
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
