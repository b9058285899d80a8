package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestToolsDoNotGetKeys plants every key of the programs and lets a command and an MCP server write down their environment, and that of the
// worker as far as /proc shows it. Children of the worker that limit themselves have a fixed environment: see pkg/internal/confine.
func TestToolsDoNotGetKeys(t *testing.T) {
	server := testredis.Server(t, testredis.Password("", "planted-password"))
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, name := range config.Keys {
		t.Setenv(name, "planted-"+strings.ToLower(name))
	}
	t.Setenv("BATCHAGENT_REDIS_PASSWORD", "")
	t.Setenv("BATCHAGENT_REDIS_PASSWORD_FILE", write("password", "planted-password\n"))
	t.Setenv("OTHER", "unrelated")
	// The text goes through base64, or the worker would strike the keys out of the result.
	const look = `{ env; cat /proc/$PPID/environ; echo; echo looked; } 2>&1 | base64 -w0`
	tools := write("tools.yaml", fmt.Sprintf("commands:\n  look: {description: Looks., argv: [sh, -c, %q]}\n", look))
	bin := built(t)
	url := "redis://" + server.Addr()
	bin.start(t, "worker", "--redis", url, "--backend", "vllm://"+bin.simulator(t), "--id", "node-1", "--tools", tools)
	write("inputs.jsonl", "{\"n\":1}\n")
	spec := write("batch.yaml", "name: look\ntask: \"Question {n}: look.\"\ninputs: inputs.jsonl\ntools: [look]\ntranscripts: true\n")
	results := filepath.Join(dir, "results.jsonl")
	id := submitted(t, bin, url, spec)
	_, errs, code := bin.run(t, "coordinator", "results", id, "--follow", "--out", results, "--redis", url)
	require.Zero(t, code, errs)
	lines := readResults(t, results)
	require.Len(t, lines, 1)
	require.Equal(t, batch.OK, lines[0].Status)
	text, err := os.ReadFile(results)
	require.NoError(t, err)
	assertNoKeys(t, "command", string(text))

	// A worker ends if an MCP server does not come up; this one leaves after it has looked.
	seen := filepath.Join(dir, "seen")
	broken := write("mcp.yaml", fmt.Sprintf("mcpServers:\n  looker: {command: sh, args: [-c, %q]}\n", look+" > "+seen+".part; mv "+seen+".part "+seen))
	bin.start(t, "worker", "--redis", url, "--backend", "vllm://127.0.0.1:1", "--id", "node-2", "--tools", broken)
	require.Eventually(t, func() bool { _, err := os.Stat(seen); return err == nil }, 20*time.Second, 20*time.Millisecond)
	text, err = os.ReadFile(seen)
	require.NoError(t, err)
	assertNoKeys(t, "MCP server", string(text))
}

// assertNoKeys decodes the longest run of base64 in a text and looks for keys.
func assertNoKeys(t *testing.T, who, text string) {
	t.Helper()
	longest := ""
	for _, run := range regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`).FindAllString(text, -1) {
		if len(run) > len(longest) {
			longest = run
		}
	}
	decoded, err := base64.StdEncoding.DecodeString(longest)
	require.NoError(t, err)
	assert.Contains(t, string(decoded), "PATH=", who)
	assert.Contains(t, string(decoded), "looked", who)
	assert.NotContains(t, string(decoded), "planted", who)
}
