package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/batchagent/batchagent/pkg/strictyaml"
)

const (
	// maxShownPrompt limits the part of a prompt that an error shows, in characters.
	maxShownPrompt = 400
	// maxNear limits the names that are checked for typos.
	maxNear = 1_000
	// maxMistakes limits the reported mistakes of a prompt.
	maxMistakes = 100
	// maxForeign limits the different names in doubled braces that are checked.
	maxForeign = 10_000
)

// checkNames finds placeholders without a field in any input, and names in braces that are nearly names of fields.
func (s *Spec) checkNames(v *survey) Errors {
	var errs Errors
	if len(v.known) == 0 {
		return nil // the caller reports that no input could be read
	}
	known := slices.Sorted(maps.Keys(v.known))
	errs = append(errs, v.rows.check(known)...)
	hint := ""
	if notes := s.notes(); len(notes) > 0 {
		hint = ". " + strings.Join(notes, "; ")
	}
	if len(known) == 1 && known[0] == scalarField {
		hint += ". A bare value or an array is the field \"input\"; for one input per element of an array name the file .json, or set format: json"
	}
	for _, p := range s.prompts() {
		for _, name := range p.wording.names() {
			if len(errs) >= maxMistakes {
				break
			}
			f := v.used[name]
			switch {
			case f != nil && f.exact && f.path:
				errs = append(errs, p.mistake(name, fmt.Sprintf("some inputs have a field %q, and others a path of this name; rename the field", name)))
			case f != nil && f.seen():
				errs = append(errs, s.checkSchemaName(p, name, f)...)
			case f != nil:
				errs = append(errs, p.mistake(name, fmt.Sprintf(
					"no input has a field %q; the nearest name is %q, and the known ones are %s. For the text {%s}, write {{%s}}%s",
					name, strictyaml.Nearest(name, known), strings.Join(known[:min(len(known), 20)], ", "), name, name, hint)))
			}
		}
		if !s.literal {
			errs = append(errs, p.checkNear(v.names(known), func(name string) bool { return v.used[name] != nil || s.isSchema(name) })...)
		}
	}
	return errs
}

// checkSchemaName refuses a name that could mean both a field and the output schema.
func (s *Spec) checkSchemaName(p prompt, name string, f *fieldSurvey) Errors {
	switch {
	case !s.isSchema(name):
		return nil
	case name == outputSchemaField:
		return Errors{p.mistake(name, "inputs have a field \"output_schema\", and {output_schema} is the output schema of the spec; rename the field")}
	case f.lacking:
		return Errors{p.mistake(name, "only some inputs have a field \"schema\", so {schema} could be the field or the output schema; for the output schema write {output_schema}")}
	case p.field == s.system.field && f.varies:
		return Errors{p.mistake(name, "inputs have a field \"schema\" that varies, and the system prompt is shared by all jobs; for the output schema write {output_schema}, for the field use the task")}
	case s.system.uses(name) && s.task.uses(name):
		return Errors{p.mistake(name, "inputs have a field \"schema\", and both prompts have {schema}; for the output schema write {output_schema}")}
	}
	return nil
}

// checkNear finds names in braces that are nearly names of fields.
func (p prompt) checkNear(data dataNames, placed func(name string) bool) Errors {
	var errs Errors
	for i, name := range p.wording.names() {
		if i > maxNear {
			break
		}
		if placed(name) {
			continue
		}
		if field, ok := data.nearMiss(name); ok {
			errs = append(errs, p.mistake(name, fmt.Sprintf(
				"{%s} is the name of no field, and nearly {%s}; write {%s}, or set literal: true to keep it as text", strictyaml.Shorten(name), field, field)))
		}
	}
	return errs
}

var (
	// formatSuffix matches Python's suffixes of a name: {price:.2f}, {name!r}.
	formatSuffix = regexp.MustCompile(`^(.*?[^\s:!])(![rsa])?(:[<>=^+\-0-9.,_]*[a-zA-Z%]?)?$`)
	dotted       = regexp.MustCompile(`^[\p{L}_][\p{L}\p{M}\p{N}_\-]*((\.[\p{L}\p{N}_][\p{L}\p{M}\p{N}_\-]*)|(\[[0-9]+\]))+$`)
	wordy        = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{M}\p{N} _.\-]*$`)
)

// nearMiss returns the known name that the author of {name} probably meant.
func (d dataNames) nearMiss(name string) (string, bool) {
	if len(name) > 2*maxLabel || strings.ContainsAny(name, "\n\r") {
		return "", false
	}
	plain := strings.TrimSpace(name)
	if m := formatSuffix.FindStringSubmatch(plain); m != nil {
		plain = m[1]
	}
	folded := strictyaml.Fold(plain)
	for _, field := range d.known {
		if folded != "" && folded == strictyaml.Fold(field) {
			return field, true
		}
	}
	bare := strings.Trim(plain, sigils)
	if slices.Contains(d.known, bare) {
		return bare, true
	}
	if field, ok := d.meant(bare); ok {
		return field, true
	}
	if n := len([]rune(folded)); n < 4 || !wordy.MatchString(plain) || len(d.known) == 0 {
		return "", false
	} else if field := strictyaml.Nearest(plain, d.known); levenshtein.Distance(folded, strictyaml.Fold(field), nil) <= min(2, n/4) {
		return field, true
	}
	return "", false
}
