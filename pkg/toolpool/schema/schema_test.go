package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

const person = `{
	"type": "object",
	"properties": {
		"name": {"type": "string"},
		"age": {"type": "integer", "minimum": 0, "maximum": 150},
		"tags": {"type": "array", "items": {"enum": ["a", "b"]}}
	},
	"required": ["name"],
	"additionalProperties": false
}`

func TestCheckDescribesViolations(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(person))
	require.NoError(t, err)
	for _, c := range []struct{ text, want string }{
		{`{"name":"x","age":3,"tags":["a"]}`, ""},
		{`{"age":3}`, `missing "name"`},
		{`{"name":1}`, `at name: got number, want string`},
		{`{"name":"x","agee":1}`, `unknown "agee"`},
		{`{"name":"x","tags":["a","c"]}`, `at tags.1: value must be one of 'a', 'b'`},
		{`[]`, `got array, want object`},
		{`{"name":"x"`, `not valid JSON: the text ends too early`},
		{``, `not valid JSON: the text ends too early`},
		{`{"name":"x"} tail`, `not valid JSON: more text after the value, at byte 14`},
		{`{name:"x"}`, `not valid JSON: 'n' in place of a key in double quotes, at byte 2`},
		{`{"name":"x","age":1e999999999}`, `not valid JSON: the number 1e999999999 is out of range, at byte 19`},
		{`{"name":"x","age":-1e-99999999999999999999}`, `not valid JSON: the number -1e-99999999999999999999 is out of range, at byte 19`},
		{`{"name":"x","age":NaN}`, `not valid JSON: NaN, which JSON does not have, at byte 19`},
		{`{"name":"x","age":01}`, `not valid JSON: the number 01 has a leading zero, at byte 19`},
		{`{"name":"x","name":"y"}`, `not valid JSON: the key "name" occurs twice in one object, at byte 13`},
		{`{"age":-1,"tags":["c","d","e"]}`, `missing "name"; at age: minimum: got -1, want 0; at tags.0: value must be one of 'a', 'b'; and 2 more`},
	} {
		err := s.Check([]byte(c.text))
		if c.want == "" {
			assert.NoError(t, err, c.text)
			continue
		}
		assert.EqualError(t, err, c.want, c.text)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(person))
	require.NoError(t, err)
	err = s.Check([]byte(`{"name":"x","` + strings.Repeat("é", 5000) + `":1}`))
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 700)
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":            `{`,
		"not a schema":        `{"type": "objekt"}`,
		"a file":              `{"$ref": "file:///etc/hostname"}`,
		"a URL":               `{"$ref": "https://example.com/schema.json"}`,
		"a relative file":     `{"$ref": "other.json"}`,
		"an unknown property": `{"$ref": "#/$defs/none"}`,
	} {
		_, err := schema.Compile([]byte(text))
		assert.Error(t, err, name)
	}
}

func TestReferencesWithinTheSchemaResolve(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile([]byte(`{"$defs":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/n"}}}`))
	require.NoError(t, err)
	assert.NoError(t, s.Check([]byte(`{"a":12345678901234567890}`)))
	assert.EqualError(t, s.Check([]byte(`{"a":1.5}`)), "at a: got number, want integer")
}

func TestDecodeKeepsNumbers(t *testing.T) {
	t.Parallel()
	v, err := schema.Decode([]byte(`[12345678901234567890, 1.0, 1E5]`))
	require.NoError(t, err)
	assert.Equal(t, []any{json.Number("12345678901234567890"), json.Number("1.0"), json.Number("1E5")}, v)
}
