package agent

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/modeljson"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
)

const riskSchema = `{"type":"object","properties":{"risk":{"enum":["low","high"]}},"required":["risk"]}`

// answering compiles a batch with this output schema, or with text answers if it is "".
func answering(t testing.TB, schema string) *Definition {
	t.Helper()
	p, err := Compile(&spec.Compiled{Name: "t", Task: "do", MaxTurns: 1, Schema: json.RawMessage(schema)}, nil, backend.Model{ID: "m"})
	require.NoError(t, err)
	return p
}

// answerCase is an answer of a model with its output. If want is "", the repair turn gives problem as the reason.
type answerCase struct{ text, want, problem string }

func checkAnswers(t *testing.T, p *Definition, cases map[string]answerCase) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := p.answer(t.Context(), c.text)
			if c.want == "" {
				require.Error(t, err, "%s", got)
				assert.Contains(t, err.Error(), c.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, string(got))
		})
	}
}

func TestAnswerWithOneValue(t *testing.T) {
	t.Parallel()
	checkAnswers(t, answering(t, riskSchema), map[string]answerCase{
		"alone":                          {text: ` {"risk": "high", "why": "a \u00e9"} `, want: `{"risk":"high","why":"a \u00e9"}`},
		"byte order mark":                {text: "\ufeff" + `{"risk":"high"}`, want: `{"risk":"high"}`},
		"CRLF":                           {text: "{\r\n\"risk\": \"high\"\r\n}\r\n", want: `{"risk":"high"}`},
		"fence":                          {text: "```json\n{\"risk\":\"high\"}\n```", want: `{"risk":"high"}`},
		"fence without language":         {text: "```\n{\"risk\":\"high\"}\n```", want: `{"risk":"high"}`},
		"fence with CRLF":                {text: "Here:\r\n```json\r\n{\"risk\":\"high\"}\r\n```\r\n", want: `{"risk":"high"}`},
		"fence without line break":       {text: "```json {\"risk\":\"high\"}```", want: `{"risk":"high"}`},
		"fence of tildes":                {text: "~~~json\n{\"risk\":\"high\"}\n~~~", want: `{"risk":"high"}`},
		"fence that does not close":      {text: "```json\n{\"risk\":\"high\"}\n", want: `{"risk":"high"}`},
		"fence inside a string":          {text: "{\"risk\":\"high\",\"code\":\"```json\\n{\\\"risk\\\":\\\"low\\\"}\\n```\"}", want: "{\"risk\":\"high\",\"code\":\"```json\\n{\\\"risk\\\":\\\"low\\\"}\\n```\"}"},
		"raw fence inside a string":      {text: "{\"risk\":\"high\",\"code\":\"```json\n{}\n```\"}", want: "{\"risk\":\"high\",\"code\":\"```json\\n{}\\n```\"}"},
		"prose":                          {text: `The verdict is {"risk":"high"}, I think.`, want: `{"risk":"high"}`},
		"prose with brackets":            {text: `As [1] and [the note](http://x) show {see above}, \frac{1}{2} of [0, 1) is {"risk":"high"}.`, want: `{"risk":"high"}`},
		"nested value":                   {text: `{"risk":"high","was":{"risk":"low"}}`, want: `{"risk":"high","was":{"risk":"low"}}`},
		"same value twice":               {text: "{\"risk\":\"high\",\"n\":1}\nAgain:\n```json\n{\n \"n\": 1, \"risk\": \"high\"\n}\n```", want: `{"risk":"high","n":1}`},
		"value that does not match":      {text: `The format is {"risk":"low|high"}. Verdict: {"risk":"high"}`, want: `{"risk":"high"}`},
		"repaired":                       {text: "Verdict: {'risk': 'high',} // done", want: `{"risk":"high"}`},
		"brace too many":                 {text: `{"risk":"high"}}`, want: `{"risk":"high"}`},
		"semicolon":                      {text: `{"risk":"high"};`, want: `{"risk":"high"}`},
		"long number":                    {text: `{"risk":"high","n":12345678901234567890.0}`, want: `{"risk":"high","n":12345678901234567890.0}`},
		"escaped NUL and surrogate pair": {text: `{"risk":"high","s":"\u0000\ud83d\ude00"}`, want: `{"risk":"high","s":"\u0000\ud83d\ude00"}`},
	})
}

func TestAnswerWithSeveralValues(t *testing.T) {
	t.Parallel()
	const two = `it holds two different JSON values that match the schema`
	checkAnswers(t, answering(t, riskSchema), map[string]answerCase{
		"planted in prose":        {text: `The text says {"risk":"low"}, a trick. My verdict: {"risk":"high"}`, problem: two + `: {"risk":"low"} and {"risk":"high"}`},
		"value and explanation":   {text: "{\"risk\":\"high\"}\n\nThe text had {\"risk\":\"low\"}.", problem: two},
		"fence and prose":         {text: "It says {\"risk\":\"low\"}.\n```json\n{\"risk\":\"high\"}\n```", problem: two},
		"two fences":              {text: "```json\n{\"risk\":\"low\"}\n```\n```json\n{\"risk\":\"high\"}\n```", problem: two},
		"one of them repaired":    {text: `Not {"risk":"low"} but {'risk':'high'}`, problem: two},
		"lines":                   {text: "{\"risk\":\"low\"}\n{\"risk\":\"high\"}\n", problem: two},
		"differ in another field": {text: `{"risk":"low","p":1} {"risk":"low","p":2}`, problem: two},
		"differ beyond 2^53":      {text: `{"risk":"low","p":9007199254740993} {"risk":"low","p":9007199254740992}`, problem: two},
		"list":                    {text: `[{"risk":"low"},{"risk":"high"}]`, problem: "got array, want object"},
		"list in prose":           {text: `Both: [{"risk":"low"},{"risk":"high"}]`, problem: "got array, want object"},
		"wrapped":                 {text: `{"answer":{"risk":"low"}}`, problem: `missing "risk"`},
		"many before":             {text: strings.Repeat(`{"x":1} `, 40) + `{"risk":"low"} ` + strings.Repeat(`{"x":1} `, 40) + `{"risk":"high"}`, problem: two},
		"too many":                {text: `{"risk":"low"} ` + strings.Repeat(`{"x":1} `, 2000) + `{"risk":"high"}`, problem: "more than"},
		"malformed verdict":       {text: `The text says {"risk":"low"}. My verdict: {"risk":"high" for sure}`, problem: "not valid JSON"},
		"verdict without quotes":  {text: `The text says {"risk":"low"}. My verdict: {risk: high}`, problem: "high without quotes"},
		"escaped verdict":         {text: `The text says {"risk":"low"}. My verdict: {\"risk\":\"high\"}`, problem: "not valid JSON"},
		"cut verdict":             {text: `The text says {"risk":"low"}. My verdict: {"risk":"hi`, problem: "ends too early"},
		"verdict with twin keys":  {text: `The text says {"risk":"low"}. My verdict: {"risk":"high","risk":"high"}`, problem: `the key "risk" occurs twice`},
		"inside a cut list":       {text: `{"all":[{"risk":"low"},{"ri`, problem: "ends too early"},
		"inside a malformed one":  {text: `{"verdict": {"risk":"low"}, or not}`, problem: "not valid JSON"},
		"opening bracket lost":    {text: `"text": {"risk":"low"}, "risk":"high"}`, problem: "bracket"},
		"opening fence cut":       {text: "```json\n{\"risk\":\"high\",\"a\":[", problem: "ends too early"},
	})
}

func TestCutOrMalformedAnswer(t *testing.T) {
	t.Parallel()
	p := answering(t, `{"type":"object"}`)
	cases := map[string]answerCase{}
	for text, problem := range map[string]string{
		`{"s":"Do not take this drug with al`: "ends too early",
		`{"s":"x","n":12`:                     "ends too early",
		`{"s":["x"`:                           "ends too early",
		`{"s":tru`:                            "ends too early",
		"```json\n{\"s\":\"x":                 "ends too early",
		`{"a":1,"a":"x"}`:                     `the key "a" occurs twice`,
		`{"b":[{"a":1,"\u0061":2}]}`:          `the key "a" occurs twice`,
		`{'a':1,"a":2}`:                       `the key "a" occurs twice`,
		`{"n":NaN}`:                           "NaN, which JSON does not have",
		`{'n':-Infinity}`:                     "-Infinity, which JSON does not have",
		`{"n":01}`:                            "the number 01 has a leading zero",
		`{"n":0x10}`:                          "the number 0x10 is not decimal",
		`{"n":1,000}`:                         "in place of a key",
		`{"s":"\ud800"}`:                      `\ud800, which is half of a surrogate pair`,
		"{\"s\":\"\xff\"}":                    "invalid UTF-8",
		"{\"s\":\"\x00\"}":                    "control character U+0000",
		`{"s":"a" + "b"}`:                     "in place of a comma",
		`{"s":"\d"}`:                          "escape",
		`I cannot answer.`:                    "it holds no JSON",
		``:                                    "it is empty",
		" \n":                                 "it is empty",
	} {
		cases[text] = answerCase{text: text, problem: problem}
	}
	checkAnswers(t, p, cases)
}

func TestScalarAnswer(t *testing.T) {
	t.Parallel()
	checkAnswers(t, answering(t, `{"type":["string","integer","boolean","null"]}`), map[string]answerCase{
		"text":              {text: ` "yes" `, want: `"yes"`},
		"number":            {text: `42`, want: `42`},
		"literal":           {text: `true`, want: `true`},
		"Python":            {text: `None`, want: `null`},
		"single quotes":     {text: `'yes'`, want: `"yes"`},
		"fence":             {text: "```json\n\"yes\"\n```", want: `"yes"`},
		"fence and prose":   {text: "It is\n```\n42\n```\nas computed.", want: `42`},
		"fence in one line": {text: "```true```", want: `true`},
		"two fences":        {text: "```\n41\n```\n```\n42\n```", problem: "two different"},
		"after thinking":    {text: "<think>41</think>\n42", want: `42`},
		"after a template":  {text: "41?\n</think>\n\n42", want: `42`},
		"prose":             {text: `The answer is 42`, problem: "no JSON"},
		"no quotes":         {text: `yes`, problem: "yes without quotes"},
		"grouped":           {text: `1,000`, problem: "more text after the value"},
		"cut text":          {text: `"ye`, problem: "ends too early"},
		"cut literal":       {text: `tru`, problem: "ends too early"},
		"cut number":        {text: `42.`, problem: "ends too early"},
		"leading zero":      {text: `042`, problem: "leading zero"},
		"two":               {text: `41 42`, problem: "more text after the value"},
	})
}

func TestListAnswer(t *testing.T) {
	t.Parallel()
	checkAnswers(t, answering(t, `{"type":"array","items":{"type":"integer"}}`), map[string]answerCase{
		"alone":           {text: `[1, 2]`, want: `[1,2]`},
		"cut":             {text: `[1, 2`, problem: "ends too early"},
		"lines":           {text: "[1]\n[2]", problem: "two different"},
		"citation":        {text: `By [3], it is [1, 2].`, problem: "two different"},
		"malformed":       {text: `By [3], it is [1, two].`, problem: "two without quotes"},
		"without commas":  {text: `[1 2]`, problem: "not valid JSON"},
		"trailing comma":  {text: `[1, 2,]`, want: `[1,2]`},
		"comma left out":  {text: `[1,,2]`, problem: "in place of a value"},
		"grouped numbers": {text: `[1,000]`, problem: "leading zero"},
	})
}

func TestAnswerWithThinking(t *testing.T) {
	t.Parallel()
	checkAnswers(t, answering(t, riskSchema), map[string]answerCase{
		"block":                       {text: "<think>\nperhaps {\"risk\":\"low\"}\n</think>\n\n{\"risk\":\"high\"}", want: `{"risk":"high"}`},
		"two blocks":                  {text: `<think>a</think><think>{"risk":"low"}</think>{"risk":"high"}`, want: `{"risk":"high"}`},
		"other name":                  {text: `<thinking>{"risk":"low"}</thinking>{"risk":"high"}`, want: `{"risk":"high"}`},
		"Mistral":                     {text: `[THINK]{"risk":"low"}[/THINK]{"risk":"high"}`, want: `{"risk":"high"}`},
		"upper case":                  {text: `<Think>{"risk":"low"}</Think>{"risk":"high"}`, want: `{"risk":"high"}`},
		"later block":                 {text: `Well. <think>{"risk":"low"}</think> {"risk":"high"}`, want: `{"risk":"high"}`},
		"opened in the prompt":        {text: "perhaps {\"risk\":\"low\"}\n</think>\n\n{\"risk\":\"high\"}", want: `{"risk":"high"}`},
		"brackets while thinking":     {text: `it begins with {"risk": and [ so</think>{"risk":"high"}`, want: `{"risk":"high"}`},
		"quote while thinking":        {text: `it is {"risk": "lo </think>{"risk":"high"}`, want: `{"risk":"high"}`},
		"fence after it":              {text: "<think>x</think>```json\n{\"risk\":\"high\"}\n```", want: `{"risk":"high"}`},
		"harmony":                     {text: `<|channel|>analysis<|message|>{"risk":"low"}<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{"risk":"high"}<|return|>`, want: `{"risk":"high"}`},
		"harmony with a start":        {text: `<|start|>assistant<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{"risk":"high"}`, want: `{"risk":"high"}`},
		"harmony without its tokens":  {text: `analysisPerhaps {"risk":"low"}assistantfinal{"risk":"high"}`, want: `{"risk":"high"}`},
		"final channel alone":         {text: `<|channel|>final<|message|>{"risk":"high"}`, want: `{"risk":"high"}`},
		"tag inside the value":        {text: `{"risk":"high","s":"ends with </think> or <think>"}`, want: `{"risk":"high","s":"ends with </think> or <think>"}`},
		"tag inside a value in prose": {text: `Verdict: {"risk":"high","s":"</think>"}.`, want: `{"risk":"high","s":"</think>"}`},
		"tag inside, after a block":   {text: `<think>x</think>{"risk":"high","s":"</think>"}`, want: `{"risk":"high","s":"</think>"}`},

		"unclosed":                    {text: `<think>perhaps {"risk":"low"}`, problem: "thinking"},
		"unclosed Mistral":            {text: `[THINK]perhaps {"risk":"low"}`, problem: "thinking"},
		"unclosed harmony":            {text: `<|channel|>analysis<|message|>{"risk":"low"}`, problem: "thinking"},
		"two final messages":          {text: `<|channel|>final<|message|>{"risk":<|end|><|channel|>final<|message|>"low"}`, problem: "more than one final"},
		"unclosed analysis":           {text: `analysisPerhaps {"risk":"low"}`, problem: "thinking"},
		"unclosed after the answer":   {text: `{"risk":"high"} <think>or {"risk":"low"}`, problem: "thinking"},
		"nothing after it":            {text: `<think>perhaps {"risk":"low"}</think>`, problem: "empty"},
		"nothing after the template":  {text: `perhaps {"risk":"low"}</think>`, problem: "empty"},
		"value before a stray end":    {text: `<think>a</think>{"risk":"low"}</think>`, problem: "empty"},
		"draft with the end in it":    {text: `<think>maybe </think> {"risk":"low"}? no</think>{"risk":"high"}`, want: `{"risk":"high"}`},
		"cut value that quotes a tag": {text: `{"risk":"high","s":"it says </think>{"risk":"low"}`, problem: "not valid JSON"},
	})
}

func TestTextAnswer(t *testing.T) {
	t.Parallel()
	text := func(s string) string {
		b, err := plainjson.Marshal(map[string]string{"text": s})
		require.NoError(t, err)
		return string(b)
	}
	const mentions = "The opening tag is <think> and the closing tag is </think>. Both are plain text."
	checkAnswers(t, answering(t, ""), map[string]answerCase{
		"mentions both tags":         {text: mentions, want: text(mentions)},
		"mentions the closing tag":   {text: "End it with </think>. Always.", want: text("End it with </think>. Always.")},
		"quotes a block":             {text: "Write\n<think>\nx\n</think>\nfirst.", want: text("Write\n<think>\nx\n</think>\nfirst.")},
		"quotes an end in a fence":   {text: "Write\n```\n</think>\n```\nlast.", want: text("Write\n```\n</think>\n```\nlast.")},
		"block":                      {text: "<think>\nhm\n</think>\n\nHello </think> there", want: text("Hello </think> there")},
		"block in one line":          {text: "<think>hm</think>Hello", want: text("Hello")},
		"empty block":                {text: "<think>\n\n</think>\n\nHello", want: text("Hello")},
		"Mistral":                    {text: "[THINK]hm[/THINK]Hello", want: text("Hello")},
		"harmony":                    {text: "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello<|return|>", want: text("Hello")},
		"opened in the prompt":       {text: "The user greets.\n</think>\n\nHello", want: text("Hello")},
		"closed at once":             {text: "</think>\n\nHello", want: text("Hello")},
		"no thinking":                {text: " Hello <b>\n", want: text(" Hello <b>\n")},
		"JSON":                       {text: `{"a":1,"a":2}`, want: text(`{"a":1,"a":2}`)},
		"NUL":                        {text: "a\x00b", want: text("a\x00b")},
		"analysis as a word":         {text: "analysis: fine", want: text("analysis: fine")},
		"unclosed":                   {text: "<think>The user greets", problem: "thinking"},
		"unclosed harmony":           {text: "<|channel|>analysis<|message|>The user", problem: "thinking"},
		"nothing after the block":    {text: "<think>The user greets</think>\n", problem: "empty"},
		"nothing after the template": {text: "The user greets\n</think>\n", problem: "empty"},
		"invalid UTF-8":              {text: "Hell\xff", problem: "UTF-8"},
	})
}

func TestTruncatedNamesTheReachedLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		maxTokens, window int
		usage             backend.Usage
		want              string
	}{
		"max_tokens":     {100, 2_000_000, backend.Usage{PromptTokens: 10, CompletionTokens: 100}, "after 100 tokens: sampling.max_tokens = 100 was reached"},
		"context":        {0, 4096, backend.Usage{PromptTokens: 4000, CompletionTokens: 95}, "4095 of the 4096 tokens of the model's context are used"},
		"neither":        {0, 2_000_000, backend.Usage{PromptTokens: 10, CompletionTokens: 5}, "after 5 tokens: the server cut it with the finish reason length"},
		"far from both":  {100, 4096, backend.Usage{PromptTokens: 10, CompletionTokens: 5}, "the server cut it"},
		"context first":  {1000, 4096, backend.Usage{PromptTokens: 4000, CompletionTokens: 96}, "4096 of the 4096 tokens"},
		"unknown window": {0, 0, backend.Usage{PromptTokens: 10, CompletionTokens: 5}, "the server cut it"},
		"no usage":       {100, 4096, backend.Usage{}, "the server cut it"},
	} {
		p, err := Compile(&spec.Compiled{Name: "t", Task: "do", MaxTurns: 1, Sampling: spec.Sampling{MaxTokens: c.maxTokens}}, nil, backend.Model{ID: "m", MaxModelLen: c.window})
		require.NoError(t, err)
		assert.ErrorContains(t, truncated(&backend.Response{Usage: c.usage}, p), c.want, name)
	}
}

func TestFailedCheckCausesRepairTurn(t *testing.T) {
	t.Parallel()
	refuse := func(output json.RawMessage) error {
		if string(output) == `{"risk":"low"}` {
			return errors.New("low is not low enough")
		}
		return nil
	}
	p, err := Compile(&spec.Compiled{Name: "t", Task: "do", MaxTurns: 1, Schema: json.RawMessage(riskSchema)}, nil, backend.Model{ID: "m"}, refuse)
	require.NoError(t, err)
	_, err = p.answer(t.Context(), `{"risk":"low"}`)
	require.EqualError(t, err, "low is not low enough")
	out, err := p.answer(t.Context(), `{"risk":"high"}`)
	require.NoError(t, err)
	assert.JSONEq(t, `{"risk":"high"}`, string(out))
}

func TestMendArguments(t *testing.T) {
	t.Parallel()
	for written, want := range map[string][2]string{
		"":                       {"{}", ""},
		` {"a": 1} `:             {` {"a": 1} `, ""},
		"\ufeff{\"a\":1}":        {`{"a":1}`, ""},
		`{'a': 1,}`:              {`{"a":1}`, "in place of a key"},
		`{"a":1,"a":2}`:          {"{}", `the key "a" occurs twice`},
		`{"s":"Do not take al`:   {"{}", "ends too early"},
		`{"n":NaN}`:              {"{}", "NaN"},
		`{"n":01}`:               {"{}", "leading zero"},
		`{"s":"\ud800"}`:         {"{}", "surrogate"},
		`{"s":"a" + "b"}`:        {"{}", "in place of a comma"},
		`[1]`:                    {"{}", "not a JSON object"},
		`{"a":1}{"a":2}`:         {"{}", "more text after the value"},
		`{"n":9007199254740993}`: {`{"n":9007199254740993}`, ""},
	} {
		args, problem := repairArguments(written)
		assert.Equal(t, want[0], args, written)
		assert.Contains(t, problem, want[1], written)
		assert.Equal(t, want[1] == "", problem == "", written)
	}
}

// hostileBytes is large enough to reveal a step with quadratic cost.
const hostileBytes = 100_000

func TestHostileAnswersTakeLinearTime(t *testing.T) {
	t.Parallel()
	p := answering(t, riskSchema)
	lists := answering(t, `{"type":"array","items":{"type":"integer"}}`)
	for _, unit := range []string{
		`{`, `[`, `}`, `{"a":`, `[1,`, `[x`, `[1,x]`, `{x:`, `"`, `{"`, `{'`, "```", "~~~", "```\n1\n", `<think>`, `</think>`, `<think></think>`, `{"a" x </think>`, `[1,1,1,1 </think>`,
		`[1]`, `{"x":1} `, `{"risk":"low"} `, `<|channel|>`, `<|channel|>final<|message|>`, `<|start|>`, `analysis`, `\u`, `/*`, `{/*`, `[//`, `{#`, "“", `[“`, `1`, `-`, `a `, "\xff", `<`, `[/`, "◁",
		"{\"risk\":\"low\"}\n</think>", `{"risk":"low",`, "</think>\n```\n",
	} {
		text := strings.Repeat(unit, hostileBytes/len(unit))
		began := time.Now()
		for _, p := range []*Definition{p, lists} {
			_, err := p.answer(t.Context(), text+`{"risk":"low"}`)
			_, err2 := p.answer(t.Context(), `{"risk":"low"} `+text)
			_, err3 := p.answer(t.Context(), `So [0, `+text)
			_, _, _ = err, err2, err3
		}
		assert.Less(t, time.Since(began), 40*time.Second, unit)
	}
}

// FuzzAnswer checks the rules of extraction for any text. An output is a value of the text without duplicate keys. A
// draft before an answer does not change its output.
func FuzzAnswer(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"hm", `{"a":1}`}, {"so {\"a\":1}", "```json\n{\"a\":1}\n```"}, {"x", `{'a': 3,}`}, {"<think>", `<think>{"a":9}</think>{"a":4}`}, {"[", "[[[[["}, {"{", `{"a":`},
		{"\"", "\x00{\"\xff"}, {"a", `{"a":1} {"a":2}`}, {"b", "<|channel|>final<|message|>1"}, {"c", "~~~\n'yes'\n~~~"}, {"d", `analysisX assistantfinal{"a":"\ud800"}`}, {"e", `{"a":1,"a":2}`}, {"0", "analysisA{}"},
	} {
		f.Add(seed[0], seed[1])
	}
	objects, anything, text := answering(f, `{"type":"object"}`), answering(f, `{"type":["object","array","string","number","boolean","null"]}`), answering(f, "")
	f.Fuzz(func(t *testing.T, draft, content string) {
		for _, p := range []*Definition{objects, anything} {
			out, err := p.answer(t.Context(), content)
			if err == nil {
				_, err := modeljson.Decode(out)
				require.NoError(t, err, "%q gives %q", content, out)
				require.True(t, holds(content, string(out)), "%q gives %q", content, out)
			}
			if strings.ContainsAny(draft, "<[") || strings.Contains(draft, "◁") || err != nil && strings.Contains(err.Error(), "too many") {
				continue
			}
			got, _ := p.answer(t.Context(), "<think>"+draft+"</think>"+content)
			require.Equal(t, string(out), string(got), "behind a block with %q", draft)
			// No model mixes the tags of one format with the channels of another.
			if !isHarmony(trimStart(content)) && !strings.ContainsAny(draft, "\"'“‘/#{`~") {
				got, _ = p.answer(t.Context(), "So "+draft+"\n</think>\n"+content)
				require.Equal(t, string(out), string(got), "behind thinking that the prompt opened: %q", draft)
			}
		}
		out, err := text.answer(t.Context(), content)
		var answer struct{ Text string }
		if err == nil {
			require.NoError(t, json.Unmarshal(out, &answer))
			require.Contains(t, content, answer.Text)
		}
		if args, problem := repairArguments(content); problem == "" {
			doc, err := modeljson.Decode([]byte(args))
			require.NoError(t, err, "arguments %q give %q", content, args)
			require.IsType(t, map[string]any{}, doc)
		} else {
			require.True(t, json.Valid([]byte(args)))
		}
	})
}

// holds reports whether text contains a value.
func holds(text, value string) bool {
	for i := range len(text) {
		if v, err := modeljson.Read(text, i); err == nil && string(v.JSON) == value {
			return true
		}
	}
	return false
}
