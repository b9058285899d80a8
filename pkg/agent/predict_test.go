package agent

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestPredictableCall(t *testing.T) {
	t.Parallel()
	input := map[string]any{"path": "a.md", "n": json.Number("3"), "copy": "a.md"}
	for name, c := range map[string]struct{ arguments, want string }{
		"a field":            {`{"path":"a.md"}`, `{"path":"{copy}"}`},
		"with a constant":    {`{"path":"a.md","limit":10,"mode":"{x}"}`, `{"limit":10,"mode":"{{x}}","path":"{copy}"}`},
		"another value":      {`{"path":"b.md"}`, ""},
		"not an object":      {`[1]`, ""},
		"without arguments":  {`{}`, ""},
		"part of a field":    {`{"path":"docs/a.md"}`, ""},
		"a number by chance": {`{"n":3}`, ""},
	} {
		got := predictable([]backend.ToolCall{{Name: "t", Arguments: c.arguments}}, input)
		if c.want == "" {
			assert.Nil(t, got, name)
			continue
		}
		require.NotNil(t, got, name)
		assert.Equal(t, c.want, string(got.Args), name)
	}
	assert.Nil(t, predictable(nil, input))
}

func TestResultHasThePredictableFirstCall(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{asks(`{"at":"it"}`), fails(backend.InvalidRequest)}}
	_, err := s.run(t, nil)
	require.NoError(t, err)
	s.script = []reply{asks(`{"at":"other"}`), says(`{"a":1}`)}
	r, err := s.run(t, nil)
	require.NoError(t, err)
	assert.Equal(t, &batch.FirstCall{Tool: "look", Args: json.RawMessage(`{"at":"{x}"}`)}, r.FirstCall, "a takeover takes it from the journal")
}
