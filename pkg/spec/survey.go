package spec

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxBadKept is how many bad inputs are kept to be shown; the rest are counted.
const MaxBadKept = 20

// maxKnown bounds the field names that a message can choose the nearest from.
const maxKnown = 1_000

// survey is what one pass over the inputs finds out. Its memory does not grow with the number of inputs.
type survey struct {
	total    int64
	badCount int64
	bad      []Input // the first MaxBadKept

	known map[string]bool // names of fields that inputs have
	used  map[string]*fieldSurvey
}

// fieldSurvey is about one field that a prompt uses.
type fieldSurvey struct {
	seen   bool
	varies bool
	value  string // as a prompt shows it; "" once the field varies
}

// survey reads all inputs.
func (s *Spec) survey(ctx context.Context) (*survey, error) {
	v := &survey{known: map[string]bool{}, used: map[string]*fieldSurvey{}}
	for _, p := range []prompt{s.system, s.task} {
		for _, name := range p.template.Fields() {
			v.used[name] = &fieldSurvey{}
		}
	}
	for in, err := range s.Inputs(ctx) {
		if err != nil {
			return nil, err
		}
		if err := v.add(in); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *survey) add(in Input) error {
	v.total++
	if in.Bad == "" {
		for name := range in.Fields {
			if len(v.known) < maxKnown {
				v.known[name] = true
			}
		}
		in.Bad = v.lacking(in)
	}
	// A field counts as seen even if the input lacks another: it is not misspelt.
	for name, f := range v.used {
		value, ok := in.Fields[name]
		if !ok {
			continue
		}
		f.seen = true
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
	}
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

// lacking says which used fields the input does not have, or "".
func (v *survey) lacking(in Input) string {
	return lacking(in, slices.Sorted(maps.Keys(v.used)))
}

func lacking(in Input, used []string) string {
	var missing []string
	for _, name := range used {
		if _, ok := in.Fields[name]; !ok {
			missing = append(missing, "{"+name+"}")
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "the input has no value for " + strings.Join(missing, ", ")
}

// constants are the values of the used fields that are the same in every usable input.
func (v *survey) constants() map[string]string {
	out := map[string]string{}
	for name, f := range v.used {
		if f.seen && !f.varies {
			out[name] = f.value
		}
	}
	return out
}
