package spec

import (
	"fmt"
	"strings"
)

// maxInPlace is the longest constant value, in bytes, that is written into the task after the first placeholder that
// varies. The server cannot share text after that placeholder, so longer values move to the shared prefix.
const maxInPlace = 200

// fill sets System and Task of the compiled spec. constants are the values that are the same in every input, by name.
//
// A constant of the system prompt is filled in. A constant of the task is filled in if it is before the first
// placeholder that varies, or is short. Otherwise it becomes a labelled block of the shared prefix, and the task refers
// to it. With hoist: false the task keeps its placeholders.
func (s *Spec) fill(compiled *Compiled, placed placement, constants map[string]string) error {
	var errs Errors
	system, err := placed.system.replace(func(p part) (string, bool) {
		value, ok := constants[p.shown()]
		if !ok {
			errs = append(errs, s.system.mistake(p.shown(), fmt.Sprintf(
				"{%s} is not the same in every input, and the system prompt is shared by all jobs; move {%s} to the task", p.shown(), p.shown())))
		}
		return value, ok
	})
	if err := errs.OrNil(); err != nil {
		return err
	}
	if err != nil {
		return Errors{s.system.mistakeAt(0, err.Error())}
	}
	sections := []string{}
	if text, err := system.Render(nil); err != nil {
		return fmt.Errorf("render the system prompt: %w", err)
	} else if text != "" {
		sections = append(sections, text)
	}
	task := placed.task
	if s.hoist {
		var blocks []string
		if task, blocks, err = hoist(task, constants); err != nil {
			return Errors{s.task.mistakeAt(0, err.Error())}
		}
		sections = append(sections, blocks...)
	}
	if compiled.Schema != nil && !placed.showsSchema {
		sections = append(sections, schemaInstruction+string(compiled.Schema))
	}
	compiled.System = strings.Join(sections, "\n\n")
	compiled.Task = task.String()
	compiled.template = ParseTemplate(compiled.Task)
	return nil
}

// hoist fills constants into a task. It returns the blocks for the shared prefix in the order of their first use.
func hoist(task *Template, constants map[string]string) (*Template, []string, error) {
	var blocks []string
	moved := map[string]bool{}
	varied := false
	filled, err := task.replace(func(p part) (string, bool) {
		value, ok := constants[p.shown()]
		switch {
		case !ok:
			varied = true
			return "", false
		case !varied || len(value) <= maxInPlace:
			return value, true
		}
		if !moved[p.field] {
			moved[p.field] = true
			blocks = append(blocks, fmt.Sprintf("<%s>\n%s\n</%s>", p.field, value, p.field))
		}
		return fmt.Sprintf("[the text in <%s> above]", p.field), true
	})
	return filled, blocks, err
}
