package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Placeholders of a reduction's task.
const (
	ResultsField = "results" // the results, one JSON object per line
	CountField   = "n"       // how many results the batch has
)

// reduce reads how the results of all jobs become one. What it does not say is as for the jobs; tools there are none.
//
//	reduce:
//	  task: "Sum up these {n} reviews: {results}"
//	  output_schema: {…}
//	  model: qwen3-32b
//	  sampling: {max_tokens: 2000}
func (l *loader) reduce(field string, n ast.Node) {
	p := &Plan{MaxTurns: 1}
	var system, task prompt
	ofJobs := l.schema
	before := len(l.errs)
	l.mapping(field, n, []fieldReader{
		{"system_prompt", func(f string, n ast.Node) { system, _ = l.prompt(f, n) }},
		{"task", func(f string, n ast.Node) { task = l.taskPrompt(f, n) }},
		{"output_schema", func(f string, n ast.Node) { p.Schema = l.outputSchema(f, n) }},
		{"model", l.label(&p.Model)},
		{"sampling", l.sampling(&p.Sampling)},
	})
	l.schema = ofJobs
	if len(l.errs) > before {
		return
	}
	if task.template == nil {
		l.failf(n, field+".task", "is required")
		return
	}
	for _, name := range task.template.Fields() {
		if name != ResultsField && name != CountField {
			l.errs = append(l.errs, task.mistake(name, fmt.Sprintf(
				"the task of a reduction has {results} and {n}, not {%s}. To mean the text {%s}, write {{%s}}", name, name, name)))
		}
	}
	p.Task = task.template.String()
	if !slices.Contains(task.template.Fields(), ResultsField) {
		p.Task += "\n\n{" + ResultsField + "}"
	}
	var sections []string
	if system.text != "" {
		sections = append(sections, system.text)
	}
	if p.Schema != nil {
		sections = append(sections, schemaInstruction+string(p.Schema))
	}
	p.System = strings.Join(sections, "\n\n")
	l.spec.reduce = p
}

// finishReduce fills in what the reduction shares with the jobs, once their fields are read.
func (l *loader) finishReduce() {
	jobs, p := l.spec.settings, l.spec.reduce
	p.Name, p.Owner, p.Priority, p.TTL, p.Timeouts = jobs.Name+"/reduce", jobs.Owner, jobs.Priority, jobs.TTL, jobs.Timeouts
	p.MaxRetries, p.MaxAttempts = jobs.MaxRetries, jobs.MaxAttempts
	if p.Model == "" {
		p.Model = jobs.Model
	}
}
