package terminal

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestShowJobOfAProgram checks that a job's page has what its program left.
func TestShowJobOfAProgram(t *testing.T) {
	t.Parallel()
	turns, err := json.Marshal([]agent.Turn{
		{Assistant: backend.Message{Content: "I look."}, Call: &agent.ProgramCall{Key: "k"}},
		{Tools: []backend.Message{{Content: "two rows"}}, Call: &agent.ProgramCall{Key: "k", Tool: "sql_query"}},
	})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, ShowJob(&b, batch.Result{
		Batch: "b_1", JobID: "job-3", Index: 3, Status: batch.OK, Output: json.RawMessage(`{"a":1}`), Turns: 1, Replayed: 2, DivergedAt: 3,
		Transcript: turns, Diff: "+++ b/x\n",
		Files: map[string]batch.File{
			"b.bin":   {Base64: []byte{0xff}, Size: 1},
			"a.txt":   {Text: "begin", Size: 900, Cut: true},
			"c.model": {Path: "s3://bucket/c", SHA256: "abc", Size: 5000},
		},
	}, nil))
	page := b.String()
	for _, part := range []string{
		"replayed  2 calls from the journal of an earlier attempt\n", "diverged  at call 3, which an earlier attempt did not make\n",
		"--- turn 2\nthe program calls sql_query\nresult: two rows\n",
		"--- file a.txt, 900 bytes, the beginning\nbegin\n\n--- file b.bin, 1 byte\n(not text)\n\n--- file c.model, 5,000 bytes\nkept at s3://bucket/c\n",
		"--- changes of the working folder\n+++ b/x\n",
	} {
		assert.Contains(t, page, part)
	}
}
