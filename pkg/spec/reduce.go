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
	c := &Compiled{MaxTurns: 1, MaxRetries: unset}
	text, ok := l.stage(field, n, c)
	if !ok {
		return
	}
	c.System = withInstruction(text.system.text, c.Schema)
	l.reduceText, l.spec.reduce = text, c
}

// unset marks a number of retries that the spec does not give: 0 means none.
const unset = -1

// finishReduce fills in the settings that the reduction inherits from the jobs, once their fields are read.
func (l *loader) finishReduce() {
	jobs, c := l.spec.settings, l.spec.reduce
	l.finishStage(c, "reduce")
	task := l.stageTask(l.reduceText.task, "the task of a reduction has {results} and {n}, not", ResultsField, CountField)
	c.Task = task.String()
	if !slices.Contains(task.Fields(), ResultsField) {
		c.Task += "\n\n{" + ResultsField + "}"
	}
	c.MaxAttempts = cmp.Or(c.MaxAttempts, jobs.MaxAttempts)
	c.Timeouts.Turn, c.Timeouts.Tool = cmp.Or(c.Timeouts.Turn, jobs.Timeouts.Turn), cmp.Or(c.Timeouts.Tool, jobs.Timeouts.Tool)
	c.Timeouts.Job = cmp.Or(c.Timeouts.Job, jobs.Timeouts.Job)
	if c.MaxRetries == unset {
		c.MaxRetries = jobs.MaxRetries
	}
}
