package jsonschema

import (
	"bytes"
	"encoding/json"
	"testing"

	santhosh "github.com/santhosh-tekuri/jsonschema/v6"
)

// FuzzSchema checks that every schema and value end within the limits, and that both passes over a schema agree.
func FuzzSchema(f *testing.F) {
	for _, seed := range []struct{ schema, value string }{
		{`{"type":"object","properties":{"a":{"type":"string","nullable":true}},"required":["a"]}`, `{"a":null}`},
		{expression, nested(20, "1")}, {unevaluatedTree, nested(10, "1")}, {chain(20, "anyOf"), `1`}, {`{"$ref":"#"}`, `1`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"$id":"#b"}},"items":[{"$ref":"#b"}],"additionalItems":false}`, `[1,2]`},
		{`{"pattern":"^(?!a)\\p{L}+$","multipleOf":0.01,"format":"date"}`, `"ab"`}, {`{"name":"x","schema":{"enum":[1.0,{"a":[]}]}}`, `1`},
		{`{"$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"#n"}},"unevaluatedProperties":false}`, `{"a":{"b":1}}`},
		{`{"oneOf":[{"contains":{"const":1},"minContains":2},{"uniqueItems":true}],"prefixItems":[true],"unevaluatedItems":false}`, `[1,1]`},
	} {
		f.Add([]byte(seed.schema), []byte(seed.value))
	}
	f.Fuzz(func(t *testing.T, schema, text []byte) {
		if len(schema) > 4096 || len(text) > 4096 {
			return
		}
		r, err := Lint(schema)
		if err == nil && len(r.Problems) == 0 {
			if _, err := Compile(r.Schema); err != nil {
				t.Fatalf("%s became %s, which does not compile: %v", schema, r.Schema, err)
			}
		}
		s, err := Compile(schema)
		if err != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var v any
		if dec.Decode(&v) != nil {
			return
		}
		b := &budget{ctx: t.Context(), limit: 100_000}
		c := check{budget: b}
		root := (&builder{budget: b}).build(v, 0)
		ok := b.err == nil && c.eval(s.root, root, nil)
		if b.steps > 200_000 {
			t.Fatalf("%d steps for %s against %s", b.steps, text, schema)
		}
		if b.err == nil && ok != (s.Validate(t.Context(), v) == nil) {
			t.Fatalf("two answers for %s against %s", text, schema)
		}
	})
}

// FuzzPattern checks that both engines give the same result.
func FuzzPattern(f *testing.F) {
	for _, seed := range []struct{ pattern, text string }{
		{`^[\w-.]+@\S+\.\p{L}{2,}$`, "a@b.de"}, {`^(a|b)*?$`, "ab"}, {`\bx\B.`, "xy"}, {`^[^\s\d]+$`, "a"}, {`\u00e9|\x41`, "é"}, {`^[[a-z]&&]$`, "&"}, {`a{2}`, "aa"}, {`0{00}`, "x"},
	} {
		f.Add(seed.pattern, seed.text)
	}
	f.Fuzz(func(t *testing.T, text, s string) {
		if len(text) > 100 || len(s) > 100 {
			return
		}
		p, err := compilePattern(text)
		if err != nil || p.linear == nil {
			return
		}
		want, err := p.backward.MatchString(s)
		if err == nil && want != p.linear.MatchString(s) {
			t.Fatalf("%q on %q: %t and %t; Go runs %q", text, s, want, !want, p.linear)
		}
	})
}

const ordinary = `{"type":"object","properties":{"category":{"enum":["a","b","c","d"]},"summary":{"type":"string","minLength":1,"maxLength":500},
	"confidence":{"type":"number","minimum":0,"maximum":1},"tags":{"type":"array","items":{"type":"string"}},
	"people":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name"],"additionalProperties":false}}},
	"required":["category","summary"],"additionalProperties":false}`

const ordinaryValue = `{"category":"c","summary":"something short","confidence":0.75,"tags":["x","y","z"],"people":[{"name":"A","age":3},{"name":"B","age":4},{"name":"C"}]}`

func BenchmarkValidate(b *testing.B) {
	s := mustCompile(b, ordinary)
	good, bad := decode(b, ordinaryValue), decode(b, `{"category":"z","people":[{"age":"x"}]}`)
	for name, v := range map[string]any{"valid": good, "invalid": bad} {
		b.Run(name+"/here", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = s.Validate(b.Context(), v)
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			c := santhosh.NewCompiler()
			if err := c.AddResource("s.json", decode(b, ordinary)); err != nil {
				b.Fatal(err)
			}
			l := c.MustCompile("s.json")
			b.ReportAllocs()
			for b.Loop() {
				_ = l.Validate(v)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			_ = mustCompile(b, ordinary)
		}
	})
	b.Run("library", func(b *testing.B) {
		for b.Loop() {
			c := santhosh.NewCompiler()
			_ = c.AddResource("s.json", decode(b, ordinary))
			_ = c.MustCompile("s.json")
		}
	})
}
