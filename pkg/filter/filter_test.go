package filter

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

func result(status batch.Status, output string) batch.Result {
	r := batch.Result{
		JobID: "job-3", Index: 3, Status: status, Output: json.RawMessage(output), Turns: 2, Attempts: 1, Model: "m",
		ID: "T-3", Input: json.RawMessage(`{"region":"EU","amount":"31"}`),
		Usage: batch.Usage{PromptTokens: 100, CompletionTokens: 7},
	}
	if status != batch.OK {
		r.Output, r.Error = json.RawMessage("null"), &batch.Error{Type: batch.OutputInvalid, Message: "no JSON"}
	}
	return r
}

const answer = `{"label":"A","confidence":0.4,"count":9007199254740993,"tags":["x","y"],"items":[{"price":1},{"price":5}],"deep":{"a b":true},"none":null,"number":"31"}`

func TestMatches(t *testing.T) {
	t.Parallel()
	ok, failed := result(batch.OK, answer), result(batch.StatusFailed, "")
	for text, want := range map[string][2]bool{ // for an ok and a failed result
		"all":                  {true, true},
		"ok":                   {true, false},
		"failed":               {false, true},
		`input.region == "EU"`: {true, true},
		`id == "T-3" and float(input.amount) > 30`: {true, true},
		"cancelled":                           {false, false},
		"not ok":                              {false, true},
		`status == "failed"`:                  {false, true},
		"output.confidence < 0.5":             {true, false},
		"where output.confidence < 0.5":       {true, false},
		"output.confidence >= 0.5":            {false, false},
		"not (output.confidence < 0.5)":       {false, false},
		"failed or output.confidence < 0.5":   {true, true},
		"failed and output.confidence < 0.5":  {false, false},
		"(output.confidence ?? 1) < 0.5":      {true, false},
		"output.missing < 0.5":                {false, false},
		"output.missing == null":              {true, true},
		"output.none == nil":                  {true, true},
		"output.missing != 3":                 {true, true},
		"output.count == 9007199254740993":    {true, false},
		"output.count == 9007199254740992":    {false, false},
		`output.label in ["A", "B"]`:          {true, false},
		`output.label not in ["A", "B"]`:      {false, false},
		`"x" in output.tags`:                  {true, false},
		`output.tags contains "z"`:            {false, false},
		`any(output.items, .price > 3)`:       {true, false},
		`all(output.items, #.price > 3)`:      {false, false},
		`len(output.tags) == 2`:               {true, false},
		`len(output.label) == 1`:              {true, false},
		`output.tags[0] == "x"`:               {true, false},
		`output.tags[-1] == "y"`:              {true, false},
		`output.tags[7] == "y"`:               {false, false},
		`output.tags == ["x", "y"]`:           {true, false},
		`output.deep["a b"]`:                  {true, false},
		`float(output.number) > 30`:           {true, false},
		`float(output.label) > 30`:            {false, false},
		`lower(output.label) startsWith "a"`:  {true, false},
		`error.type == "OutputInvalid"`:       {false, true},
		`error.message matches "JSON|XML"`:    {false, true},
		`error.message endsWith "JSON"`:       {false, true},
		`usage.completion_tokens + 1 > 7`:     {true, true},
		`turns * 2 == 4 and index % 2 == 1`:   {true, true},
		`-turns < 0 && !(turns / 2 > 1)`:      {true, true},
		`output?.label == "A"`:                {true, false},
		`tools.asked == 0 and model == "m"`:   {true, true},
		`"label" in output`:                   {true, false},
		`output.confidence > 0 or output.x.y`: {true, false},
	} {
		f, err := Parse(text, Options{})
		require.NoError(t, err, text)
		for i, r := range []batch.Result{ok, failed} {
			met, err := f.Matches(r, false)
			require.NoError(t, err, text)
			assert.Equal(t, want[i], met, "%s for %s", text, r.Status)
		}
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	f, err := Parse("failed or changed", Options{Changed: true})
	require.NoError(t, err)
	assert.True(t, f.AsksChanged())
	for _, changed := range []bool{true, false} {
		met, err := f.Matches(result(batch.OK, answer), changed)
		require.NoError(t, err)
		assert.Equal(t, changed, met)
	}
	_, err = Parse("changed", Options{})
	require.ErrorContains(t, err, `"changed", character 1: there is no field changed; there are`)
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "the condition is empty; write for example: failed",
		"outptu.label":                       `"outptu.label", character 1: there is no field outptu; there are output, attempts`,
		"usage.prompt":                       `character 7: usage has no field prompt; it has `,
		"model.x == 1":                       `character 7: model has no fields`,
		"failed = true":                      "character 8: one = compares nothing; write ==",
		"failed or":                          "character 9: the condition ends too early",
		"output.a <":                         "the condition ends too early",
		"let a = 1; a == 1":                  "it has no variables",
		"1..100000000 == 1":                  "the operator .. does not exist here",
		`2 ** 3 == 8`:                        "the operator ** does not exist here",
		`repeat("a", 1000000) == "a"`:        "the function repeat does not exist here; there are len",
		"map(output.a, #) == 1":              "the function map does not exist here",
		"now() == 1":                         "does not exist",
		"size(output.a) == 1":                "this function does not exist; there are len",
		`output.a matches "("`:               "missing closing",
		`output.a matches output.b`:          "matches needs a pattern in quotes",
		"any(output.a, any(#, # > 1))":       "any cannot be inside of another any or all",
		"len(output.a, 1) == 1":              "len takes 1 values, not 2",
		"failed and all":                     "character 12: all stands alone",
		`{"a": 1} == 1`:                      "it has no variables, slices, maps",
		"output[1:2] == 1":                   "it has no variables, slices, maps",
		strings.Repeat("1+", 300) + "1 == 1": "the condition has more than 200 parts",
		strings.Repeat("(", 3000):            "the condition has 3000 bytes; at most 2000",
		"output.a == \"\xff\"":               "the condition is not UTF-8",
	} {
		_, err := Parse(text, Options{})
		require.ErrorContains(t, err, want, text)
	}
}

func TestMatchesRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"output.label < 3":               `job-3: the condition "output.label < 3", character 14: the text "A" cannot be compared with the number 3; float(…) converts`,
		"output.number == 31":            `the text "31" cannot be compared with the number 31; float(…)`,
		"output.label":                   `this is the text "A" and no condition; compare it with something`,
		"output.label and ok":            "and needs a condition",
		"not output.label":               "not needs a condition",
		"output.label.x == 1":            `output.label is the text "A" and has no fields`,
		"output.items.price == 1":        "output.items is a list; write [0] for its first element, or any(output.items, …)",
		`output.confidence contains "4"`: "contains needs a text, and this is the number 0.4",
		"any(output.label, # == 1)":      "any needs a list",
		`output.label + "b" == "Ab"`:     "+ needs two numbers",
		`"a" in output.label`:            "in needs a list",
		"len(output.confidence) == 1":    "len needs a text or a list",
	} {
		f, err := Parse(text, Options{})
		require.NoError(t, err, text)
		_, err = f.Matches(result(batch.OK, answer), false)
		require.ErrorContains(t, err, want, text)
	}
}

func TestUnseen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"output.confidense < 0.5":      `"output.confidense < 0.5", character 8: no output has a field confidense; there are confidence, `,
		"output.deep.c":                "no output.deep has a field c; there are a b",
		"failed and output.confidense": "", // no output was looked at
		"output.confidence < 0.5":      "",
		"any(output.items, .cost > 1)": "no element has a field cost; there are price",
	} {
		f, err := Parse(text, Options{})
		require.NoError(t, err)
		for _, r := range []batch.Result{result(batch.StatusFailed, ""), result(batch.OK, answer)} {
			_, err := f.Matches(r, false)
			require.NoError(t, err)
		}
		if err := f.Unseen(); want == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
}

// A condition over a large result ends soon (I11).
func TestMatchesIsBounded(t *testing.T) {
	t.Parallel()
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + "]"
	long := `"` + strings.Repeat("a", 8<<20) + `"`
	r := result(batch.OK, `{"list":`+list+`,"long":`+long+`}`)
	for _, text := range []string{
		"all(output.list, # == 1)",
		`any(output.list, lower(output.long) == "b")`,
		`any(output.list, output.long contains "b")`,
		"output.list == output.list",
		`output.long in output.list or output.long in output.list or output.long in output.list`,
	} {
		f, err := Parse(text, Options{})
		require.NoError(t, err)
		began := time.Now()
		_, err = f.Matches(r, false)
		require.ErrorIs(t, err, errSteps, text)
		assert.Less(t, time.Since(began), 10*time.Second, text)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"failed", "output.a < 0.5 and not (x in [1])", `any(output.items, .price > 3) ?? true`, `a?.b["c"][0] matches "x"`} {
		f.Add(seed)
	}
	r := result(batch.OK, answer)
	f.Fuzz(func(t *testing.T, text string) {
		condition, err := Parse(text, Options{Changed: true})
		if err == nil {
			_, _ = condition.Matches(r, true)
			_ = condition.Unseen()
		}
	})
}
