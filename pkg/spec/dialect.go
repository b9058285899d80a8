package spec

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// names returns the names that the prompts may use. known are the fields of the inputs, in order.
func (v *survey) names(known []string) dataNames {
	return dataNames{known: known, first: v.first, used: func(name string) bool { return v.used[name] != nil && v.used[name].seen() }}
}

// checkDialect finds placeholders of other template languages, and a task without a field.
func (s *Spec) checkDialect(v *survey, placed placement) Errors {
	if s.literal {
		return nil
	}
	known := slices.Sorted(maps.Keys(v.known))
	data := v.names(known)
	shown := s.firstPrompt(v, placed)
	var errs Errors
	for _, p := range s.prompts() {
		if f := p.foreign(data); f.text != "" {
			errs = append(errs, p.mistakeAt(f.offset, f.message(fmt.Sprintf(", and inputs have a field %q", f.field))+shown))
		}
	}
	if len(errs) == 0 && v.distinct && !slices.ContainsFunc(s.varying(), data.used) {
		errs = append(errs, s.task.mistakeAt(0, fmt.Sprintf(
			"no field of the inputs occurs in the task, so all %d jobs would have the same prompt; write the name of a field in braces: {%s}%s. If that is intended, set literal: true%s",
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
	text   string
	field  string // the field that it names
	path   string // the path into the field, or the field
	offset int
	latex  bool // it may also be a LaTeX command
}

// message returns the text to write instead. which describes the origin of the field.
func (f found) message(which string) string {
	if f.latex {
		return fmt.Sprintf("%s is a LaTeX command, and {%s} in it is a placeholder%s; write {{{%s}}} for its value in braces, {{%s}} for the text, or {%s} after a space",
			f.text, f.path, which, f.path, f.path, f.path)
	}
	return fmt.Sprintf("%s looks like a placeholder of another template language%s; write {%s}, or set literal: true if it is text", f.text, which, f.path)
}

var (
	percentBlock = regexp.MustCompile(`^%[-+~]?\s*[^\s].*%$`)
	word         = regexp.MustCompile(`[\p{L}_][\p{L}\p{M}\p{N}_]*`)
	latexCommand = regexp.MustCompile(`\\[A-Za-z]{2,}\*?(\[[^\[\]{}]*\])?(\{[^{}]*\})*$`)
)

// foreign finds the first placeholder of another template language that names a field. Doubled braces are an escape if
// the prompts also use the name as a placeholder.
func (p prompt) foreign(data dataNames) found {
	checked := map[string]bool{}
	single := map[string]bool{} // names in single braces
	for _, q := range p.wording {
		if q.pairs() == 1 {
			single[q.name] = true
		}
	}
	for i, q := range p.wording {
		if q.name == "" || q.pairs() > 1 && checked[q.text] {
			continue
		}
		if q.pairs() > 1 && len(checked) < maxForeign {
			checked[q.text] = true
		} else if q.pairs() > 1 {
			break
		}
		before := ""
		if i > 0 {
			before = p.wording[i-1].text
		}
		if f := q.foreign(before, single[q.name], data); f.text != "" {
			f.offset += q.offset
			return f
		}
	}
	return foreignMark(p.text, data)
}

// foreign checks one piece with braces. single reports that the prompt also has its name in single braces. The offset is
// relative to the piece.
func (p piece) foreign(before string, single bool, data dataNames) found {
	trimmed := strings.TrimSpace(p.name)
	if p.pairs() == 1 && data.used(p.name) {
		if sigil := data.sigil(before, p.name); sigil != "" {
			return found{text: sigil + p.text, field: p.name, path: p.name, offset: -len(sigil)}
		}
		if command := latexCommand.FindString(before[max(0, len(before)-200):]); command != "" {
			return found{text: command + p.text, field: p.name, path: p.name, offset: -len(command), latex: true}
		}
	}
	if p.pairs() == 1 && percentBlock.MatchString(trimmed) {
		for _, w := range word.FindAllString(trimmed, -1) {
			if slices.Contains(data.known, w) {
				return found{text: p.text, field: w, path: w}
			}
		}
	}
	if p.pairs() < 2 || p.latex {
		return found{}
	}
	path := data.fieldIn(trimmed)
	escape := p.name == path && data.used(p.name) && (single || p.pairs()%2 == 0)
	if path == "" || escape {
		return found{}
	}
	return found{text: p.text, field: data.rootOf(path), path: path}
}

// sigil returns the mark before {name} that makes it a placeholder of another language: ${name}, %{name} or #{name}. A #
// that numbers something is no mark, as in "Ticket #{id}".
func (d dataNames) sigil(before, name string) string {
	mark, size := utf8.DecodeLastRuneInString(before)
	last, _ := utf8.DecodeLastRuneInString(before[:len(before)-size])
	switch mark {
	case '$':
		return "$"
	case '%':
		if !unicode.IsDigit(last) {
			return "%"
		}
	case '#':
		value, _, _ := lookup(d.first, name)
		text, err := appendValue(nil, value)
		if r, _ := utf8.DecodeRune(text); d.first != nil && err == nil && !unicode.IsDigit(r) && last != '#' {
			return "#"
		}
	}
	return ""
}

// rootOf returns the field that a path begins with.
func (d dataNames) rootOf(path string) string {
	if slices.Contains(d.known, path) {
		return path
	}
	for _, root := range roots(path) {
		if slices.Contains(d.known, root) {
			return root
		}
	}
	return path
}

// fieldIn returns the field, or the path into one, that an expression of another template language names, such as text,
// .text, row.text, text | upper or user["name"]. It returns "" for other text.
func (d dataNames) fieldIn(expression string) string {
	expression, _, _ = strings.Cut(strings.Trim(expression, "-~= "), "|")
	for _, e := range []string{strings.TrimSpace(expression), strings.TrimLeft(strings.TrimSpace(expression), ".$&>#/^@ ")} {
		if slices.Contains(d.known, e) {
			return e
		}
		if name, ok := d.meant(e); ok {
			return name
		}
		for _, step := range accessPath(e) {
			if slices.Contains(d.known, step) {
				return step
			}
		}
	}
	return ""
}

// mark is a form of placeholders without braces in another template language.
type mark struct {
	form *regexp.Regexp // its first group is the expression
	// alone is set if the mark may be text beside a placeholder of the same field.
	alone bool
	// text reports whether the match from from to to is text and no placeholder.
	text func(s string, from, to int) bool
}

const variableForm = `[\p{L}_][\p{L}\p{M}\p{N}_]*(?:(?:\.|->)[\p{L}_][\p{L}\p{M}\p{N}_]*)*`

var marks = []mark{
	{form: regexp.MustCompile(`%\(([^()\n]+)\)[-+#0 ]*[0-9.]*[sdifgrx]`)},
	{form: regexp.MustCompile(`<[%?][-=]?\s*(?:php\s+echo\s+)?([^%?<>\n]{1,200}?);?\s*-?[%?]>`)},
	{form: regexp.MustCompile(`\[%[-=]?\s*([^%\[\]\n]{1,200}?)\s*-?%\]`)},
	{form: regexp.MustCompile(`\[\[\s*([^\[\]\n]{1,200}?)\s*\]\]`), alone: true},
	{form: regexp.MustCompile(`\$(` + variableForm + `)`), alone: true, text: mathOrCode},
	{form: regexp.MustCompile(`\$\((` + variableForm + `)\)`), alone: true, text: mathOrCode},
	{form: regexp.MustCompile(`%(` + variableForm + `)%`), alone: true, text: quotedOrPercent},
}

// foreignMark finds the first placeholder without braces that names a field.
func foreignMark(text string, data dataNames) found {
	var all []found
	for _, m := range marks {
		for _, at := range m.form.FindAllStringSubmatchIndex(text, maxNear) {
			path := data.fieldIn(strings.TrimRight(text[at[2]:at[3]], "."))
			root := data.rootOf(path)
			if path == "" || m.alone && (data.used(root) || data.used(path)) || m.text != nil && m.text(text, at[0], at[1]) {
				continue
			}
			all = append(all, found{text: text[at[0]:at[1]], field: root, path: path, offset: at[0]})
			break
		}
	}
	if len(all) == 0 {
		return found{}
	}
	return slices.MinFunc(all, func(a, b found) int { return cmp.Compare(a.offset, b.offset) })
}

// mathOrCode reports whether a dollar sign begins or ends a formula, is escaped, or is part of code.
func mathOrCode(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	if before == '\\' || before == '$' || from > 0 && (unicode.IsLetter(before) || unicode.IsDigit(before)) {
		return true
	}
	line := s[from+1:]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	for i := range len(line) {
		if line[i] != '$' || i == 0 || line[i-1] == ' ' || line[i-1] == '\\' {
			continue
		}
		if next, _ := utf8.DecodeRuneInString(line[i+1:]); i+1 == len(line) || !unicode.IsLetter(next) && !unicode.IsDigit(next) && next != '_' && next != '{' && next != '(' {
			return true
		}
	}
	return inCode(s, from)
}

// inCode reports whether an offset is in a code block or between backticks.
func inCode(s string, at int) bool {
	if strings.Count(s[:at], "```")%2 == 1 {
		return true
	}
	line := s[strings.LastIndexByte(s[:at], '\n')+1 : at]
	return strings.Count(line, "`")%2 == 1
}

// quotedOrPercent reports whether %name% is an SQL pattern, or its first sign belongs to a percentage.
func quotedOrPercent(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	return to-from < len("%id%") || to < len(s) && s[to] == '%' ||
		from > 0 && (strings.ContainsRune(`'"%`, before) || unicode.IsDigit(before) || unicode.IsLetter(before)) || inCode(s, from)
}

// signs names a mark around a field name, for the error about a task without placeholders.
func signs(text string, known []string) string {
	for _, field := range known {
		if mark := sign(text, field); mark != "" {
			return fmt.Sprintf(" (%s is text here)", mark)
		}
	}
	return ""
}

// sign returns the first mark around a field's name in a text, or "".
func sign(text, field string) string {
	for _, mark := range []string{"<" + field + ">", "[[" + field + "]]", "[" + field + "]", "$" + field, "%" + field + "%", "@" + field, "#" + field} {
		if strings.Contains(text, mark) {
			return mark
		}
	}
	return ""
}

// unusedSigns returns notes about marks that may be placeholders of fields that no prompt uses: one per field, at most
// five.
func (s *Spec) unusedSigns(data dataNames) []string {
	var notes []string
	if s.literal {
		return nil
	}
	for _, field := range data.known {
		if data.used(field) || len(notes) == 5 || slices.ContainsFunc(s.prompts(), func(p prompt) bool { return p.uses(field) }) {
			continue
		}
		for _, mark := range []string{"<" + field + ">", "[" + field + "]"} {
			if strings.Contains(s.task.text, mark) && !strings.Contains(s.task.text, "</"+field+">") && !strings.Contains(s.task.text, mark+"(") {
				notes = append(notes, fmt.Sprintf("%s in the task is text, and no prompt uses the field %q; write {%s} for its value", mark, field, field))
				break
			}
		}
	}
	return notes
}
