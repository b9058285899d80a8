package sample

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAppendObeysTheSchema(t *testing.T) {
	t.Parallel()
	schemas := map[string]string{
		"review": `{"type":"object","properties":{"summary":{"type":"string","minLength":1,"maxLength":200},"severity":{"enum":["low","medium","high"]},
			"issues":{"type":"array","minItems":1,"maxItems":5,"items":{"type":"object","properties":{"line":{"type":"integer","minimum":1},"message":{"type":"string"}},
			"required":["line","message"],"additionalProperties":false}},"score":{"type":"number","minimum":0,"maximum":1}},"required":["summary","severity","issues","score"],"additionalProperties":false}`,
		"any of":             `{"type":"object","properties":{"v":{"anyOf":[{"type":"integer","minimum":5},{"type":"null"}]}},"required":["v"]}`,
		"one of overlap":     `{"oneOf":[{"type":"integer"},{"type":"number","minimum":1000},{"type":"string","maxLength":3}]}`,
		"one of two objects": `{"oneOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}`,
		"ref":                `{"$defs":{"p":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}},"type":"object","properties":{"who":{"$ref":"#/$defs/p"},"all":{"type":"array","items":{"$ref":"#/$defs/p"},"minItems":2}},"required":["who","all"]}`,
		"ref with siblings":  `{"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s","minLength":40}`,
		"recursive":          `{"$defs":{"t":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/t"}}},"required":["v","kids"]}},"$ref":"#/$defs/t"}`,
		"recursive any of":   `{"$defs":{"l":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/l"},{"type":"null"}]}},"required":["next"]}},"$ref":"#/$defs/l"}`,
		"recursive all of":   `{"$defs":{"b":{"properties":{"next":{"anyOf":[{"$ref":"#/$defs/l"},{"type":"null"}]}}},"l":{"type":"object","allOf":[{"$ref":"#/$defs/b"}],"required":["next"]}},"$ref":"#/$defs/l"}`,
		"all of":             `{"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":3}}},{"properties":{"a":{"maximum":4}},"required":["a"]}]}`,
		"all of ranges":      `{"allOf":[{"type":"integer","minimum":3},{"maximum":7},{"multipleOf":3,"minimum":4}]}`,
		"const":              `{"type":"object","properties":{"k":{"const":{"a":[1,null,"x"]}}},"required":["k"]}`,
		"enum of kinds":      `{"enum":[1,"a",null,true,[1],{"b":2}]}`,
		"enum with a type":   `{"type":"string","enum":[1,"ab","c"],"minLength":2}`,
		"exclusive":          `{"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":5}`,
		"narrow number":      `{"type":"number","exclusiveMinimum":0.5,"exclusiveMaximum":0.50001}`,
		"negative":           `{"type":"integer","maximum":-5}`,
		"negative number":    `{"type":"number","exclusiveMaximum":0}`,
		"multiple":           `{"type":"integer","minimum":10,"multipleOf":7}`,
		"multiple fraction":  `{"type":"number","minimum":0.3,"multipleOf":0.01}`,
		"integer of quarter": `{"type":"integer","minimum":1,"maximum":400,"multipleOf":0.25}`,
		"unique":             `{"type":"array","items":{"enum":["a","b","c"]},"minItems":3,"uniqueItems":true}`,
		"unique integers":    `{"type":"array","items":{"type":"integer","minimum":1,"maximum":4},"minItems":4,"uniqueItems":true}`,
		"unique strings":     `{"type":"array","items":{"type":"string"},"minItems":9,"uniqueItems":true}`,
		"tuple":              `{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2}`,
		"contains":           `{"type":"array","items":{"type":"integer"},"contains":{"minimum":90},"minItems":1}`,
		"pattern":            `{"type":"string","pattern":"^[A-Z]{3}-\\d{4}(x|y)?$"}`,
		"pattern and length": `{"type":"string","pattern":"^[a-f]+$","minLength":12,"maxLength":12}`,
		"short string":       `{"type":"string","maxLength":4}`,
		"type list":          `{"type":["null","string"]}`,
		"no type":            `{"properties":{"x":{"minimum":3}},"required":["x","y"]}`,
		"additional":         `{"type":"object","additionalProperties":{"type":"integer"},"required":["n"],"minProperties":3}`,
		"max properties":     `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"},"c":{"type":"string"}},"required":["c"],"maxProperties":2}`,
		"if then":            `{"type":"object","properties":{"kind":{"enum":["a","b"]},"why":{"type":"string"}},"required":["kind"],"if":{"properties":{"kind":{"const":"a"}}},"then":{"required":["why"]}}`,
		"not":                `{"type":"string","not":{"enum":["simulated"]}}`,
		"dependent":          `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"],"dependentRequired":{"a":["b"]}}`,
		"formats":            `{"type":"object","properties":{"d":{"type":"string","format":"date"},"u":{"type":"string","format":"uuid"},"e":{"type":"string","format":"email"},"t":{"type":"string","format":"date-time"}}}`,
		"anything":           `true`,
		"empty":              `{}`,
		"false property":     `{"type":"object","properties":{"x":false,"y":{"type":"boolean"}}}`,
	}
	for name, schema := range schemas {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Compile([]byte(schema))
			require.NoError(t, err)
			for seed := range uint64(50) {
				got := s.Append(nil, Source{Seed: seed, Words: "check the \"main\" file"})
				require.Truef(t, s.accepts(got), "seed %d: %s", seed, got)
				require.Equal(t, string(got), string(s.Append(nil, Source{Seed: seed, Words: "check the \"main\" file"})))
			}
			assert.False(t, s.accepts([]byte(s.Invalid())), s.Invalid())
		})
	}
}

func TestAppendObeysGeneratedSchemas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema, err := json.Marshal(drawSchema(t, 3))
		require.NoError(t, err)
		s, err := Compile(schema)
		require.NoError(t, err, string(schema))
		got := s.Append(nil, Source{Seed: rapid.Uint64().Draw(t, "seed"), Sparse: rapid.Bool().Draw(t, "sparse")})
		if !s.accepts(got) {
			t.Fatalf("schema %s\ngot %s", schema, got)
		}
	})
}

func drawSchema(t *rapid.T, depth int) any {
	kinds := []string{"string", "integer", "number", "boolean", "enum", "const", "null"}
	if depth > 0 {
		kinds = append(kinds, "object", "object", "array", "anyOf", "allOf")
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "string":
		lo := rapid.IntRange(0, 30).Draw(t, "minLength")
		return map[string]any{"type": "string", "minLength": lo, "maxLength": lo + rapid.IntRange(0, 40).Draw(t, "more")}
	case "integer", "number":
		lo := rapid.IntRange(-1000, 1000).Draw(t, "minimum")
		s := map[string]any{"type": kind, "minimum": lo}
		if rapid.Bool().Draw(t, "bounded") {
			s["maximum"] = lo + rapid.IntRange(0, 50).Draw(t, "more")
		} else if rapid.Bool().Draw(t, "multiple") {
			s["multipleOf"] = rapid.IntRange(1, 9).Draw(t, "multipleOf")
		}
		return s
	case "boolean", "null":
		return map[string]any{"type": kind}
	case "enum":
		return map[string]any{"enum": rapid.SliceOfN(rapid.StringN(0, 8, 20), 1, 4).Draw(t, "enum")}
	case "const":
		return map[string]any{"const": rapid.String().Draw(t, "const")}
	case "array":
		lo := rapid.IntRange(0, 3).Draw(t, "minItems")
		return map[string]any{"type": "array", "items": drawSchema(t, depth-1), "minItems": lo, "maxItems": lo + rapid.IntRange(0, 2).Draw(t, "more")}
	case "anyOf":
		return map[string]any{"anyOf": []any{drawSchema(t, depth-1), drawSchema(t, depth-1)}}
	case "allOf":
		return map[string]any{"allOf": []any{drawObject(t, depth-1, "p"), drawObject(t, depth-1, "q")}}
	default:
		o := drawObject(t, depth, "")
		o["additionalProperties"] = false
		return o
	}
}

func drawObject(t *rapid.T, depth int, prefix string) map[string]any {
	props, required := map[string]any{}, []string{}
	for i := range rapid.IntRange(0, 4).Draw(t, "properties") {
		name := prefix + strconv.Itoa(i)
		props[name] = drawSchema(t, max(0, depth-1))
		if rapid.Bool().Draw(t, "required") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": props, "required": required}
}

func TestAppendUsesTheSourcesText(t *testing.T) {
	t.Parallel()
	s, err := Compile([]byte(`{"type":"object","properties":{"path":{"type":"string"},"code":{"type":"string","pattern":"^x+$"},"limit":{"type":"integer"}},"required":["path","code"]}`))
	require.NoError(t, err)
	text := func(name string) (string, bool) { return "a/b.go", name == "path" || name == "code" }
	got := s.Append(nil, Source{Text: text, Sparse: true})
	assert.JSONEq(t, `{"path":"a/b.go","code":"x"}`, string(got))
	assert.Equal(t, []Param{{"path", true, true}, {"code", true, true}, {"limit", false, false}}, s.Params())
}

func TestAppendIsBounded(t *testing.T) {
	t.Parallel()
	s, err := Compile([]byte(`{"type":"array","minItems":1000000,"items":{"type":"array","minItems":1000000,"items":{"type":"string","minLength":50}}}`))
	require.NoError(t, err)
	assert.Less(t, len(s.Append(nil, Source{})), 4<<20)
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{`{"type":"nonsense"}`, `{"$ref":"file:///etc/passwd"}`, `{"$ref":"https://example.com/s.json"}`, `{"type":`, `{} {}`} {
		_, err := Compile([]byte(schema))
		require.Error(t, err, schema)
	}
}

func FuzzCompileAndAppend(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`))
	f.Add([]byte(`{"allOf":[{"$ref":"#/allOf/1"},{"$ref":"#/allOf/0"}]}`))
	f.Add([]byte(`{"type":"string","pattern":"(a|b*)*c{2,}"}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		s, err := Compile(schema)
		if err != nil {
			return
		}
		assert.True(t, json.Valid(s.Append(nil, Source{Seed: 1})))
	})
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "s")
		var got string
		require.NoError(t, json.Unmarshal(AppendString(nil, want), &got))
		assert.Equal(t, want, got)
	})
}

func BenchmarkAppend(b *testing.B) {
	s, err := Compile([]byte(`{"type":"object","properties":{"summary":{"type":"string"},"severity":{"enum":["low","high"]},"issues":{"type":"array","items":{"type":"object","properties":{"line":{"type":"integer"},"message":{"type":"string"}},"required":["line"]}}},"required":["summary","severity"]}`))
	require.NoError(b, err)
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = s.Append(buf[:0], Source{Seed: 7, Words: "review the file main.go"})
	}
}
