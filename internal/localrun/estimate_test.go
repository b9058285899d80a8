package localrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
)

// prepared returns a spec over n rows.
func prepared(t *testing.T, n int) *spec.Prepared {
	t.Helper()
	return preparedWithout(t, n, func(int) bool { return false })
}

// preparedWithout returns a spec over n rows with some bad ones.
func preparedWithout(t *testing.T, n int, bad func(i int) bool) *spec.Prepared {
	t.Helper()
	dir := t.TempDir()
	var rows strings.Builder
	for i := range n {
		if bad(i) {
			rows.WriteString("{\"y\":\"\"}\n")
			continue
		}
		fmt.Fprintf(&rows, "{\"x\":\"%s\"}\n", strings.Repeat("a", i%7))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.jsonl"), []byte(rows.String()), 0o600))
	path := filepath.Join(dir, "spec.yaml")
	require.NoError(t, os.WriteFile(path, []byte("name: n\nsystem_prompt: \"0123456789\"\ntask: \"say {x}\"\ninputs: in.jsonl\non_bad_input: skip\n"), 0o600))
	s, err := spec.Load(path, spec.LoadOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	p, err := s.Prepare(t.Context())
	require.NoError(t, err)
	return p
}

func TestEstimateCountsOrExtrapolates(t *testing.T) {
	twoBytes := func(_ context.Context, m []backend.Message) (int, error) { return int(bytesOf(m) / 2), nil }
	for _, n := range []int{1, 50, maxCounted, maxCounted + 1, 3*maxCounted + 17} {
		var e Estimate
		require.NoError(t, e.measure(t.Context(), prepared(t, n), twoBytes))
		assert.EqualValues(t, n, e.Jobs)
		assert.EqualValues(t, min(n, maxCounted), e.Counted)
		assert.InEpsilon(t, float64(e.Bytes)/2, float64(e.Tokens), 0.03)
	}
	var e Estimate
	require.NoError(t, e.measure(t.Context(), prepared(t, 50), nil))
	assert.Zero(t, e.Counted)
	assert.Equal(t, e.Bytes/bytesPerToken, e.Tokens)
}

func TestEstimateSkipsBadInputs(t *testing.T) {
	p := preparedWithout(t, 2*maxCounted, func(i int) bool { return spread(int64(i), 2*maxCounted) })
	require.EqualValues(t, maxCounted, p.BadCount)
	var e Estimate
	require.NoError(t, e.measure(t.Context(), p, func(context.Context, []backend.Message) (int, error) { return 7, nil }))
	assert.EqualValues(t, maxCounted, e.Jobs)
	assert.Positive(t, e.Counted)
	assert.Positive(t, e.Tokens)
}

func TestEstimateEndsWithTheFirstError(t *testing.T) {
	down := errors.New("down")
	var e Estimate
	err := e.measure(t.Context(), prepared(t, 200), func(context.Context, []backend.Message) (int, error) { return 0, down })
	assert.ErrorIs(t, err, down)
}
