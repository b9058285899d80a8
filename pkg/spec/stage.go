package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// stageText is what a stage is asked, as it was written.
type stageText struct {
	system, task prompt
	schema       schemaText
}

// stage reads into p what every stage may have of its own, and more. It reports whether that is sound and has a task.
func (l *loader) stage(field string, n ast.Node, p *Plan, more ...fieldReader) (s stageText, ok bool) {
	ofJobs, before := l.schema, len(l.errs)
	l.mapping(field, n, append([]fieldReader{
		{"system_prompt", func(f string, n ast.Node) { s.system, _ = l.prompt(f, n) }},
		{"task", func(f string, n ast.Node) { s.task = l.taskPrompt(f, n) }},
		{"output_schema", func(f string, n ast.Node) { p.Schema = l.outputSchema(f, n) }},
		{"model", l.label(&p.Model)},
		{"sampling", l.sampling(&p.Sampling)},
		{"max_retries", l.count(&p.MaxRetries, 0, maxRetries)},
		{"max_attempts", l.count(&p.MaxAttempts, 1, maxAttempts)},
		{"timeouts", l.timeouts(&p.Timeouts)},
		{"budget", l.budget(&p.JobBudget, &p.Prices)},
		{"prices", l.prices(&p.Prices)},
		{"keep_reasoning", l.keepReasoning(&p.KeepReasoning)},
	}, more...))
	s.schema, l.schema = l.schema, ofJobs
	if len(l.errs) > before {
		return s, false
	}
	if s.task.template == nil {
		l.failf(n, field+".task", "is required")
		return s, false
	}
	return s, true
}

// onlyPlaceholders refuses all but the named placeholders in a stage's task. but says which there are, up to the one that there is not.
func (l *loader) onlyPlaceholders(task prompt, but string, names ...string) {
	for _, name := range task.template.Fields() {
		if !slices.Contains(names, name) {
			l.errs = append(l.errs, task.mistake(name, fmt.Sprintf("%s {%s}. To mean the text {%s}, write {{%s}}", but, name, name, name)))
		}
	}
}

// withInstruction is a stage's system prompt, with its schema behind it.
func withInstruction(system string, schema json.RawMessage) string {
	var sections []string
	if system != "" {
		sections = append(sections, system)
	}
	if schema != nil {
		sections = append(sections, schemaInstruction+string(schema))
	}
	return strings.Join(sections, "\n\n")
}

// finishStage fills in what every stage shares with the jobs, once their fields are read.
func (l *loader) finishStage(p *Plan, name string) {
	jobs := l.spec.settings
	p.Name, p.Owner, p.Priority, p.TTL = jobs.Name+"/"+name, jobs.Owner, jobs.Priority, jobs.TTL
	p.KeepReasoning = p.KeepReasoning.or(jobs.KeepReasoning)
	p.Model, p.Prices = cmp.Or(p.Model, jobs.Model), cmp.Or(p.Prices, jobs.Prices)
}
