package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// stageText is the prompts of a stage as written.
type stageText struct {
	system, task prompt
	schema       schemaText
}

// stage reads the fields that every stage may have, and more, into p. ok reports that they are valid and include a task.
func (l *loader) stage(field string, n ast.Node, c *Compiled, more ...strictyaml.Field) (s stageText, ok bool) {
	ofJobs, before := l.schema, len(l.Errs)
	l.Fields(field, n, append([]strictyaml.Field{
		{Name: "system_prompt", Read: func(f string, n ast.Node) { s.system, _ = l.prompt(f, n) }},
		{Name: "task", Read: func(f string, n ast.Node) { s.task = l.taskPrompt(f, n) }},
		{Name: "output_schema", Read: func(f string, n ast.Node) { c.Schema = l.outputSchema(f, n) }},
		{Name: "model", Read: l.model(c)},
		{Name: "sampling", Read: l.sampling(&c.Sampling)},
		{Name: "max_retries", Read: l.count(&c.MaxRetries, 0, maxRetries)},
		{Name: "max_attempts", Read: l.count(&c.MaxAttempts, 1, maxAttempts)},
		{Name: "timeouts", Read: l.timeouts(&c.Timeouts)},
		{Name: "budget", Read: l.budget(&c.JobBudget, &c.Prices)},
		{Name: "prices", Read: l.prices(&c.Prices)},
		{Name: "keep_reasoning", Read: l.keepReasoning(&c.KeepReasoning)},
	}, more...)...)
	s.schema, l.schema = l.schema, ofJobs
	if len(l.Errs) > before {
		return s, false
	}
	if !s.task.given {
		l.Failf(n, field+".task", "is required")
		return s, false
	}
	return s, true
}

// stageTask makes the template of a stage's task. names are its placeholders; but begins the message about other names.
func (l *loader) stageTask(task prompt, but string, names ...string) *Template {
	known := func(name string) bool { return slices.Contains(names, name) }
	if !l.spec.literal {
		l.Errs = append(l.Errs, task.checkStage(but, names, known)...)
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
