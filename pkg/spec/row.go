package spec

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/strictyaml"
)

// Names of the fields that connect results with the user's own rows.
const (
	idField    = "id"
	carryField = "carry"
	carryAll   = "all"
)

// rowRules is the part of a spec that connects results with the user's own rows. The zero value gives results neither an ID nor
// an input.
type rowRules struct {
	id       prompt // template of the ID of a job; not given without one
	template *Template
	carry    []string // fields that results repeat, in order
	all      bool     // results repeat all fields
	reserved []string // the fields that results repeat, once the inputs are known; no other field has such a name as its alias
	at       prompt   // the place of the field carry, for messages
}

// readID reads the template of the jobs' IDs.
func (l *loader) readID(field string, n ast.Node) {
	text, ok := l.Text(field, n)
	if !ok {
		return
	}
	p := prompt{given: true, text: text, field: field, file: l.File, line: strictyaml.LineOf(n), folded: true, wording: parseWording(text)}
	switch names := p.wording.names(); {
	case len(names) == 0 && identifier.MatchString(text):
		l.Failf(n, field, "must name a field of the inputs in braces: write \"{%s}\"", text)
	case len(names) == 0:
		l.Failf(n, field, "must name a field of the inputs in braces, such as \"{ticket_id}\"; without one all jobs would have the same ID")
	default:
		l.spec.rows.id = p
		l.spec.rows.template = p.wording.template(false, func(name string) (string, bool) { return name, slices.Contains(names, name) })
	}
}

// readCarry reads the names of the fields that results repeat, or the word all.
func (l *loader) readCarry(field string, n ast.Node) {
	r := &l.spec.rows
	r.at = prompt{field: field, file: l.File, line: strictyaml.LineOf(n), folded: true}
	if _, list := n.(*ast.SequenceNode); !list {
		v, ok := l.Text(field, n)
		switch {
		case ok && v == carryAll:
			r.all = true
		case ok:
			l.Failf(n, field, "must be %s, or a list of fields of the inputs: write [%s]", carryAll, v)
		}
		return
	}
	l.List(field, n, func(field string, n ast.Node) {
		name, ok := l.Text(field, n)
		switch {
		case !ok:
		case name == "" || len(name) > maxName:
			l.Failf(n, field, "must be the name of a field of the inputs")
		case slices.Contains(r.carry, name):
			l.Failf(n, field, "names the field %q a second time", name)
		case len(r.carry) == maxKnown:
			l.Failf(n, field, "is one too many; at most %d fields can be carried", maxKnown)
		default:
			r.carry = append(r.carry, name)
		}
	})
	if len(r.carry) == 0 && !l.noted(field) {
		l.Failf(n, field, "carries no field; name some, or leave it out")
	}
}

// finishRows refuses id and carry in a spec with a plan.
func (l *loader) finishRows(top ast.Node) {
	if l.spec.rows.id.given {
		l.Failf(top, idField, "needs inputs with fields of their own; the jobs of a plan have items, and their results contain the item")
	}
	if l.spec.rows.at.field != "" {
		l.Failf(top, carryField, "needs inputs with fields of their own; the jobs of a plan have items, and their results contain the item")
	}
}

// uses reports whether an ID or a result may need the field.
func (r *rowRules) uses(field string) bool {
	begins := func(name string) bool { return name == field || slices.Contains(roots(name), field) }
	return r.id.uses(field) || slices.ContainsFunc(r.carry, begins)
}

// maxID limits an ID, in characters.
const maxID = 200

// idOf returns the ID of the job with these fields, or the reason why it has none. Both are empty without a template.
func (r *rowRules) idOf(fields map[string]any) (id, bad string) {
	if !r.id.given {
		return "", ""
	}
	var b []byte
	for _, p := range r.template.parts {
		if p.field == "" {
			b = append(b, p.text...)
			continue
		}
		value, _, ok := lookup(fields, p.field)
		if _, nested := value.(json.RawMessage); nested {
			return "", fmt.Sprintf("{%s} is a list or an object, and the ID %s needs a text or a number", p.field, r.id.text)
		}
		var err error
		if ok && value != nil {
			b, err = appendValue(b, value)
		}
		if !ok || value == nil || err != nil {
			return "", fmt.Sprintf("the input has no value for {%s}, which its ID %s needs", p.field, r.id.text)
		}
	}
	id = string(b)
	switch {
	case strings.TrimSpace(id) == "":
		return "", fmt.Sprintf("its ID %s is empty", r.id.text)
	case len([]rune(id)) > maxID:
		return "", fmt.Sprintf("its ID %s has more than %d characters", r.id.text, maxID)
	case strings.ContainsFunc(id, unicode.IsControl):
		return "", fmt.Sprintf("its ID %s has control characters", r.id.text)
	}
	return id, ""
}

// rowSurvey is the result of one pass over the rows. It uses 24 bytes of memory per input with an ID.
type rowSurvey struct {
	rows  *rowRules
	seen  map[string]bool // names of the ID and of carry, by whether some input has a value
	names []string        // all names of fields in the order of their first appearance, if rows.all; at most maxKnown + 1
	known map[string]bool // of names
	ids   []idKey
}

// idKey identifies an ID by 128 bits of its hash.
type idKey struct {
	high, low uint64
	index     int64
}

func (r *rowRules) survey() *rowSurvey {
	v := &rowSurvey{rows: r, seen: map[string]bool{}, known: map[string]bool{}}
	for _, name := range append(r.id.wording.names(), r.carry...) {
		v.seen[name] = false
	}
	return v
}

// add adds a readable input with this index. It returns the reason why the input has no ID, or "".
func (v *rowSurvey) add(index int64, in Input) string {
	for name, seen := range v.seen {
		if !seen {
			_, _, v.seen[name] = lookup(in.Fields, name)
		}
	}
	if v.rows.all {
		v.addNames(in)
	}
	id, bad := v.rows.idOf(in.Fields)
	if id != "" {
		v.ids = append(v.ids, keyOfID(id, index))
	}
	return bad
}

func (v *rowSurvey) addNames(in Input) {
	fresh := 0
	for name := range in.Fields {
		if !v.known[name] {
			fresh++
		}
	}
	if fresh == 0 {
		return
	}
	names := in.Names
	if names == nil {
		names = slices.Sorted(maps.Keys(in.Fields))
	}
	for _, name := range names {
		if _, has := in.Fields[name]; has && !v.known[name] && len(v.names) <= maxKnown {
			v.known[name] = true
			v.names = append(v.names, name)
		}
	}
}

func keyOfID(id string, index int64) idKey {
	sum := sha256.Sum256([]byte(id))
	return idKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16]), index}
}

// maxPairs limits the pairs of inputs with the same ID that a message shows.
const maxPairs = 3

// idPair is an input with the ID of an earlier one.
type idPair struct{ first, second int64 }

// equalIDs returns the first inputs with the ID of an earlier input, and the number of all such inputs.
func (v *rowSurvey) equalIDs() (shown []idPair, count int) {
	slices.SortFunc(v.ids, func(a, b idKey) int {
		return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low), cmp.Compare(a.index, b.index))
	})
	first := 0
	for i := 1; i < len(v.ids); i++ {
		if v.ids[i].high != v.ids[first].high || v.ids[i].low != v.ids[first].low {
			first = i
			continue
		}
		count++
		shown = append(shown, idPair{v.ids[first].index, v.ids[i].index})
		if len(shown) > 2*maxPairs {
			shown = firstPairs(shown)
		}
	}
	return firstPairs(shown), count
}

func firstPairs(t []idPair) []idPair {
	slices.SortFunc(t, func(a, b idPair) int { return cmp.Compare(a.second, b.second) })
	return t[:min(len(t), maxPairs)]
}

// check returns the mistakes in id and carry that the inputs show, except equal IDs.
func (v *rowSurvey) check(known []string) Errors {
	var errs Errors
	missing := func(p prompt, name string) {
		errs = append(errs, p.mistakeAt(0, fmt.Sprintf("no input has a field %q; the nearest name is %q, and the known ones are %s",
			name, strictyaml.Nearest(name, known), strings.Join(known[:min(len(known), 20)], ", "))))
	}
	for _, name := range v.rows.id.wording.names() {
		if !v.seen[name] {
			missing(v.rows.id, name)
		}
	}
	for _, name := range v.rows.carry {
		if !v.seen[name] && len(errs) < maxMistakes {
			missing(v.rows.at, name)
		}
	}
	if len(v.names) > maxKnown {
		errs = append(errs, v.rows.at.mistakeAt(0, fmt.Sprintf("the inputs have fields of more than %d names; list the fields that results need", maxKnown)))
	}
	return errs
}

// checkIDs returns an error if two inputs have the same ID. It reads the inputs again to find their places.
func (s *Spec) checkIDs(ctx context.Context, v *rowSurvey) error {
	shown, count := v.equalIDs()
	if count == 0 {
		return nil
	}
	places := map[int64]Input{}
	for _, t := range shown {
		places[t.first], places[t.second] = Input{}, Input{}
	}
	for in, err := range s.Inputs(ctx) {
		if err != nil {
			return s.unreadable(ctx, err)
		}
		if _, wanted := places[in.Index]; wanted {
			places[in.Index] = in
		}
	}
	text := ""
	for _, t := range shown {
		first, second := places[t.first], places[t.second]
		id, _ := s.rows.idOf(second.Fields)
		text += fmt.Sprintf("%s and %s have the same ID %q; ", first.Where, second.Where, id)
	}
	if count > len(shown) {
		text += fmt.Sprintf("so have %d more inputs; ", count-len(shown))
	}
	return Errors{s.rows.id.mistakeAt(0, text+"an ID must occur once, so add a field to it, such as \"{a}-{b}\", or remove the duplicates")}
}

// carried returns the names of the fields that results repeat, in order. content is the name of a field that all does not
// include, or "".
func (v *rowSurvey) carried(content string) []string {
	if !v.rows.all {
		return v.rows.carry
	}
	return slices.DeleteFunc(slices.Clone(v.names), func(name string) bool { return content != "" && name == content })
}

// content returns the name of a field that carry: all does not include, or "". The contents of files are large.
func (s *Spec) content() string {
	if _, files := s.inputs.(*globSource); files {
		return contentField
	}
	return ""
}

// describe sets the ID of a payload, and the values of names that are not in its prompt's input, or with whole all fields.
func (r *rowRules) describe(job *Payload, fields map[string]any, whole bool, names []string, placeholders map[string]string) {
	if len(fields) == 0 {
		return
	}
	job.ID, _ = r.idOf(fields)
	if whole {
		job.Carry = fields
		return
	}
	for _, name := range names {
		if _, there := job.Input[name]; there && placeholders[name] == name {
			continue
		}
		value, _, ok := lookup(fields, name)
		if !ok {
			continue
		}
		if job.Carry == nil {
			job.Carry = map[string]any{}
		}
		job.Carry[name] = value
	}
}

// RowOf returns the hash of the row in the JSON of a [Payload], see [batch.Result]; "" if it has none.
func RowOf(payload []byte) string {
	var p struct {
		Row   string `json:"row"`
		Ended *struct {
			Row string `json:"row"`
		} `json:"ended"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return ""
	}
	if p.Ended != nil {
		return p.Ended.Row
	}
	return p.Row
}

// Row returns the ID of a payload's job, and the fields of its input that the result repeats: a JSON object in the order of
// Carry, or nil without any.
func (c *Compiled) Row(p *Payload) (id string, input json.RawMessage, err error) {
	var b bytes.Buffer
	for _, name := range c.Carry {
		value, ok := p.Carry[name]
		if !ok {
			value, ok = p.Input[name]
		}
		if !ok { // a path into the whole input of a program
			value, _, ok = lookup(p.Carry, name)
		}
		if !ok {
			continue
		}
		key, err := plainjson.Marshal(name)
		if err != nil {
			return "", nil, err
		}
		text, err := plainjson.Marshal(value)
		if err != nil {
			return "", nil, fmt.Errorf("carry the field %q: %w", name, err)
		}
		b.WriteString(map[bool]string{true: "{", false: ","}[b.Len() == 0])
		b.Write(key)
		b.WriteByte(':')
		b.Write(text)
	}
	if b.Len() == 0 {
		return p.ID, nil, nil
	}
	b.WriteByte('}')
	return p.ID, b.Bytes(), nil
}
