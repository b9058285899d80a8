package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCompileFillsInConstants(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("be fair ", 30)
	inputs := fmt.Sprintf("inputs:\n  - {id: 1, lang: en, rules: %q, n: 3}\n  - {id: 2, lang: en, rules: %q, n: 3}\n", long, long)
	for name, tc := range map[string]struct{ prompts, system, task, payload string }{
		"before the first that varies, in place": {
			"task: \"{rules} {id}\"", "", long + " {id}", `{"in":{"id":1}}`,
		},
		"short and after it, in place": {
			"task: \"{id} in {lang}, {n}\"", "", "{id} in en, 3", `{"in":{"id":1}}`,
		},
		"long and after it, to the prefix, once": {
			"system_prompt: Grade.\ntask: \"{id} by {rules}, {rules}\"",
			"Grade.\n\n<rules>\n" + long + "\n</rules>", "{id} by [the text in <rules> above], [the text in <rules> above]", `{"in":{"id":1}}`,
		},
		"told not to": {
			"hoist: false\nsystem_prompt: \"Speak {lang}.\"\ntask: \"{id} by {rules}\"",
			"Speak en.", "{id} by {rules}", `{"in":{"id":1,"rules":"` + long + `"}}`,
		},
		"nothing varies": {
			"task: \"{lang}\"", "", "en", `{"in":{}}`,
		},
		"braces around a constant": {
			"task: \"{lang} {{{lang}}} {{lang}} {id}\"", "", "en {{en}} {{lang}} {id}", `{"in":{"id":1}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := compile(t, tc.prompts+"\n"+inputs, nil, LoadOptions{})
			require.NoError(t, err)
			assert.Equal(t, tc.system, p.Jobs.System)
			assert.Equal(t, tc.task, p.Jobs.Task)
			got := payloads(t, p)
			require.Len(t, got, 2)
			assert.Equal(t, int64(2), p.Total)
			assert.Equal(t, tc.payload, got[0])
		})
	}
}

func TestCompileExplainsPromptMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		yaml  string
		files map[string]string
		want  string
	}{
		"unknown in a block": {
			"task: |\n  one\n  two {txet}\ninputs: [{text: a, id: 1}]\n", nil,
			`batch.yaml:3: field task: no input has a field "txet"; the nearest name is "text", and the known ones are id, text. For the text {txet}, write {{txet}}`,
		},
		"unknown in a file": {
			"task: {file: p/task.txt}\nsystem_prompt: \"{b}\"\ninputs: [{a: a}]\n", map[string]string{"p/task.txt": "x\n\n{c}"},
			`batch.yaml:2: field system_prompt: no input has a field "b"; the nearest name is "a", and the known ones are a. For the text {b}, write {{b}}` + "\n" +
				`p/task.txt:3: field task: no input has a field "c"; the nearest name is "a", and the known ones are a. For the text {c}, write {{c}}`,
		},
		"unknown after a preamble": {
			"system_prompt: |\n  x-amz-id: 1\n\n  {b}\ntask: x\ninputs: [{a: a}]\n", nil,
			`batch.yaml:4: field system_prompt: no input has a field "b"; the nearest name is "a", and the known ones are a. For the text {b}, write {{b}}`,
		},
		"varies in the system prompt": {
			"task: x\nsystem_prompt: |\n  Hello\n  {a}\ninputs: [{a: 1}, {a: 2}]\n", nil,
			"batch.yaml:4: field system_prompt: {a} is not the same in every input, and the system prompt is shared by all jobs; move {a} to the task",
		},
		"no inputs": {"task: x\ninputs: []\n", nil, "batch.yaml: field inputs: there are no inputs: nothing to do"},
		"no lines":  {"task: x\ninputs: a.txt\n", map[string]string{"a.txt": "\n \n"}, "batch.yaml: field inputs: there are no inputs: nothing to do"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := compile(t, tc.yaml, tc.files, LoadOptions{})
			require.EqualError(t, err, tc.want)
			var all Errors
			assert.ErrorAs(t, err, &all)
		})
	}
}

func TestBadInputsFailTheSubmitOrTheirJob(t *testing.T) {
	t.Parallel()
	files := map[string]string{"in.jsonl": "{\"a\": 1, \"b\": 2}\n{\"a\": 1}\nnope\n{\"a\": 1, \"b\": 3}\n"}
	yaml := "task: \"{a} {b}\"\ninputs: in.jsonl\n"
	_, err := compile(t, yaml, files, LoadOptions{})
	want := `in.jsonl:2: the input has no value for {b}
in.jsonl:3: not valid JSON: invalid character 'o' in literal null (expecting 'u')
2 of 4 inputs cannot be used; mend them, or set on_bad_input: skip to let only those jobs fail`
	require.EqualError(t, err, want)
	bad, ok := errors.AsType[*BadInputsError](err)
	require.True(t, ok)
	assert.Equal(t, int64(1), bad.First[0].Index)

	s, err := load(t, yaml+"on_bad_input: skip\n", files, LoadOptions{})
	require.NoError(t, err)
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "1 {b}", p.Jobs.Task)
	assert.Equal(t, int64(4), p.Total)
	assert.Equal(t, int64(2), p.BadCount)
	assert.Len(t, p.Bad, 2)
	got := payloads(t, p)
	require.Len(t, got, 4)
	assert.Equal(t, `{"in":{"b":2}}`, got[0])
	assert.Regexp(t, `^\{"bad":".*in\.jsonl:2: the input has no value for \{b\}"\}$`, got[1])
	assert.Regexp(t, `^\{"bad":".*in\.jsonl:3: not valid JSON: `, got[2])
	assert.Equal(t, `{"in":{"b":3}}`, got[3])
}

func TestNoUsableInputFailsEvenWithSkip(t *testing.T) {
	t.Parallel()
	files := map[string]string{"in.jsonl": strings.Repeat("nope\n", 25)}
	_, err := compile(t, "task: \"{a}\"\non_bad_input: skip\ninputs: in.jsonl\n", files, LoadOptions{})
	bad, ok := errors.AsType[*BadInputsError](err)
	require.True(t, ok)
	assert.Len(t, bad.First, MaxBadKept)
	assert.Equal(t, int64(25), bad.Count)
	assert.Contains(t, err.Error(), "and 5 more\n25 of 25 inputs cannot be used")
	assert.NotContains(t, err.Error(), "skip")
}

func TestPayloadsDetectChangedInputs(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, path, content string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	for name, tc := range map[string]struct{ changed, last string }{
		"fewer":                            {"{\"a\":1,\"b\":1}\n", ""},
		"more":                             {"{\"a\":1,\"b\":1}\n{\"a\":1,\"b\":2}\n{\"a\":1,\"b\":2}\n", ""},
		"a constant that varies after all": {"{\"a\":1,\"b\":1}\n{\"a\":2,\"b\":2}\n", ""},
		"a line went bad":                  {"{\"a\":1,\"b\":1}\n{\"a\":1}\n", "the input has no value for {b}"},
		"a constant went missing":          {"{\"a\":1,\"b\":1}\n{\"b\":1}\n", "the input has no value for {a}"},
		"a line is no JSON at all":         {"{\"a\":1,\"b\":1}\n!\n", "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := load(t, "task: \"{a} {b}\"\ninputs: in.jsonl\n", map[string]string{"in.jsonl": "{\"a\":1,\"b\":1}\n{\"a\":1,\"b\":2}\n"}, LoadOptions{})
			require.NoError(t, err)
			p, err := s.Prepare(t.Context())
			require.NoError(t, err)
			write(t, filepath.Join(filepath.Dir(s.Path), "in.jsonl"), tc.changed)
			var last string
			var failed error
			for p, err := range p.Payloads(t.Context()) {
				require.NoError(t, failed)
				last, failed = string(p), err
			}
			if tc.last == "" {
				require.ErrorIs(t, failed, ErrInputsChanged)
				return
			}
			require.NoError(t, failed)
			assert.Contains(t, last, `"bad":`)
			assert.Contains(t, last, tc.last)
		})
	}
}

func TestUnreadableSourceIsAnError(t *testing.T) {
	t.Parallel()
	s, err := load(t, "task: x\ninputs: in.jsonl\n", map[string]string{"in.jsonl": "1\n"}, LoadOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(filepath.Dir(s.Path), "in.jsonl")))
	_, err = s.Prepare(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	var all Errors
	require.ErrorAs(t, err, &all)

	s, err = load(t, "task: x\ninputs: {glob: '*', root: sub}\n", map[string]string{"sub/a": ""}, LoadOptions{})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(filepath.Dir(s.Path), "sub")))
	_, err = s.Prepare(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCompileStopsWithItsContext(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	for _, yaml := range []string{least, "task: x\ninputs: '*'\n", "task: x\ninputs: '-'\n"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stop)
		s, err := load(t, yaml, nil, LoadOptions{Stdin: strings.NewReader("1\n")})
		require.NoError(t, err)
		_, err = s.Prepare(ctx)
		require.ErrorIs(t, err, stop)
	}
}

func TestFingerprintDependsOnPlanAndInputs(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"in.txt": "a\nb\n", "b.yaml": "task: \"{line}\"\ninputs: in.txt\n", "g.yaml": "task: \"{path}\"\ninputs: '*.txt'\n"})
	in := filepath.Join(dir, "in.txt")
	stamp := func(at time.Time) { require.NoError(t, os.Chtimes(in, at, at)) }
	fingerprint := func(spec, stdin string, change func(*Compiled)) string {
		s, err := Load(filepath.Join(dir, spec), LoadOptions{Stdin: strings.NewReader(stdin)})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		p, err := s.Prepare(t.Context())
		require.NoError(t, err)
		change(p.Jobs)
		sum, err := p.Fingerprint()
		require.NoError(t, err)
		require.Len(t, sum, 64)
		return sum
	}
	keep := func(*Compiled) {}
	for _, spec := range []string{"b.yaml", "g.yaml"} {
		stamp(time.Unix(1_000, 0))
		first := fingerprint(spec, "", keep)
		assert.Equal(t, first, fingerprint(spec, "", keep))
		assert.NotEqual(t, first, fingerprint(spec, "", func(c *Compiled) { c.Owner = "ada" }))
		stamp(time.Unix(2_000, 0))
		assert.NotEqual(t, first, fingerprint(spec, "", keep))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "s.yaml"), []byte("task: \"{input}\"\ninputs: '-'\n"), 0o600))
	assert.Equal(t, fingerprint("s.yaml", "1\n2\n", keep), fingerprint("s.yaml", "1\n2\n", keep))
	assert.NotEqual(t, fingerprint("s.yaml", "1\n2\n", keep), fingerprint("s.yaml", "1\n3\n", keep))
}

func TestPlanAndPayloadRoundTrip(t *testing.T) {
	t.Parallel()
	yaml := "task: \"<{a}> {b} {c} {d}\"\noutput_schema: {type: object, description: \"a < b\"}\ninputs: [{a: 123456789012345678901234567890, b: {z: [1.50, \"<&\"], a: null}, c: \"q\\\"\u2028<\", d: true}, {a: 1, b: 2, c: 3, d: ~}]\n"
	p, err := compile(t, yaml, nil, LoadOptions{})
	require.NoError(t, err)
	wire, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(wire)
	require.NoError(t, err)
	assert.Equal(t, p.Jobs.System, compiled.System)
	var payload Payload
	require.NoError(t, json.Unmarshal([]byte(payloads(t, p)[0]), &payload))
	prompt, err := compiled.Prompt(payload.Input)
	require.NoError(t, err)
	want := "<123456789012345678901234567890> {\"z\":[1.50,\"<&\"],\"a\":null} q\"\u2028< true"
	assert.Equal(t, want, prompt)
	prompt, err = (&Compiled{Task: compiled.Task}).Prompt(payload.Input)
	require.NoError(t, err, "a plan made without ParseCompiled renders, too")
	assert.Equal(t, want, prompt)
	_, err = ParseCompiled([]byte("{"))
	require.ErrorContains(t, err, "read compiled spec: ")
	require.Error(t, json.Unmarshal([]byte(`{"in": 3}`), &payload))
}

// For any hoisted values, a job's model sees the values of its own input, and the prefix is the same for all jobs.
func TestHoistingKeepsPrompts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "inputs")
		inputs := make([]map[string]any, n)
		values := rapid.SampledFrom([]string{"x", "y", "{a}", "{", "}", "{{a}}", strings.Repeat("long ", 50)})
		for i := range inputs {
			inputs[i] = map[string]any{"a": values.Draw(t, "a"), "b": values.Draw(t, "b")}
		}
		task := rapid.SampledFrom([]string{"{a} {b}", "{{{a}}}{a}{b}", "{b}{a}{b}", "{{a}} {b} {a}", "{ {a} }{b}}"}).Draw(t, "task")
		for _, hoisting := range []bool{true, false} {
			file := map[string]any{"task": task, "inputs": inputs, "hoist": hoisting}
			data, err := json.Marshal(file)
			require.NoError(t, err)
			s, err := parse(filepath.Join(dir, "b.json"), data, LoadOptions{}, false)
			require.NoError(t, err)
			p, err := s.Prepare(context.Background())
			require.NoError(t, err)
			i := 0
			for wire, err := range p.Payloads(context.Background()) {
				require.NoError(t, err)
				var payload Payload
				require.NoError(t, json.Unmarshal(wire, &payload))
				got, err := p.Jobs.Prompt(payload.Input)
				require.NoError(t, err)
				for _, name := range []string{"a", "b"} {
					block := fmt.Sprintf("<%s>\n%s\n</%s>", name, inputs[i][name], name)
					if strings.Contains(p.Jobs.System, block) {
						got = strings.ReplaceAll(got, "[the text in <"+name+"> above]", inputs[i][name].(string))
					}
				}
				want, err := ParseTemplate(task).Render(inputs[i])
				require.NoError(t, err)
				require.Equal(t, want, got)
				i++
			}
			require.Equal(t, n, i)
		}
	})
}
