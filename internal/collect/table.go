package collect

import (
	"encoding/json"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Layout describes the columns of a table that its spec decides. The zero value takes them from the results.
type Layout struct {
	Carry  []string        // fields of the inputs that results repeat, in order
	Schema json.RawMessage // of the output; empty for free text
}

// maxColumns limits the columns that the results of a table add to those of its spec.
const maxColumns = 1_000

// table has the columns of a table of results: the ID, the carried fields, the fields of the output, and the columns of
// every table. Failed results have no values in the columns of the output.
type table struct{ columns []column }

type column struct {
	name  string
	shape *shape
	value func(row) any // nil is no value
}

// row is a result with its decoded values.
type row struct {
	batch.Result
	input, output map[string]any // nil if the value is no object
	item, whole   any            // the plan's item and the output
}

func rowOf(r batch.Result) (row, error) {
	out := row{Result: r}
	fail := func(what string, err error) (row, error) {
		return row{}, fmt.Errorf("read the %s of %s: %w", what, r.JobID, err)
	}
	input, err := decoded(r.Input)
	if err != nil {
		return fail("input", err)
	}
	if out.item, err = decoded(r.Item); err != nil {
		return fail("item", err)
	}
	if input == nil {
		input = out.item
	}
	out.input, _ = input.(map[string]any)
	if r.Status == batch.OK {
		if out.whole, err = decoded(r.Output); err != nil {
			return fail("output", err)
		}
		out.output, _ = out.whole.(map[string]any)
	}
	return out, nil
}

// tableSurvey finds the columns of a table in one pass over its results.
type tableSurvey struct {
	root    schemaShapes
	inputs  members
	outputs members
	whole   *shape // of all outputs, if one of them is no object
	item    *shape // of the items that are no objects
	asOne   bool   // the output is one column
	anyID   bool
	ownID   bool // an ID differs from the carried field of the name id
}

// members are the columns of the members of an object, in the order of their first appearance.
type members struct {
	list  []member
	index map[string]int
	full  bool // more members than columns
}

func (m *members) add(name string, s *shape) {
	if m.index == nil {
		m.index = map[string]int{}
	}
	if _, has := m.index[name]; !has {
		m.index[name] = len(m.list)
		m.list = append(m.list, member{name, s})
	}
}

// take widens the columns of an object's members. raw is the object as it was written.
func (m *members) take(object map[string]any, raw json.RawMessage) {
	fresh := false
	for name := range object {
		_, has := m.index[name]
		fresh = fresh || !has
	}
	if fresh {
		for _, name := range keysOf(raw) {
			_, has := m.index[name]
			if m.full = m.full || !has && len(m.list) >= maxColumns; !m.full {
				m.add(name, &shape{})
			}
		}
	}
	for name, v := range object {
		if i, has := m.index[name]; has {
			m.list[i].shape.take(v)
		}
	}
}

func surveyOf(l Layout) *tableSurvey {
	t := &tableSurvey{root: schemaShapes{l.Schema}, whole: &shape{}, item: &shape{}}
	for _, name := range l.Carry {
		t.inputs.add(name, &shape{})
	}
	if len(l.Schema) > 0 {
		t.whole = t.root.shape(l.Schema, 0)
		for _, m := range t.whole.members {
			t.outputs.add(m.name, t.root.shape(memberOf(memberOf(l.Schema, "properties"), m.name), 1))
		}
		t.asOne = t.whole.known() && t.whole.kind != structKind && t.whole.kind != jsonKind
	}
	return t
}

func (t *tableSurvey) add(r row) {
	raw := r.Input
	if raw == nil {
		raw = r.Item
	}
	t.inputs.take(r.input, raw)
	if r.input == nil {
		t.item.take(r.item)
	}
	if r.ID != "" {
		own, _ := textOf(r.input["id"])
		t.anyID, t.ownID = true, t.ownID || own != r.ID
	}
	t.whole.take(r.whole)
	if r.output != nil {
		t.outputs.take(r.output, r.Output)
	} else if r.whole != nil {
		t.asOne = true
	}
}

// table returns the columns.
func (t *tableSurvey) table() *table {
	n := &namer{taken: map[string]bool{}}
	out := &table{}
	add := func(name, prefix string, s *shape, value func(row) any) {
		out.columns = append(out.columns, column{n.free(name, prefix), s, value})
	}
	_, carriesID := t.inputs.index["id"]
	for _, m := range t.inputs.list {
		n.taken[m.name] = true
	}
	if t.anyID && (!carriesID || t.ownID) {
		add("id", "job_", text(), func(r row) any { return orNil(r.ID) })
	}
	for _, m := range t.inputs.list {
		out.columns = append(out.columns, column{m.name, m.shape, func(r row) any { return r.input[m.name] }})
	}
	if t.item.known() {
		add("item", "plan_", t.item, func(r row) any { return r.item })
	}
	if t.asOne || t.outputs.full {
		add("output", "job_", t.whole, func(r row) any { return r.whole })
	} else {
		for _, m := range t.outputs.list {
			add(m.name, "output_", m.shape, func(r row) any { return r.output[m.name] })
		}
	}
	for _, c := range common {
		add(c.name, "job_", c.shape, c.value)
	}
	return out
}

// namer gives columns different names.
type namer struct{ taken map[string]bool }

// free returns name, or if another column has it, name with the prefix.
func (n *namer) free(name, prefix string) string {
	base := name
	for i := 1; n.taken[name]; i++ {
		if name = prefix + base; i > 1 {
			name = fmt.Sprintf("%s%s_%d", prefix, base, i)
		}
	}
	n.taken[name] = true
	return name
}

func text() *shape  { return &shape{kind: textKind, typed: true} }
func whole() *shape { return &shape{kind: intKind, typed: true} }

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// common are the columns of every table, after those of input and output.
var common = []column{
	{"status", text(), func(r row) any { return string(r.Status) }},
	{"error_type", text(), func(r row) any { return orNil(string(errorOf(r).Type)) }},
	{"error_message", text(), func(r row) any { return orNil(errorOf(r).Message) }},
	{"index", whole(), func(r row) any { return r.Index }},
	{"attempts", whole(), func(r row) any { return int64(r.Attempts) }},
	{"turns", whole(), func(r row) any { return int64(r.Turns) }},
	{"prompt_tokens", whole(), func(r row) any { return r.Usage.PromptTokens }},
	{"cached_tokens", whole(), func(r row) any { return r.Usage.CachedTokens }},
	{"completion_tokens", whole(), func(r row) any { return r.Usage.CompletionTokens }},
	{"tools_asked", whole(), func(r row) any { return r.Tools.Asked }},
	{"tools_executed", whole(), func(r row) any { return r.Tools.Executed }},
	{"model", text(), func(r row) any { return orNil(r.Model) }},
	{"worker", text(), func(r row) any { return orNil(r.Worker) }},
	{"wall_ms", whole(), func(r row) any { return r.WallMS }},
	{"reused_from", text(), func(r row) any { return orNil(r.ReusedFrom) }},
	{"simulated", &shape{kind: boolKind, typed: true}, func(r row) any { return r.Simulated }},
	{"batch", text(), func(r row) any { return string(r.Batch) }},
}

func errorOf(r row) batch.Error {
	if r.Error == nil {
		return batch.Error{}
	}
	return *r.Error
}
