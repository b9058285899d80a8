package realrun

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/vllmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScriptedRun checks that the script alone decides the number of turns, with and without admission by the KV cache.
func TestScriptedRun(t *testing.T) {
	t.Parallel()
	sim, err := vllmsim.New(vllmsim.Config{})
	require.NoError(t, err)
	url, stop, err := sim.Start(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	run := Run{
		URL: "vllm://" + strings.TrimPrefix(url, "http://"), System: strings.Repeat("You are one of many. ", 20), Texts: []string{"first", "second", "third"},
		Turns: 3, Output: 4,
		Tool: toolpool.Tool{
			Name: "look", Description: "Looks.", Parameters: []byte(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}`),
			Run: func(_ context.Context, args json.RawMessage) (string, error) { return "seen " + string(args), nil },
		},
		Call: func(r *backend.Request, turn int) map[string]string {
			return map[string]string{"at": r.Hints.Session + " " + strings.Repeat("I", turn)}
		},
	}
	for _, told := range []bool{false, true} {
		run.Told = told
		out, err := run.Do(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 6, out.Tools.Executed, "two different calls of each of three agents")
		assert.Len(t, out.First, 3)
		assert.Len(t, out.Later, 6)
		assert.Positive(t, out.Usage.PromptTokens)
		assert.LessOrEqual(t, out.Usage.CompletionTokens, int64(9*4))
		assert.Positive(t, out.HitRate())
	}

	run.Turns = 1
	out, err := run.Do(t.Context())
	require.NoError(t, err)
	assert.Zero(t, out.Tools.Asked)
	assert.Empty(t, out.Later)

	run.URL = "vllm://127.0.0.1:1"
	_, err = run.Do(t.Context())
	require.Error(t, err)
}
