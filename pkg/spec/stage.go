package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// stageText is the prompts of a stage as written.
type stageText struct {
	system, task prompt
	schema       schemaText
}

// stage reads the fields that every stage may have, and more, into p. ok reports that they are valid and include a task.
func (l *loader) stage(field string, n ast.Node, c *Compiled, more ...fieldReader) (s stageText, ok bool) {
	ofJobs, before := l.schema, len(l.errs)
	l.mapping(field, n, append([]fieldReader{
		{"system_prompt", func(f string, n ast.Node) { s.system, _ = l.prompt(f, n) }},
		{"task", func(f string, n ast.Node) { s.task = l.taskPrompt(f, n) }},
		{"output_schema", func(f string, n ast.Node) { c.Schema = l.outputSchema(f, n) }},
		{"model", l.model(c)},
		{"sampling", l.sampling(&c.Sampling)},
		{"max_retries", l.count(&c.MaxRetries, 0, maxRetries)},
		{"max_attempts", l.count(&c.MaxAttempts, 1, maxAttempts)},
		{"timeouts", l.timeouts(&c.Timeouts)},
		{"budget", l.budget(&c.JobBudget, &c.Prices)},
		{"prices", l.prices(&c.Prices)},
		{"keep_reasoning", l.keepReasoning(&c.KeepReasoning)},
	}, more...))
	s.schema, l.schema = l.schema, ofJobs
	if len(l.errs) > before {
		return s, false
	}
	if !s.task.given {
		l.failf(n, field+".task", "is required")
		return s, false
	}
	return s, true
}

// stageTask makes the template of a stage's task. names are its placeholders; but begins the message about other names.
func (l *loader) stageTask(task prompt, but string, names ...string) *Template {
	known := func(name string) bool { return slices.Contains(names, name) }
	if !l.spec.literal {
		l.errs = append(l.errs, task.checkStage(but, names, known)...)
	}
	return task.wording.template(l.spec.literal, func(name string) (string, bool) { return name, known(name) })
}

func (p prompt) checkStage(but string, names []string, known func(string) bool) Errors {
	var errs Errors
	noted := map[string]bool{}
	for _, q := range p.wording {
		if q.firm() && !known(q.name) && !noted[q.name] {
			noted[q.name] = true
			errs = append(errs, p.mistake(q.name, fmt.Sprintf("%s {%s}. For the text {%s}, write {{%s}}", but, q.name, q.name, q.name)))
		}
	}
	used := p.wording.names()
	data := dataNames{known: names, used: func(name string) bool { return known(name) && slices.Contains(used, name) }}
	errs = append(errs, p.checkNear(data, func(name string) bool { return known(name) || noted[name] })...)
	if f := p.foreign(data); f.text != "" {
		errs = append(errs, p.mistakeAt(f.offset, f.message("")))
	}
	return errs
}

// withInstruction returns a stage's system prompt followed by its schema.
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

// finishStage fills in the settings that every stage inherits from the jobs, once their fields are read.
func (l *loader) finishStage(c *Compiled, name string) {
	jobs := l.spec.settings
	c.Name, c.Owner, c.Priority, c.TTL = jobs.Name+"/"+name, jobs.Owner, jobs.Priority, jobs.TTL
	c.KeepReasoning = c.KeepReasoning.or(jobs.KeepReasoning)
	c.AnyModel = c.AnyModel || c.Model == "" && jobs.AnyModel
	if !c.AnyModel {
		c.Model = cmp.Or(c.Model, jobs.Model)
	}
	c.Prices = cmp.Or(c.Prices, jobs.Prices)
}
