package spec

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTemplateRendersOnlyPlaceholders(t *testing.T) {
	t.Parallel()
	in := map[string]any{
		"name": "Ada", "n": json.Number("12345678901234567890"), "price": json.Number("1.50"), "ok": true, "none": nil,
		"tags": json.RawMessage(`["a<b",1]`), "größe": "L", "_x1": "u", "list": []any{"a", json.Number("2")},
	}
	for text, want := range map[string]string{
		"":                            "",
		"Hello {name}!":               "Hello Ada!",
		"{name}{name}":                "AdaAda",
		"{n} {price} {ok} {none}":     "12345678901234567890 1.50 true null",
		"{tags} {list}":               `["a<b",1] ["a",2]`,
		"{größe} {_x1}":               "L u",
		"{{name}}":                    "{name}",
		"{{{name}}}":                  "{Ada}",
		"{{{{name}}}}":                "{{name}}",
		`{"a": {"b": {name}}}`:        `{"a": {"b": Ada}}`,
		"{{name}":                     "{Ada",
		"{name}}":                     "Ada}",
		`{"a": 1} { x } {a.b} {} {1}`: `{"a": 1} { x } {a.b} {} {1}`,
		"func f() { return }}":        "func f() { return }}",
		"{{ .Name }} ${0} {a-b}":      "{{ .Name }} ${0} {a-b}",
		"{\nname\n}":                  "{\nname\n}",
	} {
		got, err := ParseTemplate(text).Render(in)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestTemplateErrorNamesMissingField(t *testing.T) {
	t.Parallel()
	_, err := ParseTemplate("a {gone}").Render(map[string]any{"x": 1})
	assert.EqualError(t, err, `the input has no field "gone", which the prompt uses as {gone}`)
}

// bracey generates text with many braces and names.
func bracey() *rapid.Generator[string] {
	pieces := []string{"{", "{", "}", "}", "{{", "}}", "a", "bc", "_", "é", " ", "1", "\n", `"`, "{a}", "{{bc}}", "\xff"}
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 16).Draw(t, "pieces"), "")
	})
}

func TestEscapedTextRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := bracey().Draw(t, "text")
		got, err := ParseTemplate(Escape(text)).Render(nil)
		require.NoError(t, err)
		require.Equal(t, text, got)
	})
}

func TestTemplateStringRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tmpl := ParseTemplate(bracey().Draw(t, "text"))
		value := bracey().Draw(t, "value")
		// A filled-in value puts text into the template that the parser has not seen.
		filled, err := tmpl.replace(func(p part) (string, bool) { return value, p.field == "a" })
		require.NoError(t, err)
		in := map[string]any{"a": value}
		for _, name := range tmpl.Fields() {
			in[name] = name + "!"
		}
		in["a"] = value
		want, err := tmpl.Render(in)
		require.NoError(t, err)
		got, err := ParseTemplate(filled.String()).Render(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, filled.Fields(), ParseTemplate(filled.String()).Fields())
	})
}

func TestRenderAgreesWithSlowRender(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := bracey().Draw(t, "text")
		value := rapid.String().Draw(t, "value")
		tmpl := ParseTemplate(text)
		in := map[string]any{}
		for _, name := range tmpl.Fields() {
			in[name] = value
		}
		got, err := tmpl.Render(in)
		require.NoError(t, err)
		require.Equal(t, slowRender(text, value), got)
	})
}

// slowRender reads the template language rune by rune, directly from its definition. Every placeholder has this value.
func slowRender(text, value string) string {
	r := splitRunes(text)
	run := func(at int, brace string) int {
		n := 0
		for at+n < len(r) && r[at+n] == brace {
			n++
		}
		return n
	}
	var b strings.Builder
	for i := 0; i < len(r); {
		open := run(i, "{")
		end := i + open
		for end < len(r) && isNameRune(r[end], end == i+open) {
			end++
		}
		shut := run(end, "}")
		if open == 0 || end == i+open || shut == 0 {
			// No name in braces starts here: copy the braces, or one rune.
			step := max(open, 1)
			b.WriteString(strings.Join(r[i:i+step], ""))
			i += step
			continue
		}
		name := strings.Join(r[i+open:end], "")
		for open > shut {
			b.WriteString("{")
			open--
		}
		extra := shut - open
		pairs := open
		if pairs%2 == 1 {
			name = value
		}
		b.WriteString(strings.Repeat("{", pairs/2) + name + strings.Repeat("}", pairs/2) + strings.Repeat("}", extra))
		i = end + shut
	}
	return b.String()
}

// splitRunes splits a string into runes, with each invalid byte on its own.
func splitRunes(s string) []string {
	var out []string
	for i, r := range s {
		n := len(string(r))
		if r == unicode.ReplacementChar && !strings.HasPrefix(s[i:], "\uFFFD") {
			n = 1
		}
		out = append(out, s[i:i+n])
	}
	return out
}

func isNameRune(s string, first bool) bool {
	r := []rune(s)[0]
	if r == unicode.ReplacementChar {
		return false
	}
	return r == '_' || unicode.IsLetter(r) || (!first && unicode.IsDigit(r))
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{a}", "{{a}}", "{{{a}}}}", `{"a":{b}}`, "{é1}", "{\xff}", "{{", "}}{"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		tmpl := ParseTemplate(text)
		in := map[string]any{}
		for _, name := range tmpl.Fields() {
			in[name] = value
		}
		want, err := tmpl.Render(in)
		require.NoError(t, err)
		got, err := ParseTemplate(tmpl.String()).Render(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
		back, err := ParseTemplate(Escape(text)).Render(nil)
		require.NoError(t, err)
		require.Equal(t, text, back)
	})
}

func BenchmarkPrompt(b *testing.B) {
	c, err := ParseCompiled([]byte(`{"task":"Review {path} with care, then answer for {owner}."}`))
	require.NoError(b, err)
	in := map[string]any{"path": "pkg/spec/template.go", "owner": "Ada"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Prompt(in); err != nil {
			b.Fatal(err)
		}
	}
}
