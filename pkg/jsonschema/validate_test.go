package jsonschema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	const tree = `{"$ref":"#/$defs/e","$defs":{"e":{"anyOf":[
		{"type":"object","properties":{"op":{"const":"add"},"left":{"$ref":"#/$defs/e"},"right":{"$ref":"#/$defs/e"}},"required":["op","left","right"],"additionalProperties":false},
		{"type":"object","properties":{"op":{"const":"lit"},"value":{"type":"number"}},"required":["op","value"],"additionalProperties":false}]}}}`
	for name, tc := range map[string]struct{ schema, value, want string }{
		"type":               {`{"type":["string","null"]}`, `1`, `got number, want null or string`},
		"fraction":           {`{"type":"integer"}`, `1.5`, `got number, want integer`},
		"several":            {`{"type":"object","properties":{"a":{"type":"integer","minimum":0},"t":{"items":{"enum":["a","b"]}}},"required":["n"]}`, `{"a":-1,"t":["c","d","e"]}`, `missing "n"; at a: minimum: got -1, want 0; at t.0: value must be one of 'a', 'b'; and 2 more`},
		"exclusive":          {`{"exclusiveMaximum":3}`, `3`, `exclusiveMaximum: got 3, want less than 3`},
		"unknown":            {`{"properties":{"a":{}},"additionalProperties":false}`, `{"b":1,"c":2}`, `unknown "b", "c"`},
		"format":             {`{"properties":{"d":{"format":"date"}}}`, `{"d":"29/02/2023"}`, `at d: '29/02/2023' is not a valid date: write it as 2024-02-29`},
		"pattern":            {`{"pattern":"^a$"}`, `"b"`, `'b' does not match the pattern '^a$'`},
		"alternatives":       {`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `1`, `got number, want null or string`},
		"one fits the type":  {`{"anyOf":[{"type":"object","required":["a"]},{"type":"null"}]}`, `{}`, `missing "a"`},
		"discriminator":      {tree, `{"op":"add","left":{"op":"lit","value":"x"},"right":{"op":"lit","value":1}}`, `at left.value: got string, want number`},
		"wrong operator":     {tree, `{"op":"add","left":{"op":"sub"},"right":{"op":"lit","value":1}}`, `at left.op: value must be one of 'add', 'lit'`},
		"both of oneOf":      {`{"oneOf":[{"type":"number"},{"minimum":0}]}`, `1`, `matches 2 alternatives of oneOf, want exactly one`},
		"not":                {`{"not":{"type":"string"}}`, `"a"`, `matches what "not" forbids`},
		"unevaluated":        {`{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`, `{"a":1,"b":2}`, `unknown "b"`},
		"name":               {`{"propertyNames":{"pattern":"^a"}}`, `{"b":1}`, `at b: 'b' does not match the pattern '^a'`},
		"dependent":          {`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, `missing "b", which "a" needs`},
		"unique":             {`{"uniqueItems":true}`, `[1,{"a":1},1.0]`, `items at 0 and 2 are equal`},
		"contains":           {`{"contains":{"type":"string"}}`, `[1]`, `contains: 0 items match, want at least 1`},
		"tuple":              {`{"prefixItems":[{}],"items":false}`, `[1,2,3]`, `got 3 items, want at most 1`},
		"condition":          {`{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, `missing "b"`},
		"long list":          {`{"enum":["a","b","c","d","e","f","g","h","i","j","k","l"]}`, `"z"`, `value must be one of 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j' and 2 others`},
		"exact const":        {`{"const":9007199254740993}`, `9007199254740992`, `value must be 9007199254740993`},
		"exact enum":         {`{"enum":[9007199254740993,1]}`, `9007199254740992`, `value must be one of 9007199254740993, 1`},
		"nothing at a place": {`{"properties":{"a":false}}`, `{"a":1}`, `at a: nothing is allowed here`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := mustCompile(t, tc.schema).Validate(t.Context(), decode(t, tc.value))
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), tc.want), err.Error())
		})
	}
}

func TestEqualNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, value string }{
		{`{"const":1}`, `1.0`}, {`{"const":1.0}`, `10e-1`}, {`{"enum":[100]}`, `1e2`}, {`{"const":0}`, `-0.0`}, {`{"const":{"a":[1,2.50]}}`, `{"a":[1.0,2.5]}`},
		{`{"type":"integer","minimum":1,"maximum":1}`, `1.0`}, {`{"multipleOf":0.01}`, `19.99`}, {`{"multipleOf":0.1}`, `1e3`}, {`{"const":9007199254740993}`, `9007199254740993`},
	} {
		assert.NoError(t, mustCompile(t, c.schema).Validate(t.Context(), decode(t, c.value)), "%s %s", c.schema, c.value)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, good, bad string }{
		{"date", `"2024-02-29"`, `"2023-02-29"`}, {"date-time", `"2024-02-29T10:00:00Z"`, `"2024-02-29 10:00"`}, {"time", `"10:00:00Z"`, `"25:00:00Z"`},
		{"email", `"a@b.example"`, `"a.b"`}, {"uri", `"https://a.example/x"`, `"a/b"`}, {"uuid", `"123e4567-e89b-42d3-a456-426614174000"`, `"123"`},
		{"uuid4", `"123e4567-e89b-42d3-a456-426614174000"`, `"123e4567-e89b-12d3-a456-426614174000"`}, {"ipv4", `"10.0.0.1"`, `"10.0.0.256"`}, {"ipv6", `"::1"`, `"1"`},
		{"hostname", `"a.example"`, `"-a-"`}, {"duration", `"P3D"`, `"3 days"`}, {"regex", `"^(?=a)"`, `"("`}, {"byte", `"YQ=="`, `"?"`}, {"base64url", `"YQ"`, `"?"`},
		{"int32", `2147483647`, `2147483648`}, {"int32", `-2147483648`, `-2147483649`}, {"int64", `9223372036854775807`, `9223372036854775808`}, {"cidrv4", `"10.0.0.0/8"`, `"::/8"`},
		{"json-string", `"{}"`, `"{"`}, {"ulid", `"01ARZ3NDEKTSV4RRFFQ69G5FAV"`, `"x"`}, {"idn-email", `"ä@b.example"`, `"@"`}, {"e164", `"+491234567"`, `"0123"`},
	} {
		for _, draft := range []string{"", `"$schema":"http://json-schema.org/draft-04/schema#",`, `"$schema":"https://json-schema.org/draft/2019-09/schema",`} {
			s := mustCompile(t, `{`+draft+`"format":"`+c.format+`"}`)
			assert.NoError(t, s.Validate(t.Context(), decode(t, c.good)), c.format)
			assert.Error(t, s.Validate(t.Context(), decode(t, c.bad)), c.format)
		}
	}
}

func TestPatternsOfECMA(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{`^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$`, "12.50", true}, {`^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$`, "-", false}, {`^\d+$`, "१२", false}, {`^\p{L}+$`, "Élan", true},
		{`^\p{Letter}+$`, "Élan", true}, {`^\p{Script=Greek}$`, "α", true}, {`^a$`, "a\n", false}, {`^a$`, "b\na", false}, {`^.$`, "😀", true}, {`^.$`, "\u2028", false},
		{`^[^a]$`, "😀", true}, {`^\w$`, "é", false}, {`^\s$`, "\ufeff", true}, {`^[\s]$`, "\u00a0", true}, {`^\S$`, "\u00a0", false}, {`^\u{1F600}$`, "😀", true},
		{`^\uD83D\uDE00$`, "😀", true}, {`a`, "xay", true}, {`^[\w-.]+$`, "a-b.c", true}, {`^\-\_\@$`, "-_@", true}, {`^(a)\1$`, "aa", true}, {`(?<=a)b`, "ab", true},
		{`^[^]$`, "\n", true}, {`^\cA$`, "\x01", true}, {`^[[]$`, "[", true}, {`^a{2,3}$`, "aa", true}, {`^(?<y>\d{4})$`, "2024", true}, {`^[\b]$`, "\b", true}, {`^a{1,2000}$`, "aa", true},
		{`^a{00}$`, "", true}, {`^a{02}$`, "aa", true}, {`^a{02,003}$`, "aaaa", false}, {`^a{01,}$`, "aaa", true}, {`^a{0}$`, "a{0}", false}, {`^[{00}]$`, "{", true}, {`^a{00,0}$`, "a", false},
	} {
		p, err := compilePattern(c.pattern)
		require.NoError(t, err, c.pattern)
		b := &budget{ctx: t.Context(), limit: MaxSteps}
		assert.Equal(t, c.want, p.match(c.text, b), "%s %q", c.pattern, c.text)
		require.NoError(t, b.err)
	}
	for _, bad := range []string{`(`, `\Z`, `\Aa`, `a++`, `(?i)a`, `(?P<a>b)`, `(?#c)`, `(?>a)`, `[b-a]`, `\p{Nothing}`, `\1`, `*`, `a\`} {
		_, err := compilePattern(bad)
		assert.Error(t, err, bad)
	}
}

func TestDecimals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "1.0", 0}, {"-0", "0.0e5", 0}, {"10", "9", 1}, {"-10", "-9", -1}, {"0.1", "0.09", 1}, {"1e3", "999.9", 1}, {"12", "123", -1}, {"1.2", "1.23", -1},
		{"1e400", "9e399", 1}, {"-1e-400", "0", -1}, {"9007199254740993", "9007199254740992", 1}, {"1e99999999999999999999", "1e400", 1},
	} {
		a, b := parseDecimal(c.a), parseDecimal(c.b)
		assert.Equal(t, c.want, sign(a.cmp(b)), "%s %s", c.a, c.b)
		assert.Equal(t, -c.want, sign(b.cmp(a)), "%s %s", c.a, c.b)
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestCompileTranslatesNullable(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, `{"type":"object","properties":{"a":{"type":"string","nullable":true}},"propertys":1}`)
	assert.NoError(t, s.Validate(t.Context(), map[string]any{"a": nil}))
	assert.Error(t, s.Validate(t.Context(), map[string]any{"a": json.Number("1")}))
}
