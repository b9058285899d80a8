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

// twin returns results of twins, and counts how often it was asked.
type twin struct {
	result func(fingerprint string) *spec.Reuse
	asked  int
}

func (w *twin) AwaitTwin(_ context.Context, fingerprint string) (*spec.Reuse, error) {
	w.asked++
	return w.result(fingerprint), nil
}

func TestTwinsResultIsTaken(t *testing.T) {
	t.Parallel()
	found := func(output string) func(string) *spec.Reuse {
		return func(f string) *spec.Reuse {
			return &spec.Reuse{From: "b_1/job-3", Output: json.RawMessage(output), Model: "m", Fingerprint: f}
		}
	}
	once := func(c *spec.Compiled) { c.Identical = spec.IdenticalOnce }
	for name, c := range map[string]struct {
		payload string
		share   toolpool.Share
		change  func(*spec.Compiled)
		result  func(string) *spec.Reuse
		taken   bool
		asked   int
	}{
		"once":             {`{"in":{},"twin":true}`, toolpool.Pure, once, found(`{"text":"y"}`), true, 1},
		"an item":          {`{"item":"i"}`, toolpool.ForTTL, once, found(`{"text":"y"}`), true, 1},
		"first":            {`{"in":{},"twin":true}`, toolpool.Pure, once, func(string) *spec.Reuse { return nil }, false, 1},
		"no twin":          {`{"in":{}}`, toolpool.Pure, once, found(`{"text":"y"}`), false, 0},
		"each":             {`{"in":{},"twin":true}`, toolpool.Pure, func(*spec.Compiled) {}, found(`{"text":"y"}`), false, 0},
		"effects":          {`{"in":{},"twin":true}`, toolpool.Effect, once, found(`{"text":"y"}`), false, 0},
		"changing results": {`{"in":{},"twin":true}`, toolpool.Inflight, once, found(`{"text":"y"}`), false, 0},
		"another question": {`{"in":{},"twin":true}`, toolpool.Pure, once, func(string) *spec.Reuse { return &spec.Reuse{Fingerprint: "x"} }, false, 1},
	} {
		s := &stage{script: []reply{says("x")}}
		compiled := &spec.Compiled{Name: "t", Task: "do it", Tools: []string{"look"}, MaxTurns: 2}
		c.change(compiled)
		d, err := Compile(compiled, []toolpool.Tool{{Name: "look", Parameters: json.RawMessage(`{"type":"object"}`), Share: c.share, TTL: 1}}, backend.Model{ID: "m"})
		require.NoError(t, err)
		w := &twin{result: c.result}
		r, err := NewRunner(Config{}).Run(t.Context(), d, Job{ID: batch.Job{Batch: "b_1", Index: 7}, Payload: []byte(c.payload)}, Session{Model: s, Slots: s, Tools: s, Twins: w})
		require.NoError(t, err, name)
		assert.Equal(t, batch.OK, r.Status, name)
		assert.Equal(t, c.asked, w.asked, name)
		if c.taken {
			assert.Equal(t, "b_1/job-3", r.ReusedFrom, name)
			assert.JSONEq(t, `{"text":"y"}`, string(r.Output), name)
			assert.Zero(t, r.Turns, name)
		} else {
			assert.Empty(t, r.ReusedFrom, name)
			assert.Equal(t, 1, r.Turns, name)
		}
		assert.NotEmpty(t, r.Question, name)
	}
}
