package batchagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent"
)

// refused runs a batch that is a mistake and returns its error.
func refused(t *testing.T, b batchagent.Batch[note], options ...batchagent.Option) error {
	t.Helper()
	results, err := batchagent.Run(t.Context(), b, append(options, batchagent.Simulated())...)
	assert.Empty(t, results)
	var usage *batchagent.UsageError
	require.ErrorAs(t, err, &usage)
	return err
}

func TestFieldErrors(t *testing.T) {
	t.Parallel()
	one := batchagent.Slice([]string{"a"})
	usd := batchagent.Budget{USD: 1}
	for name, c := range map[string]struct {
		batch          batchagent.Batch[note]
		field, message string
	}{
		"limit":        {batchagent.Batch[note]{Task: "{input}", Inputs: one, Agent: batchagent.Agent{MaxTurns: -1}}, "max_turns", "must be at least 1"},
		"retries":      {batchagent.Batch[note]{Task: "{input}", Inputs: one, Agent: batchagent.Agent{MaxRetries: new(-1)}}, "max_retries", "must be at least 0"},
		"timeout":      {batchagent.Batch[note]{Task: "{input}", Inputs: one, Agent: batchagent.Agent{Timeouts: batchagent.Timeouts{Tool: -1}}}, "timeouts.tool", "must be from 1ms"},
		"placeholder":  {batchagent.Batch[note]{Task: "{inptu}", Inputs: one}, "task", `the nearest name is "input"`},
		"no task":      {batchagent.Batch[note]{Inputs: one}, "task", "is required"},
		"no inputs":    {batchagent.Batch[note]{Task: "{input}"}, "inputs", "is required"},
		"two inputs":   {batchagent.Batch[note]{Task: "{item}", Inputs: one, Plan: batchagent.Plan[string]{Task: "Ask."}}, "inputs", "leave out inputs or plan"},
		"not UTF-8":    {batchagent.Batch[note]{Task: "\xff", Inputs: one}, "task", "UTF-8"},
		"prices":       {batchagent.Batch[note]{Task: "{input}", Inputs: one, BatchBudget: usd}, "budget.batch.usd", ""},
		"plan prices":  {batchagent.Batch[note]{Task: "{item}", Plan: batchagent.Plan[string]{Task: "Which?", Budget: usd}}, "plan.budget.usd", ""},
		"reduce":       {batchagent.Batch[note]{Task: "{input}", Inputs: one, Reduce: batchagent.Reduce[string]{Task: "{outputs}"}}, "reduce.task", "{results}"},
		"reduce turns": {batchagent.Batch[note]{Task: "{input}", Inputs: one, Reduce: batchagent.Reduce[string]{Task: "x", Agent: batchagent.Agent{MaxTurns: 2}}}, "reduce.max_turns", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := refused(t, c.batch)
			var field *batchagent.FieldError
			require.ErrorAs(t, err, &field)
			assert.Equal(t, c.field, field.Field)
			assert.Contains(t, field.Message, c.message)
			assert.NotContains(t, err.Error(), ":0")
		})
	}
}

func TestSchemaErrors(t *testing.T) {
	t.Parallel()
	one := batchagent.Slice([]string{"a"})
	var schema *batchagent.SchemaError
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Schema: json.RawMessage(`{"type": "objekt"}`)}), &schema)
	assert.Contains(t, schema.Field, "output_schema")
	assert.Contains(t, schema.Message, "objekt")
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Schema: json.RawMessage(`{"type"`)}), &schema)
	assert.Equal(t, "output_schema", schema.Field)
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Reduce: batchagent.Reduce[chan int]{Task: "x"}}), &schema)
	assert.Equal(t, "reduce.output_schema", schema.Field)
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{item}", Plan: batchagent.Plan[func()]{Task: "x"}}), &schema)
	assert.Equal(t, "plan.output_schema", schema.Field)
	_, err := batchagent.Run(t.Context(), batchagent.Batch[chan int]{Task: "{input}", Inputs: one}, batchagent.Simulated())
	require.ErrorAs(t, err, &schema)
	assert.Contains(t, schema.Message, "chan int")
}

func TestBadInputsError(t *testing.T) {
	t.Parallel()
	var bad *batchagent.BadInputsError
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{a}", Inputs: batchagent.Slice([]map[string]int{{"a": 1}, {}})}), &bad)
	assert.Equal(t, []batchagent.BadInput{{Index: 1, Where: "input 1", Message: "the input has no value for {a}"}}, bad.First)
	assert.EqualValues(t, 1, bad.Count)
	assert.EqualValues(t, 2, bad.Total)
	assert.Contains(t, bad.Error(), "input 1: the input has no value for {a}")

	err := refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: batchagent.Slice([]string{})})
	assert.ErrorContains(t, err, "nothing to do")
	err = refused(t, batchagent.Batch[note]{Task: "{a}", Inputs: batchagent.Slice([]func(){nil})})
	assert.ErrorContains(t, err, "encode input 0")
}

func TestToolErrors(t *testing.T) {
	t.Parallel()
	one := batchagent.Slice([]string{"a"})
	var unknown *batchagent.UnknownToolError
	require.ErrorAs(t, refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Tools: []batchagent.Tool{batchagent.Named("raed_file")}}), &unknown)
	assert.Equal(t, []string{"raed_file"}, unknown.Tools)
	assert.Contains(t, unknown.Offered, "read_file")
	err := refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Tools: []batchagent.Tool{
		batchagent.Func("f", "F.", func(context.Context, string) (string, error) { return "", nil }),
	}})
	assert.ErrorContains(t, err, "must be a struct")

	type none struct{}
	look := func() batchagent.Tool {
		return batchagent.Func("look", "Looks.", func(context.Context, none) (string, error) { return "", nil })
	}
	err = refused(t, batchagent.Batch[note]{Task: "{input}", Inputs: one, Tools: []batchagent.Tool{look(), look()}})
	assert.ErrorContains(t, err, `two functions are tools of the name "look"`)
}

func TestUnreachableError(t *testing.T) {
	t.Parallel()
	var away *batchagent.UnreachableError
	_, err := batchagent.Run(t.Context(), batchagent.Batch[note]{Task: "{input}", Inputs: batchagent.Slice(words(1))}, batchagent.Backend("vllm://127.0.0.1:1"))
	require.ErrorAs(t, err, &away)
	_, err = batchagent.Connect(t.Context(), batchagent.ClusterConfig{URL: "redis://127.0.0.1:1"})
	require.ErrorAs(t, err, &away)
	err = batchagent.Worker{Redis: "redis://127.0.0.1:1", Backend: "vllm://127.0.0.1:1", ID: "w"}.Run(t.Context())
	require.ErrorAs(t, err, &away)
	server, err := batchagent.Connect(t.Context(), batchagent.ClusterConfig{URL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	defer server.Close()
	_, err = batchagent.Attach[note](t.Context(), server, "b_01k8zzzzzzzzzzzzzzzzzzzzzz")
	require.ErrorAs(t, err, &away)
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	var usage *batchagent.UsageError
	for _, url := range []string{"", "localhost", "http://", "http://me:secret@h"} {
		_, err := batchagent.Connect(t.Context(), batchagent.ClusterConfig{URL: url})
		require.ErrorAs(t, err, &usage, url)
		assert.NotContains(t, err.Error(), "secret")
		assert.NotContains(t, err.Error(), "--server")
	}
	for _, w := range []batchagent.Worker{
		{}, {Redis: "redis://h"}, {Redis: "redis://h", Backend: "gopher://h"}, {Redis: "localhost", Backend: "vllm://127.0.0.1:1"},
		{Redis: "redis://h", Backend: "vllm://127.0.0.1:1", Tools: []batchagent.Tool{batchagent.Named("read_file")}},
		{Redis: "redis://h", Backend: "vllm://127.0.0.1:1", ToolsFile: "missing.yaml"},
	} {
		require.ErrorAs(t, w.Run(t.Context()), &usage)
	}
}

// The cause of a context is returned unchanged.
func TestCauseOfContext(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	_, err := batchagent.Run(ctx, batchagent.Batch[note]{Task: "{input}", Inputs: batchagent.Slice(words(1))}, batchagent.Simulated())
	require.ErrorIs(t, err, stop)
	var usage *batchagent.UsageError
	assert.False(t, errors.As(err, &usage), "%v", err)
}
