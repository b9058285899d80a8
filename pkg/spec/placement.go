package spec

import (
	"fmt"
	"maps"
	"strings"
	"unicode"
)

// Placeholders of the output schema, in a spec with one. A field of the inputs called schema wins over the first.
const (
	schemaField       = "schema"
	outputSchemaField = "output_schema"
)

// placement holds the templates of a spec's prompts, made once the placeholders are known.
type placement struct {
	system, task *Template
	// names maps the placeholders of the templates to the author's names. Templates contain identifiers only, because
	// workers of every version can read these.
	names map[string]string
	// showsSchema reports that a prompt contains the output schema.
	showsSchema bool
}

// names returns the names of all prompts. Firm ones are placeholders even if no input has such a field, which is then a
// mistake. The others are placeholders only if some input has such a field or path.
func (s *Spec) names() (firm, maybe []string) {
	seen := map[string]bool{}
	for _, p := range s.prompts() {
		for _, q := range p.wording {
			if q.firm() && !s.literal && !s.isSchema(q.name) && !seen[q.name] {
				seen[q.name] = true
				firm = append(firm, q.name)
			}
		}
	}
	for _, p := range s.prompts() {
		for _, name := range p.wording.names() {
			if !seen[name] {
				seen[name] = true
				maybe = append(maybe, name)
			}
		}
	}
	return firm, maybe
}

// isSchema reports whether a name means the output schema, unless it is a field.
func (s *Spec) isSchema(name string) bool {
	return s.settings.Schema != nil && (name == schemaField || name == outputSchemaField)
}

// place makes the templates. placed reports which names are fields or paths.
func (s *Spec) place(placed func(name string) bool) (placement, Errors) {
	aliases := s.aliases(placed)
	out := placement{names: map[string]string{}}
	for name, alias := range aliases {
		out.names[alias] = name
	}
	showsSchema := func(name string) bool { return s.isSchema(name) && aliases[name] == "" }
	var errs Errors
	uses := 0
	for _, p := range []struct {
		prompt prompt
		to     **Template
	}{{s.system, &out.system}, {s.task, &out.task}} {
		t := p.prompt.wording.template(s.literal, func(name string) (string, bool) {
			if showsSchema(name) {
				return name, true
			}
			alias, ok := aliases[name]
			return alias, ok
		})
		here := ""
		var err error
		*p.to, err = t.replace(func(q part) (string, bool) {
			if !showsSchema(q.shown()) {
				return "", false
			}
			uses++
			here = q.shown()
			return string(s.settings.Schema), true
		})
		if err != nil {
			errs = append(errs, p.prompt.mistakeAt(0, err.Error()))
		}
		if here != "" && uses > 1 {
			errs = append(errs, p.prompt.mistake(here, fmt.Sprintf("{%s} may occur only once in the two prompts", here)))
		}
	}
	schema := squeeze(string(s.settings.Schema))
	out.showsSchema = uses > 0 || strings.Contains(squeeze(s.system.text), schema) || strings.Contains(squeeze(s.task.text), schema)
	return out, errs
}

// aliases returns the template names of placed names. Identifiers keep their name.
func (s *Spec) aliases(placed func(name string) bool) map[string]string {
	aliases, taken := map[string]string{}, map[string]bool{schemaField: true, outputSchemaField: true}
	for _, name := range s.rows.reserved {
		taken[name] = true
	}
	var others []string
	listed := map[string]bool{}
	var names []string
	for _, p := range s.prompts() {
		names = append(names, p.wording.names()...)
	}
	for _, name := range names {
		switch {
		case !placed(name):
		case identifier.MatchString(name):
			aliases[name], taken[name] = name, true
		case !listed[name]:
			listed[name] = true
			others = append(others, name)
		}
	}
	next := map[string]int{} // the next number to try, by identifier
	for _, name := range others {
		base := identifierOf(name)
		alias := base
		for i := max(2, next[base]); taken[alias]; i++ {
			alias = fmt.Sprintf("%s_%d", base, i)
			next[base] = i + 1
		}
		aliases[name], taken[alias] = alias, true
	}
	return aliases
}

// identifierOf returns name with an underscore for each character that identifiers cannot have.
func identifierOf(name string) string {
	out := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.Is(unicode.Nd, r) {
			return r
		}
		return '_'
	}, strings.ToValidUTF8(name, "_"))
	if !identifier.MatchString(out) {
		out = "_" + out
	}
	return out
}

// renamed returns the placeholders with an alias that differs from the author's name, or nil without any.
func (p placement) renamed() map[string]string {
	out := maps.Clone(p.names)
	maps.DeleteFunc(out, func(alias, name string) bool { return alias == name })
	if len(out) == 0 {
		return nil
	}
	return out
}
