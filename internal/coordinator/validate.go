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
	s, c, err := loadSpec(ctx, o, func(note string) {
		if strings.HasPrefix(note, "warning: ") {
			b.WriteString(note + "\n")
		}
	})
	if err != nil {
		return err
	}
	defer s.Close()
	prompt, err := c.Plan.Task, error(nil)
	if c.Planner == nil {
		prompt, err = firstPrompt(ctx, c)
	}
	if err != nil {
		return err
	}
	p := c.Plan
	fmt.Fprintf(&b, "%s is valid\n\n", o.Spec)
	if c.Planner == nil {
		fmt.Fprintf(&b, "name           %s\njobs           %s\n", human.Visible(p.Name), count(c.Total))
	} else {
		fmt.Fprintf(&b, "name           %s\njobs           from a plan of at most %s\n", human.Visible(p.Name), plural(int64(c.Planner.MaxItems), "item", "items"))
		fmt.Fprintf(&b, "planned        by %s; tools %s; %d turns, %d retries a turn, %d attempts\n", cmp.Or(c.Planner.Model, "the server's first model"),
			cmp.Or(strings.Join(c.Planner.Tools, ", "), "none"), c.Planner.MaxTurns, c.Planner.MaxRetries, c.Planner.MaxAttempts)
	}
	for _, note := range c.Notes {
		fmt.Fprintf(&b, "note           %s\n", note)
	}
	if c.BadCount > 0 {
		fmt.Fprintf(&b, "bad inputs     %s will fail as BadInput; the first is %s: %s\n", count(c.BadCount), c.Bad[0].Where, c.Bad[0].Bad)
	}
	fmt.Fprintf(&b, "model          %s\n", cmp.Or(p.Model, "the server's first"))
	fmt.Fprintf(&b, "tools          %s\n", cmp.Or(strings.Join(p.Tools, ", "), "none"))
	fmt.Fprintf(&b, "output schema  %s\n", cmp.Or(schemaSize(p), "none: the output is {\"text\": …}"))
	if c.Reduce != nil {
		fmt.Fprintf(&b, "reduced        by %s, when all jobs have a result\n", cmp.Or(c.Reduce.Model, "the server's first model"))
	}
	fmt.Fprintf(&b, "limits         %d turns, %d retries a turn, %d attempts\n", p.MaxTurns, p.MaxRetries, p.MaxAttempts)
	fmt.Fprintf(&b, "shared prefix  %s bytes, the same for every job\n", count(int64(len(p.System))))
	if p.System != "" {
		fmt.Fprintf(&b, "\n--- shared prefix\n%s\n", p.System)
	}
	if c.Planner != nil {
		fmt.Fprintf(&b, "\n--- system prompt of the planner\n%s\n", c.Planner.System)
		fmt.Fprintf(&b, "\n--- prompt of the planner\n%s\n", c.Planner.Task)
		fmt.Fprintf(&b, "\n--- prompt of each job, from its item\n%s\n", prompt)
	} else {
		fmt.Fprintf(&b, "\n--- prompt of the first job\n%s\n", prompt)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// firstPrompt renders the first usable input.
func firstPrompt(ctx context.Context, c *spec.Compiled) (string, error) {
	for data, err := range c.Payloads(ctx) {
		if err != nil {
			return "", err
		}
		var p spec.Payload
		if err := json.Unmarshal(data, &p); err != nil {
			return "", fmt.Errorf("decode the first input: %w", err)
		}
		if p.Bad == "" {
			text, err := c.Plan.Prompt(p.Input)
			if err != nil {
				return "", &UsageError{fmt.Errorf("the first input: %w", err)}
			}
			return text, nil
		}
	}
	return "(no usable input)", nil
}

func schemaSize(p *spec.Plan) string {
	if len(p.Schema) == 0 {
		return ""
	}
	return fmt.Sprintf("%s bytes", count(int64(len(p.Schema))))
}
