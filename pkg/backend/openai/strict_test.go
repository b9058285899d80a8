package openai

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStrictForm(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"closed and required, in the order of the schema", `{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"integer"}},"required":["a","z"]}`,
			`{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"integer"}},"required":["z","a"],"additionalProperties":false}`},
		{"optional becomes nullable", `{"type":"object","properties":{"a":{"type":"string"}}}`,
			`{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["a"],"additionalProperties":false}`},
		{"optional and nullable stays", `{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"enum":["x",null],"type":["string","null"]}}}`,
			`{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"enum":["x",null],"type":["string","null"]}},"required":["a","b"],"additionalProperties":false}`},
		{"values tell the type", `{"type":"object","properties":{"a":{"enum":["x","y"]},"b":{"const":3}},"required":["a","b"]}`,
			`{"type":"object","properties":{"a":{"enum":["x","y"],"type":"string"},"b":{"const":3,"type":"number"}},"required":["a","b"],"additionalProperties":false}`},
		{"what only narrows is dropped", `{"$schema":"x","type":"object","properties":{"a":{"type":"string","minLength":3,"format":"uri","pattern":"^(?=a)","description":"d"}},"required":["a"],"minProperties":1}`,
			`{"type":"object","properties":{"a":{"type":"string","description":"d"}},"required":["a"],"additionalProperties":false}`},
		{"limits of draft-04", `{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","properties":{"a":{"type":"number","minimum":0,"exclusiveMinimum":true}},"required":["a"]}`,
			`{"type":"object","properties":{"a":{"type":"number","minimum":0}},"required":["a"],"additionalProperties":false}`},
		{"nested", `{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"number","minimum":0}},"required":["b"]}}},"required":["a"]}`,
			`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"number","minimum":0}},"required":["b"],"additionalProperties":false}}},"required":["a"],"additionalProperties":false}`},
		{"alternatives", `{"type":"object","properties":{"a":{"oneOf":[{"type":"string"},{"type":"object","properties":{},"additionalProperties":false}]}},"required":["a"]}`,
			`{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"object","properties":{},"required":[],"additionalProperties":false}]}},"required":["a"],"additionalProperties":false}`},
		{"definitions", `{"type":"object","properties":{"a":{"$ref":"#/$defs/n","description":"no"}},"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"required":["next"]}}}`,
			`{"type":"object","$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"required":["next"],"additionalProperties":false}},"properties":{"a":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["a"],"additionalProperties":false}`},
		{"no parameters", `{"type":"object","properties":{}}`, `{"type":"object","properties":{},"required":[],"additionalProperties":false}`},
		{"free keys", `{"type":"object","additionalProperties":{"type":"string"}}`, ""},
		{"open on purpose", `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true}`, ""},
		{"any object", `{"type":"object","properties":{"a":{"type":"object"}}}`, ""},
		{"any value", `{"type":"object","properties":{"a":{}}}`, ""},
		{"any value, said so", `{"type":"object","properties":{"a":true}}`, ""},
		{"any items", `{"type":"object","properties":{"a":{"type":"array"}}}`, ""},
		{"values of several types", `{"type":"object","properties":{"a":{"enum":["x",1]}}}`, ""},
		{"no object", `{"type":"array","items":{"type":"string"}}`, ""},
		{"alternatives at the root", `{"type":"object","anyOf":[{"type":"object","properties":{}}]}`, ""},
		{"conjunctions", `{"type":"object","properties":{"a":{"allOf":[{"type":"string"}]}}}`, ""},
		{"patterns of keys", `{"type":"object","properties":{},"patternProperties":{"^x":{}}}`, ""},
		{"object or string", `{"type":"object","properties":{"a":{"type":["object","string"]}}}`, ""},
		{"not JSON", `{`, ""},
		{"nothing", ``, ""},
	}
	for _, c := range cases {
		got, ok := strictly([]byte(c.in))
		assert.Equal(t, c.want != "", ok, c.name)
		if ok {
			assert.Equal(t, c.want, got.schema, c.name)
		}
	}
	deep := `{"type":"string"}`
	for range maxNesting + 2 {
		deep = `{"type":"object","properties":{"a":` + deep + `}}`
	}
	_, ok := strictly([]byte(deep))
	assert.False(t, ok, "too deep")
}

func TestNullsOfTheStrictFormAreRemoved(t *testing.T) {
	t.Parallel()
	schema := `{"type":"object","properties":{"a":{"type":"string"},"n":{"type":["string","null"]},"r":{"type":"null"},
		"o":{"type":"object","properties":{"a.b":{"type":"integer"},"q":{"type":"string"}},"required":["q"]},
		"l":{"type":"array","items":{"$ref":"#/$defs/i"}},"x":{"anyOf":[{"type":"object","properties":{"k":{"type":"string"}}},{"type":"string"}]}},
		"required":["r"],"$defs":{"i":{"type":"object","properties":{"v":{"type":"number"}}}}}`
	cases := map[string]string{
		`{"a":null, "n":null,"r":null}`:         `{"n":null,"r":null}`,
		`{"o":{"a.b":null,"q":null}}`:           `{"o":{"q":null}}`, // required, so invalid: the later check reports it
		`{"l":[{"v":null},{"v":1}],"a":"null"}`: `{"l":[{},{"v":1}],"a":"null"}`,
		`{"x":{"k":null}}`:                      `{"x":{}}`,
		`{"x":null}`:                            `{}`,
		`{"unknown":null}`:                      `{"unknown":null}`,
		` {"a": "null"} `:                       ` {"a": "null"} `, // no change needed: the text is unchanged
		`{"a":null`:                             `{"a":null`,
		`null`:                                  `null`,
		`"null"`:                                `"null"`,
		`{"a":"é\u0000 null","r":1e400}`:        `{"a":"é\u0000 null","r":1e400}`,
	}
	for in, want := range cases {
		assert.Equal(t, want, withoutNulls([]byte(schema), in), in)
	}
}

// Any value that matches the strict form matches the original after its nulls are removed, for the keywords that both support.
func TestStrictAnswersMatchTheOriginal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema, err := json.Marshal(anySchema(t, 0))
		require.NoError(t, err)
		form, ok := strictly(schema)
		require.True(t, ok, string(schema))
		var node map[string]any
		require.NoError(t, json.Unmarshal([]byte(form.schema), &node))
		answer, err := json.Marshal(anyValue(t, node))
		require.NoError(t, err)
		require.NoError(t, matches(form.schema, string(answer)), "the value is of the strict form")
		assert.NoError(t, matches(string(schema), withoutNulls(schema, string(answer))), "%s for %s", answer, schema)
	})
}

// anySchema generates an object with optional and required properties.
func anySchema(t *rapid.T, depth int) map[string]any {
	properties, needed := map[string]any{}, []string{}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c.d", "é"}), 1, 3, rapid.ID).Draw(t, "names") {
		kinds := []string{"string", "integer", "boolean", "nullable", "enum"}
		if depth < 2 {
			kinds = append(kinds, "object", "array", "either")
		}
		var s map[string]any
		switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
		case "nullable":
			s = map[string]any{"type": []any{"string", "null"}}
		case "enum":
			s = map[string]any{"enum": []any{"x", "y"}}
		case "object":
			s = anySchema(t, depth+1)
		case "array":
			s = map[string]any{"type": "array", "items": anySchema(t, depth+1)}
		case "either":
			s = map[string]any{"anyOf": []any{anySchema(t, depth+1), map[string]any{"type": "integer"}}}
		default:
			s = map[string]any{"type": kind}
		}
		properties[name] = s
		if rapid.Bool().Draw(t, "needed") {
			needed = append(needed, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": needed}
}

// anyValue generates a value of a schema in strict form.
func anyValue(t *rapid.T, s map[string]any) any {
	if branches, ok := s["anyOf"].([]any); ok {
		return anyValue(t, rapid.SampledFrom(branches).Draw(t, "branch").(map[string]any))
	}
	if values, ok := s["enum"].([]any); ok {
		return rapid.SampledFrom(values).Draw(t, "value")
	}
	kind, ok := s["type"].(string)
	if !ok {
		kind = rapid.SampledFrom(s["type"].([]any)).Draw(t, "type").(string)
	}
	switch kind {
	case "null":
		return nil
	case "string":
		return rapid.SampledFrom([]string{"", "null", "x"}).Draw(t, "text")
	case "integer":
		return rapid.IntRange(0, 3).Draw(t, "number")
	case "boolean":
		return rapid.Bool().Draw(t, "flag")
	case "array":
		out := []any{}
		for range rapid.IntRange(0, 2).Draw(t, "length") {
			out = append(out, anyValue(t, s["items"].(map[string]any)))
		}
		return out
	}
	out := map[string]any{}
	properties := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		out[name] = anyValue(t, properties[name].(map[string]any))
	}
	return out
}

func matches(schema, text string) error {
	var doc, value any
	if err := json.Unmarshal([]byte(schema), &doc); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		return err
	}
	compiled, err := c.Compile("s.json")
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}
