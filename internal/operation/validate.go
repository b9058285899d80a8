package operation

import (
	"context"
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Preview is what a spec would submit.
type Preview struct {
	Prepared *spec.Prepared
	Prompt   string // of the first job with a usable input; the template if a planner makes the jobs
}

// Validate checks a spec and all its inputs. It submits nothing. It calls look with the spec, while its inputs can be read; nil is
// skipped.
func Validate(ctx context.Context, o SubmitOptions, look func(*spec.Spec, *spec.Prepared) error) (Preview, error) {
	s, p, err := LoadSpec(ctx, o)
	if err != nil {
		return Preview{}, err
	}
	defer s.Close()
	out := Preview{Prepared: p, Prompt: p.Jobs.Task}
	if p.Planner == nil {
		out.Prompt, err = firstPrompt(ctx, p)
	}
	if err == nil && look != nil {
		err = look(s, p)
	}
	return out, err
}

// firstPrompt renders the first usable input.
func firstPrompt(ctx context.Context, p *spec.Prepared) (string, error) {
	for data, err := range p.Payloads(ctx) {
		if err != nil {
			return "", err
		}
		payload, err := spec.DecodePayload(data)
		if err != nil {
			return "", fmt.Errorf("decode the first input: %w", err)
		}
		if payload.Bad == "" {
			asked, err := p.Jobs.Ask(payload.Input)
			if err != nil {
				return "", &fault.UsageError{Err: fmt.Errorf("the first input: %w", err)}
			}
			return withCalls(asked), nil
		}
	}
	return "(no usable input)", nil
}

// withCalls returns a prompt behind its preloaded calls, whose results are not known yet.
func withCalls(a spec.Asked) string {
	var b strings.Builder
	for _, c := range a.Calls {
		fmt.Fprintf(&b, "[the result of %s %s]\n\n", c.Tool, c.Args)
	}
	return b.String() + a.Prompt
}
