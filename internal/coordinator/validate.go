package coordinator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/spec"
)

// Validate checks a spec and all its inputs, and prints what would be submitted.
func Validate(ctx context.Context, w io.Writer, o SubmitOptions) error {
	var b strings.Builder
	s, p, err := loadSpec(ctx, o, func(note string) {
		if strings.HasPrefix(note, "warning: ") {
			b.WriteString(note + "\n")
		}
	})
	if err != nil {
		return err
	}
	defer s.Close()
	prompt, err := p.Jobs.Task, error(nil)
	if p.Planner == nil {
		prompt, err = firstPrompt(ctx, p)
	}
	if err != nil {
		return err
	}
	c := p.Jobs
	fmt.Fprintf(&b, "%s is valid\n\n", o.Spec)
	if p.Planner == nil {
		fmt.Fprintf(&b, "name           %s\njobs           %s\n", c.Name, count(p.Total))
	} else {
		fmt.Fprintf(&b, "name           %s\njobs           from a plan of at most %s\n", c.Name, plural(int64(p.Planner.MaxItems), "item", "items"))
		fmt.Fprintf(&b, "planned        by %s; tools %s; %d turns, %d retries a turn, %d attempts\n", cmp.Or(p.Planner.Model, "the server's first model"),
			cmp.Or(strings.Join(p.Planner.Tools, ", "), "none"), p.Planner.MaxTurns, p.Planner.MaxRetries, p.Planner.MaxAttempts)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "note           %s\n", note)
	}
	if p.BadCount > 0 {
		fmt.Fprintf(&b, "bad inputs     %s will fail as BadInput; the first is %s: %s\n", count(p.BadCount), p.Bad[0].Where, p.Bad[0].Bad)
	}
	fmt.Fprintf(&b, "model          %s\n", cmp.Or(c.Model, "the server's first"))
	fmt.Fprintf(&b, "tools          %s\n", cmp.Or(strings.Join(c.Tools, ", "), "none"))
	fmt.Fprintf(&b, "output schema  %s\n", cmp.Or(schemaSize(c), "none: the output is {\"text\": …}"))
	if p.Reducer != nil {
		fmt.Fprintf(&b, "reduced        by %s, when all jobs have a result\n", cmp.Or(p.Reducer.Model, "the server's first model"))
	}
	fmt.Fprintf(&b, "limits         %d turns, %d retries a turn, %d attempts\n", c.MaxTurns, c.MaxRetries, c.MaxAttempts)
	fmt.Fprintf(&b, "shared prefix  %s bytes, the same for every job\n", count(int64(len(c.System))))
	if c.System != "" {
		fmt.Fprintf(&b, "\n--- shared prefix\n%s\n", c.System)
	}
	if p.Planner != nil {
		fmt.Fprintf(&b, "\n--- system prompt of the planner\n%s\n", p.Planner.System)
		fmt.Fprintf(&b, "\n--- prompt of the planner\n%s\n", p.Planner.Task)
		fmt.Fprintf(&b, "\n--- prompt of each job, from its item\n%s\n", prompt)
	} else {
		fmt.Fprintf(&b, "\n--- prompt of the first job\n%s\n", prompt)
	}
	_, err = io.WriteString(w, human.Visible(b.String()))
	return err
}

// firstPrompt renders the first usable input.
func firstPrompt(ctx context.Context, p *spec.Prepared) (string, error) {
	for data, err := range p.Payloads(ctx) {
		if err != nil {
			return "", err
		}
		var payload spec.Payload
		if err := json.Unmarshal(data, &payload); err != nil {
			return "", fmt.Errorf("decode the first input: %w", err)
		}
		if payload.Bad == "" {
			text, err := p.Jobs.Prompt(payload.Input)
			if err != nil {
				return "", &UsageError{fmt.Errorf("the first input: %w", err)}
			}
			return text, nil
		}
	}
	return "(no usable input)", nil
}

func schemaSize(c *spec.Compiled) string {
	if len(c.Schema) == 0 {
		return ""
	}
	return fmt.Sprintf("%s bytes", count(int64(len(c.Schema))))
}
