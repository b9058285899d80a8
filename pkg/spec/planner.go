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

// MaxItemsField is the placeholder in a planner's task for the plan's max_items.
const MaxItemsField = "max_items"

const (
	defaultMaxItems = 100
	// maxMaxItems keeps the commit of a plan within one short script: see docs/adr/0009-plan-is-a-batch.md.
	maxMaxItems = 10_000
)

// planSchema is the default output schema of a planner: a list of texts, each of them {item} in the task.
const planSchema = `{"type":"object","properties":{"items":{"type":"array","items":{"type":"string"}}},"required":["items"],"additionalProperties":false}`

// planner reads the stage that makes the inputs from the items of an agent's answer. Missing limits take the defaults of
// a spec, not the values of the jobs.
//
//	plan:
//	  task: "Which questions does a survey of agent papers have to answer?"
//	  output_schema: {…}                  # an object with an array "items"
//	  model: qwen3-235b
//	  tools: [grep_files]
//	  max_items: 20
func (l *loader) planner(field string, n ast.Node) {
	c := defaults(l.spec.Path)
	c.Name, c.TTL, c.MaxItems = "", 0, defaultMaxItems
	before := len(l.Errs)
	text, ok := l.stage(field, n, &c,
		strictyaml.Field{Name: "max_items", Read: l.count(&c.MaxItems, 1, maxMaxItems)},
		strictyaml.Field{Name: "tools", Read: func(f string, n ast.Node) { c.Tools, c.ToolSettings = l.tools(f, n) }},
		strictyaml.Field{Name: "max_turns", Read: l.count(&c.MaxTurns, 1, maxTurns)},
	)
	if !ok {
		return
	}
	if c.Schema == nil {
		c.Schema = json.RawMessage(planSchema)
	} else if why := noItems(c.Schema); why != "" {
		text.schema.fail(field+".output_schema", nil, why)
	}
	if len(l.Errs) > before {
		return
	}
	c.System = withInstruction(text.system.text, c.Schema)
	l.planText, l.spec.planner = text, &c
}

// finishPlanner fills in the settings that the plan inherits from the jobs, and checks the jobs' prompts against the
// schema of its items.
func (l *loader) finishPlanner() {
	c := l.spec.planner
	l.finishStage(c, planField)
	task := l.stageTask(l.planText.task, "the task of a plan has no inputs, so it has {max_items} and not", MaxItemsField)
	if !slices.Contains(task.Fields(), MaxItemsField) {
		task = ParseTemplate(task.String() + "\n\nGive at most {" + MaxItemsField + "} items.")
	}
	filled, err := task.replace(func(part) (string, bool) { return fmt.Sprint(c.MaxItems), true })
	if err != nil {
		l.Errs = append(l.Errs, l.planText.task.mistakeAt(0, err.Error()))
		return
	}
	c.Task = filled.String()
	l.spec.items = itemFields(c.Schema)
	l.spec.knowsItems = l.spec.items != nil
	if l.spec.literal {
		return
	}
	for _, t := range l.spec.prompts() {
		l.Errs = append(l.Errs, l.spec.checkItemNames(t)...)
	}
}

// checkItemNames compares a prompt of the jobs with the fields of the items.
func (s *Spec) checkItemNames(p prompt) Errors {
	var errs Errors
	noted := map[string]bool{}
	for _, q := range p.wording {
		if !q.firm() || s.ofItem(q.name) || s.isSchema(q.name) || noted[q.name] {
			continue
		}
		noted[q.name] = true
		errs = append(errs, p.mistake(q.name, fmt.Sprintf(
			"items of the plan have no field %q: its output_schema names %s, and {item} is the whole item. For the text {%s}, write {{%s}}",
			q.name, cmp.Or(strings.Join(s.items, ", "), "none"), q.name, q.name)))
	}
	known := append([]string{itemField}, s.items...)
	used := append(s.system.wording.names(), s.varying()...)
	data := dataNames{known: known, used: func(name string) bool { return s.ofItem(name) && slices.Contains(used, name) }}
	errs = append(errs, p.checkNear(data, func(name string) bool { return s.ofItem(name) || s.isSchema(name) || noted[name] })...)
	f := p.foreign(data)
	switch {
	case f.text != "":
		errs = append(errs, p.mistakeAt(f.offset, f.message(fmt.Sprintf(", and items have a field %q", f.field))))
	case len(errs) == 0 && p.field == s.task.field && !slices.ContainsFunc(s.varying(), s.ofItem):
		errs = append(errs, p.mistakeAt(0, fmt.Sprintf("no field of the plan's items occurs in the task, so all jobs would have the same prompt; write {%s}. If that is intended, set literal: true",
			strings.Join(known, "}, {"))))
	}
	return errs
}

// ofItem reports whether a name is a field of the plan's items, or a path into one. If the schema does not name the
// fields, every identifier and every path of identifiers counts.
func (s *Spec) ofItem(name string) bool {
	if name == itemField || slices.Contains(s.items, name) {
		return true
	}
	if !s.knowsItems && !s.isSchema(name) && (identifier.MatchString(name) || dotted.MatchString(name)) {
		return !s.literal
	}
	return slices.ContainsFunc(roots(name), func(root string) bool {
		return dotted.MatchString(name) && (root == itemField || slices.Contains(s.items, root))
	})
}

// CheckPlanner validates a planner received over the API: every answer must have items, and their number must be
// limited.
func (c *Compiled) CheckPlanner() error {
	if c.MaxItems < 1 || c.MaxItems > maxMaxItems {
		return fmt.Errorf("the plan %q has max_items %d; it must be from 1 to %d", c.Name, c.MaxItems, maxMaxItems)
	}
	if why := noItems(c.Schema); why != "" {
		return fmt.Errorf("the plan %q: %s", c.Name, why)
	}
	return nil
}

// schemaNode holds the keywords of a schema that noItems and itemFields read.
type schemaNode struct {
	Ref        string                     `json:"$ref"`
	Type       any                        `json:"type"`
	Properties map[string]json.RawMessage `json:"properties"`
	Items      json.RawMessage            `json:"items"`
	Required   []string                   `json:"required"`
	Additional json.RawMessage            `json:"additionalProperties"`
}

// noItems returns why an answer that matches the schema may have no list of items, or "" if it always has one.
func noItems(schema json.RawMessage) string {
	const want = "a plan answers with an object that has an array `items`: " +
		"{type: object, properties: {items: {type: array, items: {…}}}, required: [items]}"
	var top, items schemaNode
	_ = json.Unmarshal(schema, &top) // it was compiled before
	_ = json.Unmarshal(top.Properties["items"], &items)
	if top.Type != "object" || items.Type != "array" || !slices.Contains(top.Required, "items") {
		return want
	}
	return ""
}

// itemFields returns the fields that a plan's items may have, sorted, or nil if the schema does not name them.
func itemFields(schema json.RawMessage) []string {
	var top, items, item schemaNode
	_ = json.Unmarshal(schema, &top)
	_ = json.Unmarshal(top.Properties["items"], &items)
	if json.Unmarshal(items.Items, &item) != nil || item.Ref != "" {
		return nil
	}
	switch item.Type {
	case "string", "integer", "number", "boolean":
		return []string{}
	case "object":
	default:
		return nil
	}
	if string(item.Additional) != "false" && len(item.Properties) == 0 {
		return nil
	}
	names := make([]string, 0, len(item.Properties))
	for name := range item.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
