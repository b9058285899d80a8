package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/agext/levenshtein"
)

const (
	// maxShownPrompt bounds how much of a prompt an error shows, in characters.
	maxShownPrompt = 400
	// maxNear bounds the names that are looked at for a slip of the pen.
	maxNear = 1_000
)

// maxMistakes bounds the names of prompts that are reported.
const maxMistakes = 50

// checkNames finds placeholders without a field in any input, and names in braces that are nearly those of fields.
func (s *Spec) checkNames(v *survey) Errors {
	var errs Errors
	if len(v.known) == 0 {
		return nil // no input could be read, and the caller reports that
	}
	known := slices.Sorted(maps.Keys(v.known))
	hint := ""
	if notes := s.notes(); len(notes) > 0 {
		hint = ". " + strings.Join(notes, "; ")
	}
	if len(known) == 1 && known[0] == scalarField {
		hint += ". A bare value or an array is the field \"input\"; for one input per element of an array name the file .json, or set format: json"
	}
	for _, p := range []prompt{s.system, s.task} {
		for _, name := range p.wording.names() {
			if len(errs) >= maxMistakes {
				return errs
			}
			f := v.used[name]
			switch {
			case f != nil && f.exact && f.path:
				errs = append(errs, p.mistake(name, fmt.Sprintf("some inputs have a field %q, and others a path of this name; rename the field", name)))
			case f != nil && f.seen():
				errs = append(errs, s.checkSchemaName(p, name, f)...)
			case f != nil:
				errs = append(errs, p.mistake(name, fmt.Sprintf(
					"no input has a field %q; the nearest name is %q, and the known ones are %s. To mean the text {%s}, write {{%s}}%s",
					name, nearest(name, known), strings.Join(known[:min(len(known), 20)], ", "), name, name, hint)))
			}
		}
		if !s.literal {
			errs = append(errs, p.checkNear(known, func(name string) bool { return v.used[name] != nil || s.isSchema(name) })...)
		}
	}
	return errs
}

// checkSchemaName refuses a name that may be a field and the output schema.
func (s *Spec) checkSchemaName(p prompt, name string, f *fieldSurvey) Errors {
	switch {
	case !s.isSchema(name):
		return nil
	case name == outputSchemaField:
		return Errors{p.mistake(name, "inputs have a field \"output_schema\", and {output_schema} is the output schema of the spec; rename the field")}
	case f.lacking:
		return Errors{p.mistake(name, "only some inputs have a field \"schema\", so {schema} could be that or the output schema; for the output schema write {output_schema}")}
	case p.field == s.system.field && f.varies:
		return Errors{p.mistake(name, "inputs have a field \"schema\" that varies, and the system prompt is shared by all jobs; for the output schema write {output_schema}, for the field use the task")}
	case s.system.uses(name) && s.task.uses(name):
		return Errors{p.mistake(name, "inputs have a field \"schema\", and both prompts have {schema}; for the output schema write {output_schema}")}
	}
	return nil
}

// checkNear finds names in braces that are no fields, but nearly.
func (p prompt) checkNear(known []string, placed func(name string) bool) Errors {
	var errs Errors
	for i, name := range p.wording.names() {
		if i > maxNear {
			break
		}
		if placed(name) {
			continue
		}
		if field, ok := nearMiss(name, known); ok {
			errs = append(errs, p.mistake(name, fmt.Sprintf(
				"{%s} is the name of no field, and nearly {%s}; write {%s}, or set literal: true to keep it as text", shorten(name), field, field)))
		}
	}
	return errs
}

var (
	// formatSuffix is what Python puts behind a name: {price:.2f}, {name!r}.
	formatSuffix = regexp.MustCompile(`^(.*?[^\s:!])(![rsa])?(:[<>=^+\-0-9.,_]*[a-zA-Z%]?)?$`)
	wordy        = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{M}\p{N} _.\-]*$`)
	dotted       = regexp.MustCompile(`^[\p{L}_][\p{L}\p{M}\p{N}_\-]*((\.[\p{L}\p{N}_][\p{L}\p{M}\p{N}_\-]*)|(\[[0-9]+\]))+$`)
)

// nearMiss returns the known name that the author of {name} probably meant.
func nearMiss(name string, known []string) (string, bool) {
	if len(name) > 2*maxLabel || strings.ContainsAny(name, "\n\r") {
		return "", false
	}
	plain := strings.TrimSpace(name)
	if m := formatSuffix.FindStringSubmatch(plain); m != nil {
		plain = m[1]
	}
	folded := fold(plain)
	for _, field := range known {
		if folded != "" && folded == fold(field) {
			return field, true
		}
	}
	if dotted.MatchString(plain) {
		for _, root := range roots(plain) {
			if slices.Contains(known, root) {
				return root, true
			}
		}
	}
	if n := len([]rune(folded)); n < 4 || !wordy.MatchString(plain) {
		return "", false
	} else if field := nearest(plain, known); levenshtein.Distance(folded, fold(field), nil) <= min(2, n/4) {
		return field, true
	}
	return "", false
}

// fold drops what people get wrong in names: case, spaces, and what joins words.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("_-.", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// checkDialect finds placeholders of other template languages, and a task without a field.
func (s *Spec) checkDialect(v *survey, placed placement) Errors {
	if s.literal {
		return nil
	}
	used := func(name string) bool { return v.used[name] != nil && v.used[name].seen() }
	shown := s.firstPrompt(v, placed)
	var errs Errors
	for _, p := range []prompt{s.system, s.task} {
		if f := foreign(p, func(name string) bool { return v.known[name] }, used); f.text != "" {
			errs = append(errs, p.mistakeAt(f.offset, fmt.Sprintf(
				"%s looks like a placeholder of another template language, and inputs have a field %q; write {%s}, or set literal: true if it is text%s",
				f.text, f.field, f.field, shown)))
		}
	}
	if len(errs) == 0 && v.distinct && !slices.ContainsFunc(s.task.wording.names(), used) {
		known := slices.Sorted(maps.Keys(v.known))
		errs = append(errs, s.task.mistakeAt(0, fmt.Sprintf(
			"no field of the inputs occurs in the task, so all %d jobs would ask the same; write the name of a field in braces: {%s}%s. If that is meant, set literal: true%s",
			v.total, strings.Join(known[:min(len(known), 20)], "}, {"), signs(s.task.text, known), shown)))
	}
	return errs
}

// firstPrompt shows the prompt of the first job; "" if every input is bad.
func (s *Spec) firstPrompt(v *survey, placed placement) string {
	if v.first == nil {
		return ""
	}
	values := map[string]any{}
	for alias, name := range placed.names {
		values[alias], _, _ = lookup(v.first, name)
	}
	text, err := placed.task.Render(values)
	if err != nil {
		return ""
	}
	if r := []rune(text); len(r) > maxShownPrompt {
		text = string(r[:maxShownPrompt]) + "…"
	}
	return ". The first prompt would be:\n    " + strings.ReplaceAll(text, "\n", "\n    ")
}

// found is a placeholder of another template language.
type found struct {
	text, field string
	offset      int
}

var (
	percentName  = regexp.MustCompile(`%\(([^()\n]+)\)[-+#0 ]*[0-9.]*[sdifgrx]`)
	percentBlock = regexp.MustCompile(`^%[-+~]?\s.*\s[-+~]?%$`)
	word         = regexp.MustCompile(`[\p{L}_][\p{L}\p{M}\p{N}_]*`)
)

// foreign finds the first placeholder of another template language that names a field: {{name}}, {{ name | filter }},
// {% if name %}, ${name}, %(name)s. Doubled braces around a name that the prompts also use as a placeholder are an escape.
func foreign(p prompt, known, used func(name string) bool) found {
	for i, q := range p.wording {
		if q.name == "" {
			continue
		}
		trimmed := strings.TrimSpace(q.name)
		switch {
		case q.pairs() == 1 && used(q.name) && i > 0 && strings.HasSuffix(p.wording[i-1].text, "$"):
			return found{"$" + q.text, q.name, q.offset}
		case q.pairs() == 1 && percentBlock.MatchString(trimmed):
			for _, w := range word.FindAllString(trimmed, -1) {
				if known(w) {
					return found{q.text, w, q.offset}
				}
			}
		case q.pairs() >= 2:
			field := fieldIn(trimmed, known)
			escape := q.pairs()%2 == 0 && q.name == field && used(q.name)
			placeholder := q.places() && used(q.name)
			if field != "" && !escape && !placeholder {
				return found{q.text, field, q.offset}
			}
		}
	}
	for _, m := range percentName.FindAllStringSubmatchIndex(p.text, -1) {
		if name := p.text[m[2]:m[3]]; known(name) {
			return found{p.text[m[0]:m[1]], name, m[0]}
		}
	}
	return found{}
}

// fieldIn is the field that an expression of another template language names: text, .text, row.text, text | upper; "" for none.
func fieldIn(expression string, known func(name string) bool) string {
	expression, _, _ = strings.Cut(strings.Trim(expression, "-~"), "|")
	expression = strings.TrimSpace(expression)
	if known(expression) {
		return expression
	}
	expression = strings.TrimLeft(expression, ".$&>#/^ ")
	if known(expression) {
		return expression
	}
	if !dotted.MatchString(expression) {
		return ""
	}
	path := steps(expression)
	for _, step := range path {
		if known(step) {
			return step
		}
	}
	return ""
}

// signs names marks around field names that are no placeholders here, for a task that has none.
func signs(text string, known []string) string {
	for _, field := range known {
		for _, mark := range []string{"<" + field + ">", "[[" + field + "]]", "[" + field + "]", "$" + field, "%" + field + "%", "@" + field, "#" + field} {
			if strings.Contains(text, mark) {
				return fmt.Sprintf(" (%s is text here)", mark)
			}
		}
	}
	return ""
}
