package jsonschema

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLintReports(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ schema, want string }{
		"misspelt keyword":        {`{"type":"object","propertys":{"a":{"type":"string"}}}`, `at /propertys: "propertys" is no keyword of JSON Schema; the nearest one is "properties"`},
		"misspelt below":          {`{"type":"object","properties":{"a":{"type":"object","requird":["b"]}}}`, `at /properties/a/requird: "requird" is no keyword of JSON Schema; the nearest one is "required"`},
		"misspelt in definitions": {`{"type":"object","$defs":{"a":{"minlength":3}}}`, `at /$defs/a/minlength: "minlength" is no keyword of JSON Schema; the nearest one is "minLength"`},
		"misspelt in items":       {`{"type":"array","items":{"enums":["a"]}}`, `at /items/enums: "enums" is no keyword of JSON Schema; the nearest one is "enum"`},
		"fields at the top":       {`{"a":"string"}`, `at /a: "a" is no keyword of JSON Schema; describe the fields of an object under "properties", each by a schema such as {"type": "string"}`},
		"fields that are schemas": {`{"summary":{"type":"string"}}`, `at /summary: "summary" is no keyword of JSON Schema; describe the fields of an object under "properties", each by a schema such as {"type": "string"}`},
		"shorthand":               {`{"type":"object","properties":{"a":"string"}}`, `at /properties/a: got string, want a schema: write {"type": "string"}`},
		"misspelt type":           {`{"type":"strng"}`, `at /type: "strng" is no type; the nearest one is "string", and the known ones are null, boolean, number, integer, string, array, object`},
		"type of Python":          {`{"type":"dict"}`, `at /type: "dict" is no type; the nearest one is "object", and the known ones are null, boolean, number, integer, string, array, object`},
		"text for a number":       {`{"type":"string","minLength":"3"}`, `at /minLength: got string, want number`},
		"negative count":          {`{"type":"string","minLength":-1}`, `at /minLength: got -1, want an integer from 0`},
		"required in a property":  {`{"type":"object","properties":{"a":{"type":"string","required":true}}}`, `at /properties/a/required: got boolean, want array: list the names of required properties beside "properties"`},
		"no value":                {`{"enum":[]}`, `at /enum: has no value, so nothing can match`},
		"unknown format":          {`{"type":"string","format":"datetime"}`, `at /format: unknown format "datetime", which would not be checked; the nearest one is "date-time". Use pattern, or name it x-format`},
		"list of items":           {`{"type":"array","items":[{"type":"string"}]}`, `at /items: got array, want boolean or object: draft 2020-12 has prefixItems for a list; or set $schema to the draft that the schema is written for`},
		"boolean limit":           {`{"type":"number","minimum":0,"exclusiveMinimum":true}`, `at /exclusiveMinimum: got boolean, want number: write exclusiveMinimum: N instead of minimum: N, or set $schema to draft-04`},
		"later keyword":           {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"array","prefixItems":[{}]}`, `at /prefixItems: draft-07 does not have this keyword and ignores it; use items with a list`},
		"earlier keyword":         {`{"type":"array","additionalItems":false}`, `at /additionalItems: draft 2020-12 does not have this keyword and ignores it; use prefixItems, and items for all that follow`},
		"beside a reference":      {`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"$ref":"#/definitions/s","minLength":3}},"definitions":{"s":{"type":"string"}}}`, `at /properties/a/minLength: draft-07 ignores keywords beside $ref; put both into allOf`},
		"then without if":         {`{"type":"object","then":{"required":["a"]}}`, `at /then: has no effect without "if" beside it`},
		"unknown draft":           {`{"$schema":"http://example.com/x","type":"object"}`, `at /$schema: "http://example.com/x" is no known draft; leave $schema out, or set it to https://json-schema.org/draft/2020-12/schema or to draft-04, draft-06, draft-07 or 2019-09`},
		"remote":                  {`{"$ref":"https://json-schema.org/draft/2020-12/schema"}`, `at /$ref: "https://json-schema.org/draft/2020-12/schema": a $ref may only point inside the schema (#/$defs/…); nothing is loaded from elsewhere`},
		"dead reference":          {`{"items":{"$ref":"#/$defs/x"}}`, `at /items/$ref: "#/$defs/x" leads nowhere: "$defs" is missing`},
		"empty":                   {`{}`, `constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"only a title":            {`{"title":"t","description":"d"}`, `constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"only empty parts":        {`{"properties":{"a":{},"b":{"anyOf":[{},{"type":"string"}]}},"additionalProperties":true}`, `constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"only itself":             {`{"properties":{"a":{"$ref":"#"}}}`, `constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"every type":              {`{"type":["object","array","string","number","boolean","null"]}`, `constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"circle":                  {`{"$ref":"#"}`, `leads back to itself and no further, so a check would not end: # → #`},
		"circle of two":           {`{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"allOf":[{"$ref":"#/$defs/c"}]},"c":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/b"}]}}}`, `at /$defs/c/anyOf/1: leads back to itself and no further, so a check would not end: #/$defs/b → #/$defs/b/allOf/0 → #/$defs/c → #/$defs/c/anyOf/1 → #/$defs/b`},
		"without end":             {`{"type":"object","properties":{"next":{"$ref":"#"}},"required":["next"]}`, `nothing can match: each value would have to hold another one, without end. Make a property optional, or let it be null`},
		"limits":                  {`{"type":"object","properties":{"a":{"type":"integer","minimum":10,"maximum":5}}}`, `at /properties/a: nothing can match: minimum 10 and maximum 5 leave no number`},
		"open limits":             {`{"type":"number","minimum":5,"exclusiveMaximum":5.0}`, `nothing can match: minimum 5 and exclusiveMaximum 5 leave no number`},
		"lengths":                 {`{"type":"string","minLength":5,"maxLength":3}`, `nothing can match: minLength 5 is above maxLength 3`},
		"forbidden and required":  {`{"type":"object","properties":{"a":{"type":"string"}},"required":["b"],"additionalProperties":false}`, `nothing can match: "b" is required, and additionalProperties: false forbids it`},
		"enum against type":       {`{"type":"object","properties":{"a":{"type":"string","enum":[1,2]}},"required":["a"]}`, `at /properties/a: nothing can match: no value of the enum or const matches the rest of the schema`},
		"parts":                   {`{"allOf":[{"type":"string"},{"type":"number"}]}`, `nothing can match: its parts exclude each other`},
		"pattern":                 {`{"type":"string","pattern":"("}`, "at /pattern: \"(\" is no regular expression: missing closing ) in `(`"},
		"escape of Python":        {`{"type":"string","pattern":"^a\\Z"}`, `at /pattern: "^a\\Z": \Z is not an escape of ECMA-262; use ^ and $ for the ends, and no backslash for the letter`},
		"flags":                   {`{"type":"string","pattern":"(?i)a"}`, `at /pattern: "(?i)a": "(?i)" is not a group of ECMA-262; patterns have no flags`},
		"a list":                  {`[]`, `a schema must be a mapping`},
		"far from any keyword":    {`{"type":"object","info":{"a":1}}`, `at /info: "info" is no keyword of JSON Schema; leave it out, or give it a name that begins with x- if it is an annotation. Fields of an object stand under "properties"`},
		"no type":                 {`{"properties":{"a":{"type":"string"}},"required":["a"]}`, `"properties" limits objects alone, and every other JSON value matches; add "type": "object"`},
		"no type behind $ref":     {`{"$ref":"#/$defs/A","$defs":{"A":{"properties":{"a":{"type":"string"}}}}}`, `at /$defs/A: "properties" limits objects alone, and every other JSON value matches; add "type": "object"`},
		"no type of a list":       {`{"items":{"type":"string"}}`, `"items" limits arrays alone, and every other JSON value matches; add "type": "array"`},
		"no type of a number":     {`{"minimum":5}`, `"minimum" limits numbers alone, and every other JSON value matches; add "type": "number"`},
		"no type in branches":     {`{"anyOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"type":"null"}]}`, `at /anyOf/0: "properties" limits objects alone, and every other JSON value matches; add "type": "object"`},
		"tool of OpenAI":          {`{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}`, `is the definition of a tool; give only the schema at function.parameters`},
		"tool of Anthropic":       {`{"name":"f","description":"d","input_schema":{"type":"object"}}`, `is the definition of a tool; give only the schema at input_schema`},
		"tool of MCP":             {`{"name":"f","inputSchema":{"type":"object"}}`, `is the definition of a tool; give only the schema at inputSchema`},
		"function of Gemini":      {`{"name":"f","parameters":{"type":"object"}}`, `is the definition of a tool; give only the schema at parameters`},
		"document of OpenAPI":     {`{"openapi":"3.0.0","paths":{},"components":{"schemas":{"A":{"type":"object"},"B":{"type":"string"}}}}`, `is an OpenAPI document; give one schema of it: {"$ref": "#/components/schemas/A", "components": {…}} (or another one of A, B), without the other members`},
		"document of Swagger":     {`{"swagger":"2.0","definitions":{"A":{"type":"object"}}}`, `is an OpenAPI document; give one schema of it: {"$ref": "#/definitions/A", "definitions": {…}}, without the other members`},
		"wrapped":                 {`{"name":"x","strict":true,"schema":{"type":"object","propertys":{}}}`, `at /schema/propertys: "propertys" is no keyword of JSON Schema; the nearest one is "properties"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Lint([]byte(tc.schema))
			require.NoError(t, err)
			require.NotEmpty(t, r.Problems)
			assert.Equal(t, tc.want, r.Problems[0].Error())
			assert.Nil(t, r.Schema)
		})
	}
}

func TestLintReportsEveryPlace(t *testing.T) {
	t.Parallel()
	r, err := Lint([]byte(`{"type":"objet","properties":{"a":{"minimum":"x"},"b":{"tpye":"string"}},"requird":[]}`))
	require.NoError(t, err)
	var got []string
	for _, p := range r.Problems {
		got = append(got, strings.Join(p.At, "/"))
	}
	assert.Equal(t, []string{"type", "properties/a/minimum", "properties/b/tpye", "requird"}, got)
}

func TestLintAccepts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ schema, want string }{ // want is empty if the schema stays as it is
		"property called type":        {`{"type":"object","properties":{"type":{"type":"string"},"propertys":{"type":"string"},"nullable":{"type":"boolean"}},"required":["type"]}`, ""},
		"annotations":                 {`{"title":"t","description":"d","$comment":"c","type":"object","x-order":1,"properties":{"a":{"type":"string","examples":["e"],"example":"e","default":"d","deprecated":true,"xml":{"name":"a"}}},"discriminator":{"propertyName":"a"}}`, ""},
		"Pydantic":                    {`{"$defs":{"Item":{"properties":{"price":{"anyOf":[{"type":"number"},{"pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$","type":"string"}],"title":"Price"},"note":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null,"title":"Note"}},"required":["price"],"title":"Item","type":"object"}},"properties":{"items":{"items":{"$ref":"#/$defs/Item"},"title":"Items","type":"array"}},"required":["items"],"title":"Order","type":"object"}`, ""},
		"zod":                         {`{"$ref":"#/definitions/out","definitions":{"out":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}},"$schema":"http://json-schema.org/draft-07/schema#"}`, ""},
		"draft-04":                    {`{"$schema":"http://json-schema.org/draft-04/schema#","id":"http://x/y","type":"object","properties":{"a":{"type":"number","minimum":0,"exclusiveMinimum":true}}}`, ""},
		"draft 2019-09":               {`{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"array","items":[{"type":"string"}],"additionalItems":false}`, ""},
		"definitions under any name":  {`{"type":"object","properties":{"a":{"$ref":"#/components/schemas/A"}},"components":{"schemas":{"A":{"type":"string"}}}}`, ""},
		"optional list":               {`{"type":"object","properties":{"v":{"type":"number"},"next":{"$ref":"#"}},"required":["v"]}`, ""},
		"list that ends with null":    {`{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]}`, ""},
		"tree":                        {`{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"required":["children"]}`, ""},
		"property that must not be":   {`{"type":"object","properties":{"a":false}}`, ""},
		"const":                       {`{"const":1}`, ""},
		"integer of OpenAPI":          {`{"type":"integer","format":"int64"}`, ""},
		"wrapper of OpenAI":           {`{"name":"x","strict":true,"schema":{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}}`, `{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}`},
		"wrapper of chat":             {`{"type":"json_schema","json_schema":{"name":"x","description":"d","schema":{"type":"object"}}}`, `{"type":"object"}`},
		"wrapper of responses":        {`{"type":"json_schema","name":"x","schema":{"type":"object"},"strict":true}`, `{"type":"object"}`},
		"wrapper of a request":        {`{"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}}}`, `{"type":"object"}`},
		"nullable type":               {`{"type":"object","properties":{"a":{"type":"string","nullable":true},"b":{"type":"string","nullable":false}}}`, `{"type":"object","properties":{"a":{"type":["string","null"]},"b":{"type":"string"}}}`},
		"nullable enum":               {`{"type":"string","enum":["a"],"nullable":true}`, `{"type":["string","null"],"enum":["a",null]}`},
		"nullable reference":          {`{"type":"object","properties":{"a":{"description":"d","$ref":"#/$defs/s","nullable":true}},"$defs":{"s":{"type":"string"}}}`, `{"type":"object","properties":{"a":{"description":"d","anyOf":[{"$ref":"#/$defs/s"},{"type":"null"}]}},"$defs":{"s":{"type":"string"}}}`},
		"nullable without constraint": {`{"type":"object","properties":{"a":{"title":"t","nullable":true}}}`, `{"type":"object","properties":{"a":{"title":"t"}}}`},
		"nullable in an example":      {`{"type":"object","examples":[{"nullable":true}],"properties":{"a":{"type":"string"}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Lint([]byte(tc.schema))
			require.NoError(t, err)
			require.Empty(t, r.Problems)
			want := tc.want
			if want == "" {
				want = tc.schema
			}
			assert.Equal(t, want, string(r.Schema))
			assert.Empty(t, r.Hints)
		})
	}
}

func TestLintHintsAtMissingProperty(t *testing.T) {
	t.Parallel()
	r, err := Lint([]byte(`{"type":"object","properties":{"name":{"type":"string"}},"required":["nme"]}`))
	require.NoError(t, err)
	assert.Empty(t, r.Problems)
	require.Len(t, r.Hints, 1)
	assert.Equal(t, `at /required/0: no property is called "nme"; the nearest one is "name"`, r.Hints[0].Error())
}

func TestLintHintsAtKeywordsWithoutEffect(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		`{"type":"object","properties":{"a":{"type":"string","maximum":5}}}`:        `at /properties/a/maximum: counts for numbers alone, and the type is string; it has no effect. Change the type, or leave the keyword out`,
		`{"type":["string","null"],"minimum":5}`:                                    `at /minimum: counts for numbers alone, and the type is null or string; it has no effect. Change the type, or leave the keyword out`,
		`{"type":"integer","maxLength":5}`:                                          `at /maxLength: counts for strings alone, and the type is integer; it has no effect. Change the type, or leave the keyword out`,
		`{"type":"object","items":{"type":"string"}}`:                               `at /items: counts for arrays alone, and the type is object; it has no effect. Change the type, or leave the keyword out`,
		`{"type":"array","properties":{"a":{"type":"string"}}}`:                     `at /properties: counts for objects alone, and the type is array; it has no effect. Change the type, or leave the keyword out`,
		`{"type":"object","properties":{"a":{"properties":{"b":{"type":"null"}}}}}`: `at /properties/a: "properties" limits objects alone, and every other JSON value matches; add "type": "object"`,
		`{"type":"array","items":{"minLength":2}}`:                                  `at /items: "minLength" limits strings alone, and every other JSON value matches; add "type": "string"`,
	} {
		r, err := Lint([]byte(schema))
		require.NoError(t, err)
		assert.Empty(t, r.Problems, schema)
		require.Len(t, r.Hints, 1, schema)
		assert.Equal(t, want, r.Hints[0].Error())
	}
	for _, schema := range []string{
		`{"type":["string","number"],"maximum":5,"maxLength":3}`,
		`{"type":"object","allOf":[{"properties":{"a":{"minLength":3}}},{"required":["a"]}],"properties":{"a":{"type":"string"}}}`,
		`{"type":"object","if":{"properties":{"n":{"minimum":5}}},"then":{"required":["a"]},"properties":{"a":{"enum":[1]},"n":{"type":"number"}}}`,
		`{"type":"object","properties":{"a":{"title":"anything"},"b":true,"c":{"minLength":2,"minimum":3}}}`,
		`{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"null"}]}`,
		`{"type":"integer","format":"int64"}`,
	} {
		r, err := Lint([]byte(schema))
		require.NoError(t, err)
		assert.Empty(t, r.Problems, schema)
		assert.Empty(t, r.Hints, schema)
	}
}

func TestLintRefusesNullableThatCannotMove(t *testing.T) {
	t.Parallel()
	r, err := Lint([]byte(`{"type":"object","properties":{"a":{"allOf":[{"type":"string"}],"nullable":true},"b":{"$ref":"#/properties/a/allOf/0"}}}`))
	require.NoError(t, err)
	require.Len(t, r.Problems, 1)
	assert.Equal(t, `at /properties/a/nullable: cannot be translated, because #/properties/a/allOf/0 points into this schema; write anyOf with {"type": "null"} instead`, r.Problems[0].Error())
}
