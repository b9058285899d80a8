package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnknownFieldSuggestsField(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"temperature: 0":                 "field temperature: unknown field; this is called sampling.temperature here",
		"max_tokens: 5":                  "this is called sampling.max_tokens here",
		"maxTokens: 5":                   "this is called sampling.max_tokens here",
		"top_k: 5":                       "this is called sampling.extra_body.top_k here",
		"prompt: x":                      "this is called task here",
		"messages: []":                   "this is called task here",
		"system: x":                      "this is called system_prompt here",
		"schema: {}":                     "this is called output_schema here",
		"response_format: {}":            "this is called output_schema here",
		"model_name: m":                  "this is called model here",
		"base_url: x":                    "this is called backend here",
		"dataset: x":                     "this is called inputs here",
		"concurrency: 4":                 "this is called max_inflight here",
		"retries: 4":                     "this is called max_retries here",
		"timeout: 4s":                    "this is called timeouts.turn here",
		"max_steps: 4":                   "this is called max_turns here",
		"api_key: x":                     "a key is never in a spec",
		"maxTurns: 4":                    `the nearest known name is "max_turns"`,
		"max-turns: 4":                   `the nearest known name is "max_turns"`,
		"temprature: 4":                  `the known ones are name, system_prompt, task`,
		"namee: x":                       `the nearest known name is "name"`,
		"xyzzy: x":                       "unknown field; the known ones are name, system_prompt, task",
		"sampling: {max_new_tokens: 4}":  "field sampling.max_new_tokens: unknown field; this is called sampling.max_tokens here",
		"sampling: {top_k: 4}":           "this is called sampling.extra_body.top_k here",
		"sampling: {stop_sequences: 4}":  "this is called sampling.stop here",
		"timeouts: {request: 4s}":        "this is called timeouts.turn here",
		"budget: {job: {max_tokens: 4}}": "this is called budget.job.tokens here",
		"reduce: {prompt: x}":            "field reduce.prompt: unknown field; this is called reduce.task here",
		"plan: {temperature: 1}":         "this is called plan.sampling.temperature here",
	} {
		_, err := load(t, least+yaml+"\n", nil, LoadOptions{})
		assert.ErrorContains(t, err, want, yaml)
	}
	_, err := load(t, "task: x\ninputs: {csv: a.csv, sep: ;}\n", nil, LoadOptions{})
	assert.ErrorContains(t, err, "inputs.csv: unknown field; this is called inputs.file here")
	assert.ErrorContains(t, err, "inputs.sep: unknown field; this is called inputs.delimiter here")
}
