package spec

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

const least = "task: hello\ninputs: [{a: 1}]\n"

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	s, err := load(t, least, nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, Compiled{
		Name: "batch", MaxTurns: 8, MaxRetries: 3, MaxAttempts: 3,
		Timeouts: Timeouts{Turn: 10 * time.Minute, Tool: time.Minute}, TTL: 168 * time.Hour,
	}, s.settings)
	assert.Equal(t, Fail, s.OnBadInput)
	assert.True(t, s.hoist)
	assert.Empty(t, s.Backend)
}

func TestLoadReadsBudgets(t *testing.T) {
	t.Parallel()
	s, err := load(t, least+"budget: {job: {tokens: 20000, usd: 0.05}, batch: {usd: 12}}\nprices: {prompt: 0.5, completion: 1.5}\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Equal(t, batch.Budget{Tokens: 20_000, USD: 0.05}, s.settings.JobBudget)
	assert.Equal(t, batch.Budget{USD: 12}, s.settings.BatchBudget)
	assert.Equal(t, batch.Prices{Prompt: 0.5, Cached: 0.5, Completion: 1.5}, s.settings.Prices, "cached tokens cost as much as prompt tokens")
	s, err = load(t, least+"prices: {prompt: 0.5, cached: 0, completion: 1.5}\n", nil, LoadOptions{})
	require.NoError(t, err)
	assert.Zero(t, s.settings.Prices.Cached)

	for text, want := range map[string]string{
		"budget: {batch: {usd: 12}}": "budget.batch.usd: needs prices",
		"budget: {job: {tokens: 0}}": "budget.job.tokens: must be at least 1",
		"budget: {}":                 "budget: limits nothing; give job, batch or both, or leave it out",
		"budget: {batch: {}}":        "budget.batch: limits nothing; give tokens, usd or both, or leave it out",
		"budget: {batch: 5}":         "budget.batch: must be",
		"budget: {jobs: {}}":         "budget.jobs: unknown field",
		"prices: {prompt: -1}":       "prices.prompt: must be",
		"prices: {prompt: cheap}":    "prices.prompt: must be a number",
		"prices: {prompt: .nan}":     "prices.prompt: must be a number",
		"prices: {prompt: 1}":        "prices.completion: is required",
		"prices: {completion: 1}":    "prices.prompt: is required",
		"prices: {cached: 1}":        "prices.prompt: is required",
		"prices: {prompt: 0, completion: 0}\nbudget: {batch: {usd: 1}}":           "budget.batch.usd: needs prices",
		"prices: {prompt: 1, completion: 1}\nbudget: {batch: {usd: 0}}":           "budget.batch.usd: must be more than 0",
		"prices: {prompt: 1, completion: 1}\nbudget: {job: {usd: 0.0}}":           "budget.job.usd: must be more than 0",
		"prices: {prompt: 1, completion: 1}\nbudget: {job: {usd: .inf}}":          "budget.job.usd: must be a number",
		"prices: {prompt: 1, completion: 1}\nbudget: {job: {tokens: 0}}":          "budget.job.tokens: must be",
		"prices: {prompt: 1, completion: 1}\nreduce: {task: b, budget: {usd: 0}}": "reduce.budget.usd: must be more than 0",
	} {
		_, err := load(t, least+text+"\n", nil, LoadOptions{})
		assert.ErrorContains(t, err, want, text)
	}
}

func TestLoadReadsEveryField(t *testing.T) {
	t.Parallel()
	yaml := `
name: papers
system_prompt: {file: prompts/system.txt}
task: |
  Read {path}.
inputs: [{path: a}]
tools: [read_file, {name: web.search}]
output_schema: schema.json
model: qwen3
backend: vllm://127.0.0.1:8000
max_inflight: 64
max_turns: 4
max_retries: 0
max_attempts: 2
timeouts: {turn: 90s, tool: 1500ms, job: 1h}
sampling: {temperature: 0, top_p: 0.9, max_tokens: 256, seed: -7, stop: ["END", "\n\n"], extra_body: {top_k: 20, chat_template_kwargs: {enable_thinking: false}}}
priority: -5
owner: ada
ttl: 24h
keep_reasoning: never
hoist: false
on_bad_input: skip
keep_preamble: true
`
	files := map[string]string{
		"prompts/system.txt": "\uFEFFBe brief.\r\nBe kind.\r\n",
		"schema.json":        "{\n  \"type\": \"object\",\n  \"properties\": {\"z\": {}, \"a\": {}}\n}\n",
	}
	s, err := load(t, yaml, files, LoadOptions{})
	require.NoError(t, err)
	zero, topP, seed := 0.0, 0.9, int64(-7)
	assert.Equal(t, Compiled{
		Name: "papers", Owner: "ada", Priority: -5, Tools: []string{"read_file", "web.search"}, Model: "qwen3", MaxInflight: 64,
		Schema: []byte(`{"type":"object","properties":{"z":{},"a":{}}}`), KeepReasoning: KeepNever,
		MaxTurns: 4, MaxRetries: 0, MaxAttempts: 2, TTL: 24 * time.Hour,
		Timeouts: Timeouts{Turn: 90 * time.Second, Tool: 1500 * time.Millisecond, Job: time.Hour},
		Sampling: Sampling{Temperature: &zero, TopP: &topP, MaxTokens: 256, Seed: &seed, Stop: []string{"END", "\n\n"},
			ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("20"), "chat_template_kwargs": json.RawMessage(`{"enable_thinking":false}`)}},
	}, s.settings)
	assert.Equal(t, "Be brief.\nBe kind.", s.system.text)
	assert.Equal(t, "Read {path}.", s.task.text)
	assert.Equal(t, Skip, s.OnBadInput)
	assert.Equal(t, "vllm://127.0.0.1:8000", s.Backend)
	assert.False(t, s.hoist)
}

func TestLoadAcceptsJSON(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"s.json": "{\n\t\"task\": \"x \\u00e9 {a}\",\n\t\"inputs\": [\n\t\t{\"a\": 12345678901234567890123}\n\t]\n}"})
	s, err := Load(filepath.Join(dir, "s.json"), LoadOptions{})
	require.NoError(t, err)
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "x é 12345678901234567890123", p.Jobs.Task)
}

func TestLoadReportsEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	yaml := `namee: x
task: ""
tools:
  - read_file
  - read_file
  - {name: a, namee: b}
  - "has space"
max_turns: 0
max_inflight: ten
max_retries: 5000
max_turns: 3
timeouts:
  trun: 3s
  tool: 30
  job: -1s
sampling:
  temperature: 2.5
  top_p: 0
  stop: [a, b, c, d, e]
  seed: 99999999999999999999
  extra_body: {top_k: 1, priority: 3}
hoist: 1
ttl: soon
on_bad_input: ignore
backend: vllm://me:hunter2@host:1
output_schema:
  type: object
  properties:
    a:
      type: integr
inputs: missing.jsonl
`
	_, err := load(t, yaml, nil, LoadOptions{})
	require.Error(t, err)
	want := `
batch.yaml:1: field namee: unknown field; the nearest known name is "name"
batch.yaml:2: field task: must not be empty
batch.yaml:5: field tools[1]: names the tool "read_file" a second time
batch.yaml:6: field tools[2].namee: unknown field; the nearest known name is "name"
batch.yaml:7: field tools[3]: must be the name of a tool, such as read_file, not "has space"
batch.yaml:8: field max_turns: must be at least 1
batch.yaml:9: field max_inflight: must be a whole number, not "ten"
batch.yaml:10: field max_retries: must be a whole number of at most 100
batch.yaml:11: field max_turns: is given twice, first on line 8
batch.yaml:13: field timeouts.trun: unknown field; the nearest known name is "turn"
batch.yaml:14: field timeouts.tool: must be a time with its unit, such as "90s", not 30
batch.yaml:15: field timeouts.job: must be from 1ms to 720h0m0s
batch.yaml:17: field sampling.temperature: must be from 0 to 2
batch.yaml:18: field sampling.top_p: must be greater than 0 and at most 1
batch.yaml:19: field sampling.stop: must have at most 4 entries
batch.yaml:20: field sampling.seed: must be a whole number of at most 9223372036854775807
batch.yaml:21: field sampling.extra_body.priority: is set by batchagent: take it out of extra_body
batch.yaml:22: field hoist: must be true or false, not 1
batch.yaml:23: field ttl: must be a time such as "90s", "10m" or "24h", not "soon"
batch.yaml:24: field on_bad_input: must be fail or skip, not "ignore"
batch.yaml:25: field backend: must not hold a user, password or key: a spec is copied and stored; give the key to the worker in its environment
batch.yaml:30: field output_schema: at /properties/a/type: "integr" is no type; the nearest one is "integer", and the known ones are null, boolean, number, integer, string, array, object
batch.yaml:31: field inputs: read missing.jsonl: no such file or directory
`
	assert.Equal(t, strings.TrimSpace(want), err.Error())
	var all Errors
	require.ErrorAs(t, err, &all)
	first, ok := errors.AsType[*FieldError](err)
	require.True(t, ok)
	assert.Equal(t, "namee", first.Field)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ yaml, want string }{
		"nothing":          {"", "batch.yaml:1: the file is empty"},
		"comments only":    {"# hello\n", "batch.yaml:1: the file is empty"},
		"a list":           {"- a\n", "batch.yaml:1: must be a mapping, not a list"},
		"broken YAML":      {"task: a\ninputs: [1, 2\nname: b\n", "batch.yaml:3: not valid YAML: ',' or ']' must be specified"},
		"two documents":    {least + "---\n" + least, "batch.yaml:2: the file holds 2 YAML documents; a spec is one"},
		"required missing": {"name: x\n", "batch.yaml:1: field task: is required\nbatch.yaml:1: field inputs: is required"},
		"required null":    {"task:\ninputs: ~\n", "batch.yaml:1: field task: is required\nbatch.yaml:1: field inputs: is required"},
		"a tag":            {"task: !!str x\ninputs: [1]\n", "batch.yaml:1: field task: YAML tags such as !!str are not supported; put text that begins with ! in quotes"},
		"unknown anchor":   {"task: *x\ninputs: [1]\n", "batch.yaml:1: field task: there is no anchor &x"},
		"a circle":         {"task: x\ninputs: &x [*x]\n", "batch.yaml:2: field inputs" + strings.Repeat("[0]", 31) + "[…: is nested more than 200 deep"},
		"null input":       {"task: x\ninputs: [{a: 1}, ~]\n", "batch.yaml:2: field inputs[1]: null is not an input"},
		"infinite input":   {"task: x\ninputs: [{a: .inf}]\n", "batch.yaml:2: field inputs[0].a: .inf cannot be written as JSON"},
		"key in the URL":   {least + "backend: vllm://h:1?api_key=abc\n", "batch.yaml:3: field backend: must not hold a user, password or key: a spec is copied and stored; give the key to the worker in its environment"},
		"no URL":           {least + "backend: localhost\n", "batch.yaml:3: field backend: must be a URL such as vllm://127.0.0.1:8000"},
		"prompt file":      {"task: {file: no.txt}\ninputs: [1]\n", "batch.yaml:1: field task.file: read no.txt: no such file or directory"},
		"prompt mapping":   {"task: {fiel: no.txt}\ninputs: [1]\n", `batch.yaml:1: field task.fiel: unknown field; the nearest known name is "file"` + ""},
		"control in name":  {least + "name: \"a\\u001bb\"\n", "batch.yaml:3: field name: must be one line without control characters"},
		"unknown format":   {"task: x\ninputs: batch.yaml\n", `batch.yaml:2: field inputs: the extension of "batch.yaml" names no format; write {file: batch.yaml, format: jsonl|json|csv|text|parquet}`},
		"format":           {"task: x\ninputs: {file: batch.yaml, format: xml}\n", `batch.yaml:2: field inputs.format: must be one of jsonl, json, csv, text, parquet, not "xml"`},
		"two sources":      {"task: x\ninputs: {glob: '*', stdin: csv}\n", "batch.yaml:2: field inputs: must have exactly one of file, glob, stdin, batch and results"},
		"stdin and format": {"task: x\ninputs: {stdin: csv, format: csv}\n", "batch.yaml:2: field inputs: format goes with file only; standard input takes it as {stdin: csv}"},
		"file and root":    {"task: x\ninputs: {file: a.csv, root: .}\n", "batch.yaml:2: field inputs: exclude and root go with glob only"},
		"bad pattern":      {"task: x\ninputs: {glob: '[', exclude: ['{']}\n", `batch.yaml:2: field inputs.exclude[0]: is not a valid pattern: "{"`},
		"deep brackets":    {"task: x\ninputs: " + strings.Repeat("[", 20_000), "batch.yaml:2: brackets are nested more than 10000 deep"},
		"merge circle":     {"task: x\ninputs: [&x {<<: *x}]\n", "batch.yaml:2: field inputs[0]: merge keys are nested more than 20 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tc.yaml, nil, LoadOptions{})
			require.Error(t, err)
			assert.Equal(t, tc.want, err.Error())
		})
	}
}

func TestLoadExpandsAliasesWithinBounds(t *testing.T) {
	t.Parallel()
	s, err := load(t, "task: \"{a}{b}\"\ninputs:\n  - &x {a: 1, b: 2}\n  - <<: *x\n    b: 3\n", nil, LoadOptions{})
	require.NoError(t, err)
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "1{b}", p.Jobs.Task)

	var bomb strings.Builder
	bomb.WriteString("task: x\ninputs: [*j]\nmodel: m\na: &a [1,1,1,1,1,1,1,1,1,1]\n")
	for c := 'b'; c <= 'j'; c++ {
		alias := "*" + string(c-1)
		bomb.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat(alias+",", 9) + alias + "]\n")
	}
	_, err = load(t, bomb.String(), nil, LoadOptions{})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "aliases expanded")
}

func TestLoadNamesTheFile(t *testing.T) {
	t.Parallel()
	_, err := Load("spec.toml", LoadOptions{})
	require.EqualError(t, err, "spec.toml: a spec is a .yaml, .yml or .json file")
	_, err = Load("nowhere/spec.yaml", LoadOptions{})
	require.EqualError(t, err, "nowhere/spec.yaml: no such file or directory")
	_, err = Load(filepath.Join(folder(t, map[string]string{"a.yaml/x": ""}), "a.yaml"), LoadOptions{})
	require.ErrorContains(t, err, "not a regular file")
	_, err = load(t, "task: \xff\n", nil, LoadOptions{})
	require.EqualError(t, err, "batch.yaml: "+errNotUTF8.Error())
	_, err = load(t, strings.Repeat("# 34567\n", maxSpecBytes/8)+"\n", nil, LoadOptions{})
	require.EqualError(t, err, "batch.yaml: the file is larger than 4 MiB")
}

func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("../../examples/*/batch.yaml")
	require.NoError(f, err)
	for _, path := range seeds {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, s := range []string{
		"", least, "a: &a [*a]\n", "{\"task\": \"x\", \"inputs\": [1, {\"a\": null}]}", "task: |\n  {a}\ninputs: -\n", "? a\n: b\n",
		"task: x\noutput_schema: {$ref: '#/a', type: 3, pattern: '('}\n", "<<: {a: 1}\n", "task: !!int 3\n", "- [a, {b: c}]\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			t.Skip("size adds nothing")
		}
		s, err := parse("testdata/fuzz.yaml", data, LoadOptions{Stdin: strings.NewReader("")}, false)
		if (s == nil) == (err == nil) {
			t.Fatalf("spec %v, error %v", s, err)
		}
		if all, ok := errors.AsType[Errors](err); err != nil && (!ok || len(all) == 0) {
			t.Fatalf("error %T %v", err, err)
		}
	})
}
