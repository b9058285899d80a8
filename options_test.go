package batchagent_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent"
)

func TestOptionsSelectToolsAndLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.md"), []byte("The policy of the folder."), 0o600))
	tools := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(tools, []byte(`commands:
  repeat:
    description: Repeats a word.
    parameters: {type: object, properties: {word: {type: string}}, required: [word]}
    argv: [echo, "{word} from the command"]
    share: pure
`), 0o600))
	var log bytes.Buffer
	run := func(first batchagent.Preload) string {
		results, err := batchagent.Run(t.Context(), batchagent.Batch[string]{
			Task: "Judge {input}", Inputs: batchagent.Slice([]string{"salt"}), Preload: []batchagent.Preload{first},
		}, batchagent.Simulated(), batchagent.ToolsRoot(dir), batchagent.ToolsFile(tools), batchagent.Logger(slog.New(slog.NewTextHandler(&log, nil))))
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		return results[0].Output
	}
	assert.Contains(t, run(batchagent.Preload{Tool: "read_file", Args: map[string]any{"path": "policy.md"}}), "The policy of the folder.")
	assert.Contains(t, run(batchagent.Preload{Tool: "repeat", Args: map[string]any{"word": "{input}"}}), "salt from the command")
	assert.Contains(t, log.String(), "claiming jobs")
}
