package spec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/batchagent/batchagent/pkg/plainjson"
)

// Template is the prompt of a [Compiled], in the form that workers read. It is immutable and safe for concurrent use. The
// author of a spec writes a wording, which may use other names for its placeholders.
//
// A placeholder is a name in braces, {name}, where the name is a Go identifier. Everything else is text and stays
// unchanged: { x }, {a.b}, {"a": 1}, {}, }}. So every text is a valid template.
//
// Doubled braces are an escape. Only braces that directly enclose a name in pairs count:
//
//	{name}      the value
//	{{name}}    the text {name}
//	{{{name}}}  the value in braces
//
// In general, of k pairs of braces around a name every two are one literal pair, and a remaining pair makes the
// placeholder. Braces without a partner on the other side are text: {"a": {name}} is the value followed by a brace.
type Template struct {
	parts []part
}

// part is a piece of text or, if field is set, a placeholder.
type part struct {
	text  string
	field string
	name  string // the author's name for field; "" if it is the same
}

// shown returns the name of a placeholder in messages.
func (p part) shown() string { return cmp.Or(p.name, p.field) }

var bracedName = regexp.MustCompile(`(\{+)([\p{L}_][\p{L}\p{Nd}_]*)(\}+)`)

// ParseTemplate splits text into literal text and placeholders.
func ParseTemplate(text string) *Template {
	t := &builder{}
	rest := 0
	for _, m := range bracedName.FindAllStringSubmatchIndex(text, -1) {
		name := text[m[4]:m[5]]
		open, shut := m[3]-m[2], m[7]-m[6]
		pairs := min(open, shut)
		left := text[rest:m[2]] + strings.Repeat("{", open-pairs+pairs/2)
		right := strings.Repeat("}", pairs/2+shut-pairs)
		if pairs%2 == 0 {
			t.appendText(left + name + right)
		} else {
			t.appendText(left)
			t.appendField(part{field: name})
			t.appendText(right)
		}
		rest = m[1]
	}
	t.appendText(text[rest:])
	return t.template()
}

// Escape returns a template that renders to text.
func Escape(text string) string {
	return bracedName.ReplaceAllStringFunc(text, func(s string) string {
		open := len(s) - len(strings.TrimLeft(s, "{"))
		shut := len(s) - len(strings.TrimRight(s, "}"))
		pairs := min(open, shut)
		return strings.Repeat("{", pairs) + s + strings.Repeat("}", pairs)
	})
}

// Fields returns the names of the placeholders, each once, in the order of their first use.
func (t *Template) Fields() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range t.parts {
		if p.field != "" && !seen[p.field] {
			seen[p.field] = true
			names = append(names, p.field)
		}
	}
	return names
}

// Render replaces each placeholder by the value of its field: text unchanged, any other value as compact JSON. A missing
// field is an error.
func (t *Template) Render(in map[string]any) (string, error) {
	var b []byte
	for _, p := range t.parts {
		if p.field == "" {
			b = append(b, p.text...)
			continue
		}
		v, ok := in[p.field]
		if !ok {
			return "", fmt.Errorf("the input has no field %q, which the prompt uses as {%s}", p.field, p.field)
		}
		var err error
		if b, err = appendValue(b, v); err != nil {
			return "", fmt.Errorf("render field %q: %w", p.field, err)
		}
		if len(b) > maxRendered {
			return "", errTooLong
		}
	}
	return string(b), nil
}

// String returns the template as text. Parsed again, it gives an equal template.
func (t *Template) String() string {
	var b strings.Builder
	for i, p := range t.parts {
		if p.field == "" {
			b.WriteString(Escape(p.text))
			continue
		}
		// Braces that touch the placeholder in pairs would count as its own, so each such pair is doubled.
		pairs := 0
		if i > 0 && i+1 < len(t.parts) {
			before, after := t.parts[i-1].text, t.parts[i+1].text
			pairs = min(len(before)-len(strings.TrimRight(before, "{")), len(after)-len(strings.TrimLeft(after, "}")))
		}
		b.WriteString(strings.Repeat("{", pairs+1) + p.field + strings.Repeat("}", pairs+1))
	}
	return b.String()
}

// replace returns a template with the text from f in place of every placeholder for which f returns true.
func (t *Template) replace(f func(p part) (string, bool)) (*Template, error) {
	out := &builder{}
	for _, p := range t.parts {
		if p.field == "" {
			out.appendText(p.text)
		} else if text, ok := f(p); !ok {
			out.appendField(p)
		} else if out.size += len(text); out.size <= maxRendered {
			out.appendText(text)
		}
	}
	if out.size > maxRendered {
		return nil, errTooLong
	}
	return out.template(), nil
}

// maxRendered limits a prompt, in bytes. It is more than any model reads.
const maxRendered = 64 << 20

var errTooLong = fmt.Errorf("the prompt has more than %d MiB; use long fields less often", maxRendered>>20)

// builder makes a template from pieces. It has no empty text part, and no two neighbouring ones.
type builder struct {
	parts []part
	text  strings.Builder // text after the last part
	size  int             // of the texts that replaced fields
}

func (b *builder) appendText(s string) { b.text.WriteString(s) }

func (b *builder) appendField(p part) {
	b.flush()
	b.parts = append(b.parts, p)
}

func (b *builder) flush() {
	if b.text.Len() > 0 {
		b.parts = append(b.parts, part{text: b.text.String()})
		b.text.Reset()
	}
}

func (b *builder) template() *Template {
	b.flush()
	return &Template{parts: b.parts}
}

// appendValue appends the text of a placeholder with value v.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return append(b, v...), nil
	case json.Number:
		return append(b, v...), nil
	case nil:
		return append(b, "null"...), nil
	}
	text, err := plainjson.Marshal(v) // the model reads the text
	return append(b, text...), err
}
