package spec

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxBadKept is how many bad inputs are kept for display. The others are only counted.
const MaxBadKept = 20

// maxKnown limits the field names from which a message chooses the nearest.
const maxKnown = 1_000

// survey is the result of one pass over the inputs. Its memory does not grow with the number of inputs.
type survey struct {
	total    int64
	badCount int64
	bad      []Input // the first MaxBadKept

	known map[string]bool         // names of fields that inputs have
	used  map[string]*fieldSurvey // by the name in the prompt
	// maybe holds names that are placeholders only if some input has a value for them. Names found in the first readable
	// input move to used. late reports that a later input has another one, so that the survey has to start again.
	maybe   map[string]bool
	byField map[string][]string // names of maybe, by the fields that they may begin with
	late    bool

	first    map[string]any // the fields of the first usable input
	readable int64
	line     []byte   // the first readable input
	sample   Sample   // of the inputs that can be used
	distinct bool     // not all readable inputs are equal; checked only while no varying name is used
	varying  []string // names in the task and in preloaded calls
	rows     *rowSurvey
	twins    *twins
	sharing  *sharing // nil if the order of the task's placeholders is not judged
}

// fieldSurvey describes one field that a prompt uses.
type fieldSurvey struct {
	exact, path bool // some input has a field of this name; a path of this name leads to a value
	lacking     bool // some readable input has no value for the name
	varies      bool
	value       string // as shown in a prompt; "" once the field varies
}

func (f *fieldSurvey) seen() bool { return f.exact || f.path }

// survey reads all inputs. It reads them twice if a later input shows that a name is a field.
func (s *Spec) survey(ctx context.Context) (*survey, error) {
	firm, maybe := s.names()
	for {
		v := newSurvey(firm, maybe, s.task.wording.names(), s.varying())
		v.rows = s.rows.survey()
		for in, err := range s.Inputs(ctx) {
			if err != nil {
				return nil, err
			}
			if err := v.add(in); err != nil {
				return nil, err
			}
		}
		if !v.late {
			return v, nil
		}
		firm = slices.Sorted(maps.Keys(v.used))
	}
}

func newSurvey(firm, maybe, task, varying []string) *survey {
	v := &survey{known: map[string]bool{}, used: map[string]*fieldSurvey{}, maybe: map[string]bool{}, byField: map[string][]string{}, varying: varying,
		sharing: newSharing(task), twins: newTwins()}
	for _, name := range firm {
		v.used[name] = &fieldSurvey{}
	}
	for _, name := range maybe {
		if v.used[name] != nil {
			continue
		}
		v.maybe[name] = true
		for _, field := range append(roots(name), name) {
			v.byField[field] = append(v.byField[field], name)
		}
	}
	return v
}

func (v *survey) add(in Input) error {
	v.total++
	if in.Bad == "" {
		for name := range in.Fields {
			if len(v.known) < maxKnown {
				v.known[name] = true
			}
		}
		if err := v.find(in); err != nil {
			return err
		}
		noID := v.rows.add(in.Index, in)
		in.Bad = cmp.Or(v.lacking(in), noID)
	}
	// A field counts as present even if the input misses another one: its name is not misspelt.
	for name, f := range v.used {
		value, exact, ok := lookup(in.Fields, name)
		if !ok {
			continue
		}
		f.exact, f.path = f.exact || exact, f.path || !exact
		if f.varies || in.Bad != "" {
			continue
		}
		text, err := appendValue(nil, value)
		if err != nil {
			return fmt.Errorf("%s: field %q: %w", in.Where, name, err)
		}
		f.note(string(text), v.total-v.badCount == 1)
	}
	if in.Bad != "" {
		v.badCount++
		if len(v.bad) < MaxBadKept {
			v.bad = append(v.bad, in)
		}
		return nil
	}
	if v.first == nil {
		v.first = in.Fields
	}
	hash, err := hashOf(in.Fields, slices.Collect(maps.Keys(v.used)))
	if err != nil {
		return fmt.Errorf("%s: %w", in.Where, err)
	}
	v.twins.add(hash)
	if v.sharing != nil {
		if err := v.sharing.add(in.Fields); err != nil {
			return fmt.Errorf("%s: %w", in.Where, err)
		}
	}
	if !v.sample.Wants(v.total - 1) {
		return nil
	}
	if err := v.sample.add(v.total-1, in.Fields, slices.Collect(maps.Keys(v.used))); err != nil {
		return fmt.Errorf("%s: %w", in.Where, err)
	}
	return nil
}

// find looks for the names that may be placeholders in a readable input.
func (v *survey) find(in Input) error {
	v.readable++
	for field := range in.Fields {
		for _, name := range v.byField[field] {
			if !v.maybe[name] {
				continue
			}
			if _, _, ok := lookup(in.Fields, name); ok {
				delete(v.maybe, name)
				v.used[name] = &fieldSurvey{}
				v.late = v.late || v.readable > 1
			}
		}
	}
	if v.distinct || slices.ContainsFunc(v.varying, func(name string) bool { return v.used[name] != nil }) {
		return nil
	}
	line, err := Payload{Input: in.Fields}.encode()
	if err != nil {
		return fmt.Errorf("%s: %w", in.Where, err)
	}
	if v.line == nil {
		v.line = line
	}
	v.distinct = !bytes.Equal(v.line, line)
	return nil
}

func (f *fieldSurvey) note(text string, first bool) {
	switch {
	case first:
		f.value = text
	case f.value != text:
		f.varies, f.value = true, ""
	}
}

// lacking returns which used fields the input does not have, or "".
func (v *survey) lacking(in Input) string {
	missing := missingFrom(in, slices.Sorted(maps.Keys(v.used)))
	for _, name := range missing {
		v.used[name].lacking = true
	}
	return noValueFor(missing)
}

func missingFrom(in Input, names []string) []string {
	var missing []string
	for _, name := range names {
		if _, _, ok := lookup(in.Fields, name); !ok {
			missing = append(missing, name)
		}
	}
	return missing
}

// noValueFor returns why an input without values for names is bad, or "".
func noValueFor(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "the input has no value for {" + strings.Join(names, "}, {") + "}"
}

// constant returns the value of a name that is the same in every usable input.
func (v *survey) constant(name string) (any, bool) {
	f := v.used[name]
	if f == nil || !f.seen() || f.varies {
		return nil, false
	}
	value, _, ok := lookup(v.first, name)
	return value, ok
}

// constants returns the values of the used fields that are the same in every usable input.
func (v *survey) constants() map[string]string {
	out := map[string]string{}
	for name, f := range v.used {
		if f.seen() && !f.varies {
			out[name] = f.value
		}
	}
	return out
}
