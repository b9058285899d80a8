package modeljson_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/modeljson"
)

func TestDecodeNamesTheFault(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                     "not valid JSON: the text ends too early",
		`{"a":1`:               "not valid JSON: the text ends too early",
		`{"a":"x`:              "not valid JSON: the text ends too early",
		`{"a":"\u00`:           "not valid JSON: the text ends too early",
		`{"a":tr`:              "not valid JSON: the text ends too early",
		`12.`:                  "not valid JSON: the text ends too early",
		`{"a":1} tail`:         "not valid JSON: more text after the value, at byte 9",
		`{a:1}`:                "not valid JSON: 'a' in place of a key in double quotes, at byte 2",
		`{"a" 1}`:              "not valid JSON: '1' in place of a colon, at byte 6",
		`{"a":1 "b":2}`:        `not valid JSON: '"' in place of a comma or }, at byte 8`,
		`[1 2]`:                "not valid JSON: '2' in place of a comma or ], at byte 4",
		`{"a":1,}`:             "not valid JSON: '}' in place of a key in double quotes, at byte 8",
		`[1,]`:                 "not valid JSON: ']' in place of a value, at byte 4",
		`{"a":1,"a":2}`:        `not valid JSON: the key "a" occurs twice in one object, at byte 8`,
		`[{"a":1,"\u0061":2}]`: `not valid JSON: the key "a" occurs twice in one object, at byte 9`,
		`{"a":NaN}`:            "not valid JSON: NaN, which JSON does not have, at byte 6",
		`[-Infinity]`:          "not valid JSON: -Infinity, which JSON does not have, at byte 2",
		`[undefined]`:          "not valid JSON: undefined, which JSON does not have, at byte 2",
		`{"a":01}`:             "not valid JSON: the number 01 has a leading zero, at byte 6",
		`[-007]`:               "not valid JSON: the number -007 has a leading zero, at byte 2",
		`{"a":0x10}`:           "not valid JSON: the number 0x10 is not decimal, at byte 6",
		`[+1]`:                 "not valid JSON: the number +1 has a plus sign, at byte 2",
		`[1_000]`:              "not valid JSON: the number 1_000 has an underscore, at byte 2",
		`[.5]`:                 "not valid JSON: the number .5 lacks a digit beside its point, at byte 2",
		`[5.]`:                 "not valid JSON: the number 5. lacks a digit beside its point, at byte 2",
		`[1e]`:                 "not valid JSON: the number 1e lacks its exponent, at byte 2",
		`[2026-11-30]`:         "not valid JSON: the number 2026-11-30 is no number of JSON, at byte 2",
		`[True]`:               "not valid JSON: True in place of true, at byte 2",
		`[yes]`:                "not valid JSON: yes without quotes, at byte 2",
		`[...]`:                "not valid JSON: an ellipsis in place of a value, at byte 2",
		`["\d"]`:               `not valid JSON: the escape "\\d", which JSON does not have, at byte 3`,
		`["\u12x4"]`:           `not valid JSON: an escape \u without four hexadecimal digits, at byte 3`,
		`["\ud800"]`:           `not valid JSON: \ud800, which is half of a surrogate pair, at byte 3`,
		`["\ude00\ud83d"]`:     `not valid JSON: \ude00, which is half of a surrogate pair, at byte 3`,
		"[\"\xff\"]":           "not valid JSON: invalid UTF-8, at byte 3",
		"[\"\xed\xa0\x80\"]":   "not valid JSON: invalid UTF-8, at byte 3", // a surrogate in UTF-8
		"[\"\x00\"]":           "not valid JSON: the control character U+0000 inside a string, which needs an escape, at byte 3",
		"[\"a\nb\"]":           "not valid JSON: the control character U+000A inside a string, which needs an escape, at byte 4",
		`[1e999999999]`:        "not valid JSON: the number 1e999999999 is out of range, at byte 2",
		strings.Repeat("[", 1001) + strings.Repeat("]", 1001): "not valid JSON: nested deeper than 1000 levels, at byte 1001",
	} {
		_, err := modeljson.Decode([]byte(text))
		assert.EqualError(t, err, want, "%.60s", text)
	}
}

func TestDecodeKeepsValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"\ufeff{\"a\":\"\\u0000\"}":         map[string]any{"a": "\x00"},
		`["\ud83d\ude00\/\t"]`:              []any{"😀/\t"},
		`[12345678901234567890, 1.0, 1E5]`:  []any{json.Number("12345678901234567890"), json.Number("1.0"), json.Number("1E5")},
		" {\"a\" : [ true , null ] } \r\n":  map[string]any{"a": []any{true, nil}},
		`{"a":{"a":1},"A":2,"":[]}`:         map[string]any{"a": map[string]any{"a": json.Number("1")}, "A": json.Number("2"), "": []any{}},
		`"half of \u2028 a line"`:           "half of \u2028 a line",
		`-0.5e-3`:                           json.Number("-0.5e-3"),
		strings.Repeat("[", 3) + "]" + "]]": []any{[]any{[]any{}}},
	} {
		got, err := modeljson.Decode([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestReadRepairsNotation(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{'a': 3,}`:                                     `{"a":3}`,
		`{“a”: “say "x"”}`:                              `{"a":"say \"x\""}`,
		`{a: 1, b-c: [1, 2,], $d_1: null}`:              `{"a":1,"b-c":[1,2],"$d_1":null}`,
		`{'a': True, 'b': None, "c": False}`:            `{"a":true,"b":null,"c":false}`,
		"{\"a\": 1 // one\n, /* two */ \"b\": 2 # b\n}": `{"a":1,"b":2}`,
		"{\"a\": 1\n \"b\": 2}":                         `{"a":1,"b":2}`,
		`{"a": "x" "b": "y"}`:                           `{"a":"x","b":"y"}`,
		`[{"a":1} {"a":2}]`:                             `[{"a":1},{"a":2}]`,
		`{'a': 'it\'s "so"'}`:                           `{"a":"it's \"so\""}`,
		"{\"a\": \"one\ntwo\tthree\r\n\"}":              `{"a":"one\ntwo\tthree\r\n"}`,
		"{\u00a0\"a\":\u2003\"\u00a0\"}":                "{\"a\":\"\u00a0\"}",
		`{"a":"\u00e9\/"}`:                              `{"a":"\u00e9\/"}`,
		`{"a":"// no # comment /* */"}`:                 `{"a":"// no # comment /* */"}`,
		`{"a":12345678901234567890.10}`:                 `{"a":12345678901234567890.10}`,
		`True`:                                          `true`,
		`'yes'`:                                         `"yes"`,
	} {
		v, err := modeljson.Read(text, 0)
		require.Nil(t, err, text)
		assert.Equal(t, want, string(v.JSON), text)
		assert.Equal(t, len(text), v.End, text)
	}
}

// TestReadRefusesToGuess lists texts that a lenient reader turns into some value.
func TestReadRefusesToGuess(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		// Cut.
		`{"s":"Do not take this drug with al`, `{"a":[1,2`, `{"a":{"b":1}`, `{"a":12`, `{"a":tru`, `{"a":`, `{"a"`, `{`, `[`, `[1,`, `{"a":"x\`,
		`{"a":"x\u00`, `{"a":1 /* "b":2}`, `{"a":1 // "b":2}`, `'it`, `-`, `1.`, `1e`, `1e-`,
		// Numbers.
		`[1,000]`, `{"n":1,000}`, `[1 000]`, `[0x10]`, `[01]`, `[-01]`, `[.5]`, `[5.]`, `[1e]`, `[1_000]`, `[+1]`, `[1.2.3]`, `[10%]`, `[$5]`, `[1/2]`,
		`[NaN]`, `[Infinity]`, `[-Infinity]`, `[undefined]`, `[nan]`, `[1f]`, `[1n]`, `[1L]`, `[٣]`,
		// Text.
		`{risk: high}`, `{"a": yes}`, `{"a": high risk}`, `{"a": 2026-11-30}`, `{"a": http://x.org}`, `{"a": x"}`, `{"a": "x}`, `{"a": "he said "no" to it"}`,
		`{"a": 'it's'}`, `{"a": "x" + "y"}`, `["a" "b"]`, "[\"a\"\n\"b\"]", `{"a":"x""b":"y"}`, `["a" 1]`, `{"a": """x"""}`, `{"a": r"x"}`, `{"a": b'x'}`, "{\"a\": `x`}",
		`{"a": "\d+"}`, `{"a": "\x41"}`, `{"a": "\u12"}`, `{"a": "\U0001F600"}`, `{"a": "x\` + "\n" + `y"}`, `{"a": '\q'}`, `{"a": "\ud83d"}`,
		"{\"a\": \"\x00\"}", "{\"a\": \"\x1b[0m\"}", "{\"a\": \"\xff\"}",
		// Structure.
		`{"a":1,...}`, `[1,2,...]`, `[1,…]`, `[1,,2]`, `[,1]`, `{,"a":1}`, `{"a":}`, `{"a":,"b":1}`, `{"a" 1}`, `{"a"=1}`, `{"a"=>1}`, `{"a";1}`, `{"a":1;"b":2}`,
		`{"a":[1,2}`, `["a":1]`, `{"a"}`, `{1: "x"}`, `{true: 1}`, `{None: 1}`, `(1, 2)`, `{"a": (1, 2)}`, `{1, 2}`, `{"a": /x/}`, `{"a": ObjectId("x")}`,
		`{"a": new Date(1)}`, `{"a": NumberLong(1)}`, `callback({"a":1})`, `{\"a\":1}`, `{"a":1,"a":1}`, `{'a':1,"a":2}`, `{a:1,"\u0061":2}`, `{"a": *x*}`, `{"a": **1**}`,
	} {
		v, err := modeljson.Read(text, 0)
		if !assert.NotNil(t, err, "%s gives %s", text, v.JSON) {
			continue
		}
		assert.NotEmpty(t, err.Error())
	}
}

func TestReadReportsCutText(t *testing.T) {
	t.Parallel()
	whole := `{"a":[1,-2.5e3,"x\u00e9\n",{"b":true}],"c":null}`
	for n := range len(whole) {
		_, err := modeljson.Read(whole[:n], 0)
		require.NotNil(t, err, whole[:n])
		assert.True(t, err.Cut, whole[:n])
	}
	_, err := modeljson.Read(`{"a" 1}`, 0)
	require.NotNil(t, err)
	assert.False(t, err.Cut)
}

// FuzzDecode compares Decode with encoding/json: it accepts no more, and less only for the reasons that it documents.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"x\u00e9",{"b":true}],"c":null}`, `"\ud83d\ude00"`, `"\ud800"`, `{"a":1,"a":2}`, `01`, `1e400`, " \t[ ] ", "\ufeff1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := modeljson.Decode(text)
		plain := bytes.TrimPrefix(text, []byte("\ufeff"))
		if err == nil {
			dec := json.NewDecoder(bytes.NewReader(plain))
			dec.UseNumber()
			var want any
			require.NoError(t, dec.Decode(&want))
			require.Equal(t, want, got)
			require.True(t, json.Valid(plain))
			require.True(t, utf8.Valid(plain))
		} else if json.Valid(plain) && utf8.Valid(plain) {
			known := false
			for _, reason := range []string{"occurs twice", "surrogate", "out of range", "nested deeper"} {
				known = known || strings.Contains(err.Error(), reason)
			}
			require.True(t, known, "%q: %v", text, err)
		}
		v, bad := modeljson.Read(string(text), 0)
		if bad != nil {
			return
		}
		again, err2 := modeljson.Decode(v.JSON)
		require.NoError(t, err2)
		require.Equal(t, v.Doc, again)
		if err == nil {
			require.Equal(t, got, v.Doc, "a valid text is not repaired")
			var compact bytes.Buffer
			require.NoError(t, json.Compact(&compact, plain))
			require.Equal(t, compact.String(), string(v.JSON))
		}
	})
}
