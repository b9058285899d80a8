package spec

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchemaAppearsOnce(t *testing.T) {
	t.Parallel()
	const compact = `{"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"string"}}}`
	schema := "output_schema:\n  type: object\n  properties:\n    b: {type: integer}\n    a: {type: string}\ninputs: [{id: 1}, {id: 2}]\n"
	for name, tc := range map[string]struct{ prompts, system, task string }{
		"by an instruction": {
			"system_prompt: Be brief.\ntask: \"{id}\"\n", "Be brief.\n\n" + schemaInstruction + compact, "{id}",
		},
		"without a system prompt": {"task: \"{id}\"\n", schemaInstruction + compact, "{id}"},
		"where the system prompt says": {
			"system_prompt: \"Use {schema}, {{schema}}.\"\ntask: \"{id}\"\n", "Use " + compact + ", {schema}.", "{id}",
		},
		"where the task says":    {"task: \"{id} as {schema}\"\n", "", "{id} as " + compact},
		"where it is spelt out":  {"task: '{id} as {\"type\": \"object\", \"properties\": {\"b\": {\"type\": \"integer\"}, \"a\": {\"type\":\"string\"}}}'\n", "", `{id} as {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type":"string"}}}`},
		"after hoisted material": {"task: \"{id}\"\nsystem_prompt: |\n  a\n\n", "a\n\n" + schemaInstruction + compact, "{id}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := compile(t, tc.prompts+schema, nil, LoadOptions{})
			require.NoError(t, err)
			assert.Equal(t, tc.system, p.Jobs.System)
			assert.Equal(t, tc.task, p.Jobs.Task)
			assert.JSONEq(t, compact, string(p.Jobs.Schema))
		})
	}
}

func TestSchemaPlaceholderWithoutSchemaIsField(t *testing.T) {
	t.Parallel()
	p, err := compile(t, "task: \"{schema}\"\ninputs: [{schema: a}, {schema: b}]\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, "{schema}", p.Jobs.Task)
}

func TestSchemaMistakesNameTheirPlace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		yaml  string
		files map[string]string
		want  string
	}{
		"every place": {
			"output_schema:\n  properties:\n    a: {minimum: x}\n    b/c:\n      required: y\n", nil,
			"batch.yaml:5: field output_schema: at /properties/a/minimum: got string, want number\n" +
				"batch.yaml:7: field output_schema: at /properties/b~1c/required: got string, want array",
		},
		"in a list":      {"output_schema:\n  anyOf:\n    - {}\n    - 3\n", nil, "batch.yaml:6: field output_schema: at /anyOf/1: got number, want boolean or object"},
		"regexp":         {"output_schema: {pattern: '('}\n", nil, "batch.yaml:3: field output_schema: at /pattern: \"(\" is no regular expression: missing closing ) in `(`"},
		"the network":    {"output_schema:\n  properties:\n    a:\n      $ref: https://example.com/a.json\n", nil, "batch.yaml:6: field output_schema: at /properties/a/$ref: \"https://example.com/a.json\": a $ref may only point inside the schema (#/$defs/…); nothing is loaded from elsewhere"},
		"a file":         {"output_schema: {items: {$ref: other.json}}\n", map[string]string{"other.json": "{}"}, "batch.yaml:3: field output_schema: at /items/$ref: \"other.json\": a $ref may only point inside the schema (#/$defs/…); nothing is loaded from elsewhere"},
		"dead reference": {"output_schema:\n  items:\n    $ref: '#/$defs/x'\n", nil, `batch.yaml:5: field output_schema: at /items/$ref: "#/$defs/x" leads nowhere: "$defs" is missing`},
		"other draft":    {"output_schema:\n  type: object\n  $schema: http://json-schema.org/draft-03/schema#\n", nil, "batch.yaml:5: field output_schema: at /$schema: \"http://json-schema.org/draft-03/schema#\" is no known draft; leave $schema out, or set it to https://json-schema.org/draft/2020-12/schema or to draft-04, draft-06, draft-07 or 2019-09"},
		"in a file": {
			"output_schema: {file: s/x.json}\n", map[string]string{"s/x.json": "{\n\"items\": {\n\"type\": \"lst\"}}"},
			"s/x.json:3: field output_schema: at /items/type: \"lst\" is no type; the nearest one is \"array\", and the known ones are null, boolean, number, integer, string, array, object",
		},
		"key twice in a file": {"output_schema: x.json\n", map[string]string{"x.json": "{\"type\": \"object\",\n\"type\": \"array\"}"}, "x.json:2: field output_schema.type: is given twice, first on line 1"},
		"keyword":             {"output_schema:\n  type: object\n  propertys: {a: {type: string}}\n", nil, `batch.yaml:5: field output_schema: at /propertys: "propertys" is no keyword of JSON Schema; the nearest one is "properties"`},
		"in a wrapper":        {"output_schema:\n  name: x\n  schema:\n    type: object\n    requird: [a]\n", nil, `batch.yaml:7: field output_schema: at /schema/requird: "requird" is no keyword of JSON Schema; the nearest one is "required"`},
		"no constraint":       {"output_schema: {title: x}\n", nil, `batch.yaml:3: field output_schema: constrains nothing: every JSON value matches. Give at least a type, such as {"type": "object", "properties": {…}}`},
		"circle":              {"output_schema: {$ref: '#'}\n", nil, `batch.yaml:3: field output_schema: leads back to itself and no further, so a check would not end: # → #`},
		"size":                {"output_schema: {maximum: 1e1000000000}\n", nil, `batch.yaml:3: field output_schema: the number 1e1000000000 in the schema has a large exponent; at most 400 are allowed`},
		"not JSON":            {"output_schema: x.json\n", map[string]string{"x.json": "type: object"}, "batch.yaml:3: field output_schema: x.json is not valid JSON: invalid character 'y' in literal true (expecting 'r')"},
		"not a mapping":       {"output_schema: x.json\n", map[string]string{"x.json": "[]"}, "x.json:1: field output_schema: a schema must be a mapping"},
		"missing":             {"output_schema: x.json\n", nil, "batch.yaml:3: field output_schema: read x.json: no such file or directory"},
		"a word":              {"output_schema: object\n", nil, `batch.yaml:3: field output_schema: must be a JSON Schema, or the path of a .json file that holds one, not "object"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, least+tc.yaml, tc.files, LoadOptions{})
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestSchemaMayReferToItself(t *testing.T) {
	t.Parallel()
	s, err := load(t, least+"output_schema: {$schema: 'https://json-schema.org/draft/2020-12/schema', $ref: '#/$defs/n', $defs: {n: {type: object, properties: {next: {$ref: '#/$defs/n'}}}}}\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(s.settings.Schema), `{"$schema":`))
}

func TestSchemaIsUnwrapped(t *testing.T) {
	t.Parallel()
	s, err := load(t, least+"output_schema: {name: x, strict: true, schema: {type: object, properties: {a: {type: string, nullable: true}}, required: [b]}}\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, `{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["b"]}`, string(s.settings.Schema))
	require.Len(t, s.Hints, 1)
	assert.True(t, strings.HasSuffix(s.Hints[0], `batch.yaml:3: field output_schema: at /schema/required/0: no property is called "b"; the nearest one is "a"`), s.Hints[0])
}

func TestPreambleIsStrippedUnlessKept(t *testing.T) {
	t.Parallel()
	prompt := "system_prompt: |\n  X-Anthropic-Billing-Header: cc=1; id=ab\n  x-amz-trace: 5\n\n    Be brief.\n  x-amz-late: stays\n"
	p, err := compile(t, least+prompt, nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, "  Be brief.\nx-amz-late: stays", p.Jobs.System)
	p, err = compile(t, least+prompt+"keep_preamble: true\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(p.Jobs.System, "X-Anthropic-Billing-Header: cc=1; id=ab\n"))
	p, err = compile(t, least+"system_prompt: \"x-amz-only: 1\"\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Empty(t, p.Jobs.System)
}
