package spec

import (
	"cmp"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Placeholders of a reduction's task.
const (
	ResultsField = "results" // the results, one JSON object per line
	CountField   = "n"       // the number of results of the batch
)

// reduce reads the stage that combines the results of all jobs into one. Missing settings are inherited from the jobs,
// but it has no tools.
//
//	reduce:
//	  task: "Sum up these {n} reviews: {results}"
//	  output_schema: {…}
//	  model: qwen3-32b
//	  sampling: {max_tokens: 2000}
func (l *loader) reduce(field string, n ast.Node) {
	p := &Plan{MaxTurns: 1, MaxRetries: unset}
	text, ok := l.stage(field, n, p)
	if !ok {
		return
	}
	p.System = withInstruction(text.system.text, p.Schema)
	l.reduceText, l.spec.reduce = text, p
}

// unset marks a number of retries that the spec does not give: 0 means none.
const unset = -1

// finishReduce fills in the settings that the reduction inherits from the jobs, once their fields are read.
func (l *loader) finishReduce() {
	jobs, p := l.spec.settings, l.spec.reduce
	l.finishStage(p, "reduce")
	task := l.stageTask(l.reduceText.task, "the task of a reduction has {results} and {n}, not", ResultsField, CountField)
	p.Task = task.String()
	if !slices.Contains(task.Fields(), ResultsField) {
		p.Task += "\n\n{" + ResultsField + "}"
	}
	p.MaxAttempts = cmp.Or(p.MaxAttempts, jobs.MaxAttempts)
	p.Timeouts.Turn, p.Timeouts.Tool = cmp.Or(p.Timeouts.Turn, jobs.Timeouts.Turn), cmp.Or(p.Timeouts.Tool, jobs.Timeouts.Tool)
	p.Timeouts.Job = cmp.Or(p.Timeouts.Job, jobs.Timeouts.Job)
	if p.MaxRetries == unset {
		p.MaxRetries = jobs.MaxRetries
	}
}
