package modelapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// FuzzValue compares the reader of values with encoding/json.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, ` { "a" : [ 1 , -2.5e3 , "x\\" , "\"" , { } ] , "b\u0041" : null } `, `{"a":{"b":[[],{}]},"c":true}`, `["\ud83d\ude00","\ud83dA","\ud83d\u0041","\ude00","\u00e9\n\/"]`, `[1]`, `"a"`, `12`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if depth(text) > maxDepth || !gjson.Valid(text) || !utf8.ValidString(text) {
			return
		}
		var want any
		in := json.NewDecoder(strings.NewReader(text))
		in.UseNumber()
		require.NoError(t, in.Decode(&want))
		got := tree(value{strings.Trim(text, " \t\r\n")})
		assert.Equal(t, want, got)
	})
}

func tree(v value) any {
	switch {
	case v.isObject():
		out := map[string]any{}
		v.members(func(name string, v value) bool {
			out[strings.ToValidUTF8(name, "\uFFFD")] = tree(v)
			return true
		})
		return out
	case v.isArray():
		out := []any{}
		v.values(func(v value) bool {
			out = append(out, tree(v))
			return true
		})
		return out
	case v.isString():
		return v.text()
	case v.isNumber():
		return json.Number(v.raw)
	case v.isNull():
		return nil
	}
	return v.raw == "true"
}
