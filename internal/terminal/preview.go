package terminal

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// WritePreview checks a spec and all its inputs, and writes what would be submitted. With tokens, it also writes how many tokens the
// prompts have.
func WritePreview(ctx context.Context, w io.Writer, o operation.SubmitOptions, tokens *localrun.EstimateOptions) error {
	var b strings.Builder
	o.Notify = func(n notice.Notice) {
		if n.Code.Warns() {
			b.WriteString("warning: " + n.Text + "\n")
		}
	}
	var estimate localrun.Estimate
	var look func(*spec.Spec, *spec.Prepared) error
	if tokens != nil {
		look = func(s *spec.Spec, p *spec.Prepared) (err error) {
			estimate, err = localrun.EstimatePrompts(ctx, *tokens, s, p)
			return err
		}
	}
	preview, err := operation.Validate(ctx, o, look)
	if err != nil {
		return err
	}
	p, prompt := preview.Prepared, preview.Prompt
	c := p.Jobs
	fmt.Fprintf(&b, "%s is valid\n\n", o.Spec)
	if p.Planner == nil {
		fmt.Fprintf(&b, "name           %s\njobs           %s\n", c.Name, jobsOf(p.Total, p.Rows))
	} else {
		fmt.Fprintf(&b, "name           %s\njobs           from a plan of at most %s\n", c.Name, human.Plural(int64(p.Planner.MaxItems), "item", "items"))
		fmt.Fprintf(&b, "planned        by %s; tools %s; %d turns, %d retries a turn, %d attempts\n", cmp.Or(p.Planner.Model, "the server's first model"),
			cmp.Or(strings.Join(p.Planner.Tools, ", "), "none"), p.Planner.MaxTurns, p.Planner.MaxRetries, p.Planner.MaxAttempts)
	}
	if text := identicalOf(p); text != "" {
		fmt.Fprintf(&b, "identical      %s\n", text)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "note           %s\n", note)
	}
	if p.BadCount > 0 {
		fmt.Fprintf(&b, "bad inputs     %s will fail as BadInput; the first is %s: %s\n", human.Count(p.BadCount), p.Bad[0].Where, p.Bad[0].Bad)
	}
	fmt.Fprintf(&b, "model          %s\n", cmp.Or(c.Model, "the server's first"))
	fmt.Fprintf(&b, "tools          %s\n", cmp.Or(strings.Join(c.Tools, ", "), "none"))
	if len(c.Preload) > 0 {
		fmt.Fprintf(&b, "preloaded      %s\n", preloadsOf(c))
	}
	fmt.Fprintf(&b, "output schema  %s\n", cmp.Or(schemaSize(c), "none: the output is {\"text\": …}"))
	if p.Reducer != nil {
		fmt.Fprintf(&b, "reduced        by %s, when all jobs have a result\n", cmp.Or(p.Reducer.Model, "the server's first model"))
	}
	fmt.Fprintf(&b, "limits         %d turns, %d retries a turn, %d attempts\n", c.MaxTurns, c.MaxRetries, c.MaxAttempts)
	fmt.Fprintf(&b, "shared prefix  %s bytes, the same for every job\n", human.Count(int64(len(c.System))))
	if tokens != nil {
		b.WriteString(estimateText(estimate, p))
	}
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

// estimateText describes how many tokens the prompts have.
func estimateText(e localrun.Estimate, p *spec.Prepared) string {
	var how string
	switch {
	case e.Jobs == 0:
		return "prompt tokens  0: no input can be used, so no job asks the model; correct the inputs first\n"
	case e.Counted == 0:
		how = fmt.Sprintf("about %s, by 3 bytes per token, because %s", human.Count(rounded(e.Tokens)), e.Why)
	case e.Counted == e.Jobs:
		how = fmt.Sprintf("%s, counted by %s", human.Count(e.Tokens), e.Server)
	default:
		how = fmt.Sprintf("about %s: %s counted %s of %s, the others are estimated by their lengths", human.Count(rounded(e.Tokens)), e.Server, human.Count(e.Counted), human.Plural(e.Jobs, "prompt", "prompts"))
	}
	text := fmt.Sprintf("prompt tokens  %s\n", how)
	if e.Prices.Prompt > 0 {
		text += fmt.Sprintf("prompt cost    at most %s, without the server's cache\n", human.Dollars(e.Prices.WithoutCache(batch.Usage{PromptTokens: e.Tokens})))
	}
	missing := "the answers"
	if len(p.Jobs.Tools)+len(p.Jobs.Preload) > 0 {
		missing = "the answers, the tools and their results"
	}
	return text + fmt.Sprintf("not included   %s, and the time; a trial with --sample 20 estimates them\n", missing)
}

// identicalOf reports how many jobs have the prompt of an earlier one. It is empty without any.
func identicalOf(p *spec.Prepared) string {
	once := p.Jobs.Identical == spec.IdenticalOnce
	switch {
	case p.Copies < 0:
		return "unknown: there are too many inputs to compare all of them"
	case p.Copies == 0 && once && p.Planner != nil:
		return "jobs run once; a plan makes the jobs, so their number is not known yet"
	case p.Copies == 0:
		return ""
	}
	text := fmt.Sprintf("%s of %s have the prompt of an earlier one", human.Count(p.Copies), human.Plural(p.Rows, "job", "jobs"))
	if once {
		return text + " and take its result"
	}
	return text + fmt.Sprintf("; with identical: once, %s would run", human.Plural(p.Rows-p.BadCount-p.Copies, "job", "jobs"))
}

// preloadsOf lists the calls that workers make before the first turn of a job.
func preloadsOf(c *spec.Compiled) string {
	out := make([]string, len(c.Preload))
	for i, p := range c.Preload {
		out[i] = p.Tool + " " + string(p.Args)
		if !p.Varies() {
			out[i] += " (the same for every job)"
		}
	}
	return strings.Join(out, ", then ")
}

func schemaSize(c *spec.Compiled) string {
	if len(c.Schema) == 0 {
		return ""
	}
	return fmt.Sprintf("%s bytes", human.Count(int64(len(c.Schema))))
}
