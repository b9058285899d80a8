package terminal

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/localrun"
)

const returns = "../../examples/returns/"

// The simulated model calls each tool of the spec once, so every tool of the example really runs.
func TestRunWithAToolsFile(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	o := localrun.Options{
		Spec: returns + "batch.yaml", ToolsFile: returns + "tools.yaml", ToolsRoot: "../..", Format: "jsonl",
		Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler), Stdin: strings.NewReader(""),
	}
	require.NoError(t, Run(t.Context(), o, nil, NewConsole(&out, &said)), said.String())
	assert.Equal(t, 6, strings.Count(out.String(), `"status":"ok"`), out.String())
	assert.Contains(t, said.String(), "asked 12   executed 7", "six jobs read one file and look up six orders")
	assert.Regexp(t, `read_file: asked 6   executed 1   shared \d   cached \d   failed 0   P50 \S+ P75 \S+ P99 \S+\n`, said.String())
	assert.Regexp(t, `order_record: asked 6   executed 6   shared 0   cached 0   failed 0   P50 \S+ P75 \S+ P99 \S+\n`, said.String())

	o.ToolsFile = ""
	err := Run(t.Context(), o, nil, NewConsole(&out, &said))
	require.ErrorContains(t, err, "the spec asks for the tool order_record; there are: grep_files, http_get, list_files, read_file")
	assert.Equal(t, ExitUsage, ExitStatus(t.Context(), err))
	o.ToolsFile = returns + "batch.yaml"
	err = Run(t.Context(), o, nil, NewConsole(&out, &said))
	require.ErrorContains(t, err, `batch.yaml:3: field name: unknown field`)
	assert.Equal(t, ExitUsage, ExitStatus(t.Context(), err))
}
