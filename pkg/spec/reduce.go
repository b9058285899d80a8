package spec

import (
	"fmt"
	"slices"

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
	p := &Plan{MaxTurns: 1, MaxRetries: unset}
	var system, task prompt
	ofJobs := l.schema
	before := len(l.errs)
	l.mapping(field, n, append([]fieldReader{
		{"system_prompt", func(f string, n ast.Node) { system, _ = l.prompt(f, n) }},
		{"task", func(f string, n ast.Node) { task = l.taskPrompt(f, n) }},
		{"output_schema", func(f string, n ast.Node) { p.Schema = l.outputSchema(f, n) }},
	}, l.stageFields(p)...))
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
	p.System = withInstruction(system.text, p.Schema)
	l.spec.reduce = p
}

// unset is a number of retries that the spec does not give: 0 means none.
const unset = -1

// finishReduce fills in what the reduction shares with the jobs, once their fields are read.
func (l *loader) finishReduce() {
	jobs, p := l.spec.settings, l.spec.reduce
	p.Name, p.Owner, p.Priority, p.TTL = jobs.Name+"/reduce", jobs.Owner, jobs.Priority, jobs.TTL
	p.Model, p.Prices = orOther(p.Model, jobs.Model), orOther(p.Prices, jobs.Prices)
	p.MaxAttempts = orOther(p.MaxAttempts, jobs.MaxAttempts)
	p.Timeouts.Turn, p.Timeouts.Tool = orOther(p.Timeouts.Turn, jobs.Timeouts.Turn), orOther(p.Timeouts.Tool, jobs.Timeouts.Tool)
	p.Timeouts.Job = orOther(p.Timeouts.Job, jobs.Timeouts.Job)
	if p.MaxRetries == unset {
		p.MaxRetries = jobs.MaxRetries
	}
}
