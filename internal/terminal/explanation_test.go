package terminal

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/pkg/batch"
)

func workedResult(index, wall int64, worker string, t batch.Times) batch.Result {
	return batch.Result{
		Batch: "b_1", JobID: batch.JobID(index), Index: index, Status: batch.OK, Output: json.RawMessage("1"), Turns: 2, Worker: worker, WallMS: wall, Times: t,
		Usage: batch.Usage{PromptTokens: 100, CachedTokens: 25, CompletionTokens: 10, ContextTokens: 102}, Tools: batch.ToolCounts{Asked: 2, Executed: 1},
	}
}

func TestWriteExplanation(t *testing.T) {
	t.Parallel()
	var lines []byte
	for _, r := range []batch.Result{
		workedResult(0, 1_000, "node-2", batch.Times{Queued: 6_000, Decode: 600, Tools: 300}),
		workedResult(1, 9_000, "node-1", batch.Times{Decode: 8_000, Slot: 500}),
		{Batch: "b_1", JobID: "job-2", Index: 2, Status: batch.StatusCancelled, Error: batch.NewError(batch.JobCancelled, "x"), Worker: "node-1"},
	} {
		line, err := json.Marshal(r)
		require.NoError(t, err)
		lines = append(append(lines, line...), '\n')
	}
	path := filepath.Join(t.TempDir(), "results.jsonl")
	require.NoError(t, os.WriteFile(path, lines, 0o600))
	e, err := diagnose.ExplainFile(path)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, WriteExplanation(&out, e))
	for _, want := range []string{"b_1\n", "25% of 200 prompt tokens", "sharing    1.20x", "queued     2.0s a job on average", "decode                  86% ##########################     8.6s", "bound by   decode", "job-1          9.0s   8.0s decode   on node-1", "node-2  1 "} {
		assert.Contains(t, out.String(), want)
	}
}
