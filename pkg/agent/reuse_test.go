package agent

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// An earlier output is reused only if this worker computes the same fingerprint: the same model, and no tool with side
// effects.
func TestReuseRequiresSameFingerprint(t *testing.T) {
	t.Parallel()
	compiled := &spec.Compiled{Name: "t", System: "sys", Task: "do {x}", Tools: []string{"look"}, MaxTurns: 4}
	q, err := compiled.Question("m", compiled.Tools)
	require.NoError(t, err)
	payload, err := json.Marshal(spec.Payload{Input: map[string]any{"x": "it"}, Reuse: &spec.Reuse{
		From: "b_0/job-3", Output: json.RawMessage(`{"text":"old"}`), Model: "m-old", Fingerprint: q.Fingerprint("do it"), MaxTokens: 9,
	}})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		model  string
		share  toolpool.Share
		reused bool
	}{
		"the same":            {"m", toolpool.Inflight, true},
		"another model":       {"m2", toolpool.Inflight, false},
		"a tool with effects": {"m", toolpool.Effect, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stage{script: []reply{says("new")}}
			p, err := Compile(compiled, []toolpool.Tool{{Name: "look", Parameters: json.RawMessage(`{"type":"object"}`), Share: c.share}}, backend.Model{ID: c.model})
			require.NoError(t, err)
			r, err := NewRunner(Config{Worker: "w"}).Run(context.Background(), p, Job{
				ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: payload,
			}, Session{Model: s, Slots: s, Tools: s})
			require.NoError(t, err)
			require.Equal(t, batch.OK, r.Status)
			assert.Equal(t, c.share == toolpool.Effect, r.Fingerprint == "")
			if c.reused {
				assert.JSONEq(t, `{"text":"old"}`, string(r.Output))
				assert.Equal(t, []any{"b_0/job-3", "m-old", 9, 0}, []any{r.ReusedFrom, r.Model, r.MaxTokens, r.Turns})
				assert.Empty(t, s.requests)
				return
			}
			assert.JSONEq(t, `{"text":"new"}`, string(r.Output))
			assert.Empty(t, r.ReusedFrom)
			assert.Len(t, s.requests, 1)
		})
	}
}
