package spec

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// questionsOf returns the hashes of the jobs' questions, after a round trip through the form in Redis.
func questionsOf(t *testing.T, yaml, inputs string) []string {
	t.Helper()
	p, err := compile(t, yaml, map[string]string{"in.jsonl": inputs}, LoadOptions{})
	require.NoError(t, err)
	text, err := json.Marshal(p.Jobs)
	require.NoError(t, err)
	compiled, err := ParseCompiled(text)
	require.NoError(t, err)
	asks, err := compiled.Asks(nil)
	require.NoError(t, err)
	var out []string
	for _, data := range payloads(t, p) {
		var payload Payload
		require.NoError(t, json.Unmarshal([]byte(data), &payload))
		out = append(out, asks.Of(compiled, &payload))
	}
	return out
}

func TestQuestionOfAProgramHasTheWholeInput(t *testing.T) {
	const inputs = `{"text":"a","n":1}` + "\n" + `{"text":"a","n":"1"}` + "\n" + `{"text":"a","n":1}` + "\n"
	const spec = "inputs: in.jsonl\nagent: {socket: /tmp/first}\n"
	got := questionsOf(t, spec, inputs)
	require.Len(t, got, 3)
	assert.NotEqual(t, got[0], got[1], "no prompt has the field, but the program sees it")
	assert.Equal(t, got[0], got[2])
	assert.Equal(t, got, questionsOf(t, "inputs: in.jsonl\nagent: {socket: /tmp/second}\n", inputs), "each run has a socket of its own")
	withTask := questionsOf(t, spec+"task: \"Sort {text}\"\n", inputs)
	assert.NotEqual(t, got[0], withTask[0])
	assert.NotEqual(t, withTask[0], withTask[1])
	assert.NotEqual(t, got[0], questionsOf(t, "inputs: in.jsonl\nagent: {command: [agent]}\n", inputs)[0])
}

func TestReuseComparesWholeInputsOfPrograms(t *testing.T) {
	p, err := compile(t, "inputs: in.jsonl\nagent: {program: p}\n", map[string]string{"in.jsonl": `{"x":{"b":1,"a":2.50}}` + "\n"}, LoadOptions{})
	require.NoError(t, err)
	q, err := p.Jobs.Question("m", nil)
	require.NoError(t, err)
	var offered string
	p.Reuse("earlier", q, func(_ context.Context, fingerprint string) (*Reuse, error) {
		offered = fingerprint
		return nil, nil
	})
	var stored Payload
	require.NoError(t, json.Unmarshal([]byte(payloads(t, p)[0]), &stored))
	assert.Equal(t, q.Of(p.Jobs, &stored), offered, "the worker computes what the submitter looked up")
}
