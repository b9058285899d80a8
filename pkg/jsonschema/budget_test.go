package jsonschema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func decode(t testing.TB, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	return v
}

func mustCompile(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Compile([]byte(text))
	require.NoError(t, err)
	return s
}

// chain returns a schema of levels. Each level refers to the level below twice.
func chain(levels int, word string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"$ref":"#/$defs/l%d","$defs":{"l0":{"type":"string"}`, levels)
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, `,"l%d":{%q:[{"$ref":"#/$defs/l%d"},{"$ref":"#/$defs/l%d"}]}`, i, word, i-1, i-1)
	}
	return b.String() + "}}"
}

const expression = `{"$ref":"#/$defs/e","$defs":{"e":{"anyOf":[
	{"type":"object","properties":{"op":{"const":"not"},"arg":{"$ref":"#/$defs/e"}},"required":["op","arg"]},
	{"type":"object","properties":{"op":{"const":"neg"},"arg":{"$ref":"#/$defs/e"}},"required":["op","arg"]}]}}}`

const unevaluatedTree = `{"$ref":"#/$defs/e","$defs":{"e":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]},
	"a":{"type":"object","allOf":[{"properties":{"arg":{"$ref":"#/$defs/e"}}}],"unevaluatedProperties":false},
	"b":{"type":"object","oneOf":[{"properties":{"arg":{"$ref":"#/$defs/e"}},"required":["b"]}],"unevaluatedProperties":false}}}`

func nested(levels int, inner string) string {
	return strings.Repeat(`{"op":"x","arg":`, levels) + inner + strings.Repeat("}", levels)
}

func TestHostilePairsOfSchemaAndValueCostFewSteps(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		schema, value string
		most          int
	}{
		"chain of anyOf":      {chain(200, "anyOf"), "1", 10_000},
		"chain of oneOf":      {chain(200, "oneOf"), `"x"`, 10_000},
		"chain of allOf":      {chain(200, "allOf"), `"x"`, 10_000},
		"expression":          {expression, nested(1000, "1"), 50_000},
		"unevaluated":         {unevaluatedTree, nested(500, "1"), 100_000},
		"one level of others": {expression, nested(3, "1"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustCompile(t, tc.schema)
			b := &budget{ctx: t.Context(), limit: MaxSteps}
			c := check{budget: b}
			v := (&builder{budget: b}).build(decode(t, tc.value), 0)
			c.eval(s.root, v, nil)
			require.NoError(t, b.err)
			assert.Less(t, b.steps, tc.most)
			if err := s.Validate(t.Context(), decode(t, tc.value)); err != nil {
				assert.Less(t, len(err.Error()), 700)
			}
		})
	}
}

func TestCheckEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, `{"type":"array","items":{"type":"integer"}}`)
	err := s.validate(t.Context(), decode(t, "["+strings.Repeat("1,", 2000)+"1]"), 1000)
	assert.True(t, IsLimit(err), err)
	assert.EqualError(t, err, "the value is too large or nested too deeply: checking it against the schema takes too many steps; at most 1000 are allowed")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the job is over"))
	assert.EqualError(t, s.Validate(ctx, decode(t, "["+strings.Repeat("1,", 2000)+"1]")), "the job is over")
}

func TestDeepValues(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, `{"type":"array","items":{"$ref":"#"}}`)
	assert.NoError(t, s.Validate(t.Context(), decode(t, strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000))))
	long := mustCompile(t, chainOfRefs(5_000))
	err := long.Validate(t.Context(), decode(t, nested(2_000, "1")))
	assert.True(t, IsLimit(err), err)
}

// chainOfRefs returns a schema that descends into arg only after many references.
func chainOfRefs(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/l0","$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"l%d":{"$ref":"#/$defs/l%d"},`, i, i+1)
	}
	fmt.Fprintf(&b, `"l%d":{"properties":{"arg":{"$ref":"#"}}}}}`, n)
	return b.String()
}

func TestWideSchemasTakeLinearTime(t *testing.T) {
	t.Parallel()
	wide := func(n int) []byte {
		var b bytes.Buffer
		b.WriteString(`{"type":"object","properties":{`)
		for i := range n {
			fmt.Fprintf(&b, `"p%d":{"type":"string"},`, i)
		}
		b.WriteString(`"last":{"type":"string"}}}`)
		return b.Bytes()
	}
	r, err := Lint(wide(15_000))
	require.NoError(t, err)
	assert.Empty(t, r.Problems)
	_, err = Lint(wide(25_000))
	assert.True(t, IsLimit(err))
	assert.EqualError(t, err, "the schema has too many subschemas; at most 20000 are allowed")
	_, err = Lint(wide(100_000))
	assert.True(t, IsLimit(err))
	assert.ErrorContains(t, err, "bytes; at most 1048576 are allowed")
	_, err = Compile(wide(25_000))
	assert.True(t, IsLimit(err))
}

func TestSchemasBeyondLimitsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ schema, want string }{
		"depth":    {strings.Repeat(`{"items":`, 300) + "{}" + strings.Repeat("}", 300), "nested levels"},
		"exponent": {`{"maximum":1e1000000000}`, "exponent"},
		"digits":   {`{"multipleOf":` + strings.Repeat("3", 2000) + `}`, "2000 digits"},
		"pattern":  {`{"pattern":"` + strings.Repeat("a", 5000) + `"}`, "has 5000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Compile([]byte(tc.schema))
			assert.ErrorContains(t, err, tc.want)
			r, err := Lint([]byte(tc.schema))
			if err == nil {
				require.NotEmpty(t, r.Problems)
				err = r.Problems[0]
			}
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestBacktrackingPatternsEnd(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, `{"pattern":"^(?=a)(a+)+$"}`)
	err := s.Validate(t.Context(), strings.Repeat("a", 50)+"!")
	assert.Regexp(t, "takes? longer than (250ms|1s)", err) // all matches together, if each of them waits for a processor
	assert.NotContains(t, err.Error(), "at most 0")
	s = mustCompile(t, `{"pattern":"(?=a)(a|b|ab)*c"}`)
	assert.Error(t, s.Validate(t.Context(), strings.Repeat("ab", 1_000_000)))
	s = mustCompile(t, `{"pattern":"^(a+)+$"}`)
	assert.ErrorContains(t, s.Validate(t.Context(), strings.Repeat("a", 5_000)+"!"), "does not match the pattern")
}

func TestLongNumbers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("7", 1_000_000)
	for name, tc := range map[string]struct {
		schema, value string
		want          bool
	}{
		"multiple":         {`{"multipleOf":7}`, long, true},
		"no multiple":      {`{"multipleOf":2}`, long, false},
		"of a long number": {`{"multipleOf":1234567890123456789012345}`, long, false},
		"large exponent":   {`{"type":"integer","multipleOf":3}`, "1e1000000000", false},
		"small exponent":   {`{"type":"integer"}`, "1e-1000000000", false},
		"maximum":          {`{"maximum":1e300}`, "1e1000000000", false},
		"minimum":          {`{"minimum":0}`, "1e-1000000000", true},
		"integer":          {`{"type":"integer"}`, "1e1000000000", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := mustCompile(t, tc.schema).Validate(t.Context(), json.Number(tc.value))
			assert.Equal(t, tc.want, err == nil, err)
			if err != nil {
				assert.Less(t, len(err.Error()), 700)
			}
		})
	}
}
