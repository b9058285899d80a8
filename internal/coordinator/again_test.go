package coordinator

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShellQuote(t *testing.T) {
	t.Parallel()
	args := []string{"", "plain-1.csv", "a b", "it's", `"q" $HOME`, "`id`", "a\nb", "*?[x]", "~", "é", "--x=y", "=ls", "a\\b", "!1", "#c"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+ShellQuote(args)).Output()
	require.NoError(t, err)
	assert.Equal(t, strings.Join(args, "\x00")+"\x00", string(out))
	assert.Equal(t, "plain-1.csv --out o.jsonl", ShellQuote([]string{"plain-1.csv", "--out", "o.jsonl"}))
}

func TestAgainHidesPasswords(t *testing.T) {
	t.Parallel()
	r := &fileRun{options: RunOptions{Command: []string{"coordinator", "run", "--resume", "--backend", "vllm://u:hunter2@h:1", "s.yaml"}}}
	assert.NotContains(t, r.again(), "hunter2")
	assert.Contains(t, r.again(), "coordinator run --resume s.yaml (with BATCHAGENT_BACKEND set")
	r.options.Command[4] = "vllm://h:1"
	assert.Equal(t, "coordinator run --resume --backend vllm://h:1 s.yaml", r.again())
	r.options.Command = nil
	r.options.Spec, r.options.Out = "a b.yaml", "o.jsonl"
	r.options.Getenv = func(string) string { return "sglang://h" }
	r.local.server = &modelServer{by: byVariable}
	assert.Equal(t, "coordinator run 'a b.yaml' --backend sglang://h --resume --out o.jsonl", r.again())
}
