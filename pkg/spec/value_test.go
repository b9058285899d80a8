package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// raw is a value with a JSON form of its own.
type raw string

func (r raw) MarshalJSON() ([]byte, error) {
	if r == "broken" {
		return nil, errors.New("not encodable")
	}
	return []byte(r), nil
}

type settings struct {
	MaxTurns   int  `spec:"max_turns"`
	MaxRetries *int `spec:"max_retries"`
	Timeouts   struct {
		Turn time.Duration `spec:"turn"`
	} `spec:"timeouts"`
	Sampling Sampling `spec:"sampling"`
}

type values struct {
	System  string          `spec:"system_prompt"`
	Task    string          `spec:"task"`
	Inputs  raw             `spec:"inputs"`
	Tools   []raw           `spec:"tools"`
	Schema  json.RawMessage `spec:"output_schema"`
	Agent   settings        `spec:",inline"`
	JobUSD  float64         `spec:"budget.job.usd"`
	Batch   int64           `spec:"budget.batch.tokens"`
	Prices  map[string]int  `spec:"prices"`
	Literal bool            `spec:"literal"`
	Reduce  any             `spec:"reduce"`
	TTL     time.Duration   `spec:"ttl"`
	Ignored func()
	Skipped chan int `spec:"-"`
}

func filled() values {
	v := values{
		System: "Be <brief> & \"exact\".\n\n  Use 🙂.\t\\n", Task: "12345", Inputs: `["02142", 7, {"a": null}]`, Tools: []raw{`"read_file"`, `{"name": "x.y", "share": "inflight"}`},
		Schema: json.RawMessage(`{"type":"object","properties":{"b":{"type":"number","maximum":1e400},"a":{"const":"~"}}}`),
		JobUSD: 1e-7, Batch: 1 << 49, Prices: map[string]int{"prompt": 1, "completion": 2}, Literal: true, TTL: 90 * time.Minute,
		Reduce: struct {
			Task string `spec:"task"`
		}{"{results}"},
	}
	v.Agent.MaxTurns, v.Agent.MaxRetries, v.Agent.Timeouts.Turn = 3, new(0), 1500*time.Millisecond
	v.Agent.Sampling = Sampling{Temperature: new(0.0), Stop: []string{"null", "[x", ""}[:2], ExtraBody: map[string]json.RawMessage{"top_k": json.RawMessage("40")}}
	return v
}

// A spec has the same content from a struct and from a file.
func TestNewMakesTheSpecOfAFile(t *testing.T) {
	t.Parallel()
	v := filled()
	system, err := json.Marshal(v.System)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "batch.json")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `{"name": "batch", "system_prompt": %s, "task": "12345", "inputs": %s,
		"tools": ["read_file", {"name": "x.y", "share": "inflight"}], "output_schema": %s, "max_turns": 3, "max_retries": 0,
		"timeouts": {"turn": "1.5s"}, "sampling": {"temperature": 0, "stop": ["null", "[x"], "extra_body": {"top_k": 40}},
		"budget": {"job": {"usd": 1e-7}, "batch": {"tokens": 562949953421312}}, "prices": {"prompt": 1, "completion": 2},
		"literal": true, "reduce": {"task": "{results}"}, "ttl": "1h30m"}`, system, v.Inputs, v.Schema), 0o600))
	loaded, err := Load(file, LoadOptions{})
	require.NoError(t, err)
	defer loaded.Close()
	made, err := New("batch", v, LoadOptions{})
	require.NoError(t, err)
	defer made.Close()
	want, err := loaded.Prepare(t.Context())
	require.NoError(t, err)
	got, err := made.Prepare(t.Context())
	require.NoError(t, err)
	for _, pair := range [][2]*Compiled{{want.Jobs, got.Jobs}, {want.Reducer, got.Reducer}} {
		wanted, err := json.Marshal(pair[0])
		require.NoError(t, err)
		given, err := json.Marshal(pair[1])
		require.NoError(t, err)
		assert.Equal(t, string(wanted), string(given))
	}
	assert.Equal(t, want.Total, got.Total)
	for payload, err := range made.Inputs(t.Context()) {
		require.NoError(t, err)
		assert.Empty(t, payload.Bad)
	}
}

func TestNewReportsMistakesWithoutLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*values)
		field   string
		message string
	}{
		"a limit":            {func(v *values) { v.Agent.MaxTurns = -2 }, "max_turns", "at least 1"},
		"not UTF-8":          {func(v *values) { v.System = "\xff" }, "system_prompt", "UTF-8"},
		"JSON":               {func(v *values) { v.Schema = json.RawMessage(`{"a": `) }, "output_schema", ""},
		"a marshaler":        {func(v *values) { v.Inputs = "broken" }, "inputs", "not encodable"},
		"a schema":           {func(v *values) { v.Schema = json.RawMessage("{\"type\":\n\"objekt\"}") }, "output_schema", "objekt"},
		"an unknown field":   {func(v *values) { v.Prices = map[string]int{"promt": 1} }, "prices.promt", "prompt"},
		"a placeholder":      {func(v *values) { v.Reduce = map[string]string{"task": "a\nb {x}"}; v.Literal = false }, "reduce.task", "{x}"},
		"nothing in a slice": {func(v *values) { v.Tools = []raw{`""`} }, "tools[0]", "name of a tool"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := filled()
			c.change(&v)
			_, err := New("batch", v, LoadOptions{})
			var mistakes Errors
			require.ErrorAs(t, err, &mistakes)
			assert.Equal(t, c.field, mistakes[0].Field)
			assert.Contains(t, mistakes[0].Message, c.message)
			for _, m := range mistakes {
				assert.Zero(t, m.Line, m)
			}
		})
	}
}

func TestNewRefusesTypesWithoutAForm(t *testing.T) {
	_, err := New("batch", struct {
		Task any `spec:"task"`
	}{make(chan int)}, LoadOptions{})
	require.ErrorContains(t, err, "field task: has the type chan int, which a spec cannot hold")
}
