package operation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// TestPromptBelongsToTheRow moves the rows of a result, so that its index is the index of another row.
func TestPromptBelongsToTheRow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.csv"), []byte("key,text\nb,second\na,first\n"), 0o600))
	with := func(more string) SubmitOptions {
		path := filepath.Join(dir, "spec.yaml")
		require.NoError(t, os.WriteFile(path, []byte("task: \"Read {text}\"\ninputs: rows.csv\n"+more), 0o600))
		return SubmitOptions{Spec: path}
	}
	first := batch.Result{JobID: "job-0", Index: 0}

	got, err := PromptOf(t.Context(), with(""), first)
	require.NoError(t, err)
	assert.Equal(t, "Read second", got.Task, "a result of an earlier version has only its index")

	byID := first
	byID.ID = "a"
	got, err = PromptOf(t.Context(), with("id: \"{key}\"\n"), byID)
	require.NoError(t, err)
	assert.Equal(t, "Read first", got.Task)

	s, p, err := LoadSpec(t.Context(), with(""))
	require.NoError(t, err)
	defer s.Close()
	byFields := first
	byFields.Row = rowsOf(t, p)[1]
	got, err = PromptOf(t.Context(), with(""), byFields)
	require.NoError(t, err)
	assert.Equal(t, "Read first", got.Task)

	byFields.Row = "edited"
	_, err = PromptOf(t.Context(), with(""), byFields)
	assert.ErrorContains(t, err, "none of the 2 inputs")
}

// rowsOf returns the hashes of all rows.
func rowsOf(t *testing.T, p *spec.Prepared) (out []string) {
	t.Helper()
	for line, err := range p.AllPayloads(t.Context()) {
		require.NoError(t, err)
		var payload spec.Payload
		require.NoError(t, json.Unmarshal(line, &payload))
		out = append(out, payload.Row)
	}
	return out
}
