package terminal

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestShellQuote(t *testing.T) {
	t.Parallel()
	args := []string{"", "plain-1.csv", "a b", "it's", `"q" $HOME`, "`id`", "a\nb", "*?[x]", "~", "é", "--x=y", "=ls", "a\\b", "!1", "#c"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+ShellQuote(args)).Output()
	require.NoError(t, err)
	assert.Equal(t, strings.Join(args, "\x00")+"\x00", string(out))
	assert.Equal(t, "plain-1.csv --out o.jsonl", ShellQuote([]string{"plain-1.csv", "--out", "o.jsonl"}))
}

func TestResumeCommandHidesPasswords(t *testing.T) {
	t.Parallel()
	command := []string{"coordinator", "run", "--resume", "--backend", "vllm://u:hunter2@h:1", "s.yaml"}
	text := resumeCommand(localrun.Options{}, command, false)
	assert.NotContains(t, text, "hunter2")
	assert.Contains(t, text, "coordinator run --resume s.yaml (with BATCHAGENT_BACKEND set")
	command[4] = "vllm://h:1"
	assert.Equal(t, "coordinator run --resume --backend vllm://h:1 s.yaml", resumeCommand(localrun.Options{}, command, false))
	o := localrun.Options{Spec: "a b.yaml", Out: "o.jsonl", Getenv: func(string) string { return "sglang://h" }}
	assert.Equal(t, "coordinator run 'a b.yaml' --backend sglang://h --resume --out o.jsonl", resumeCommand(o, nil, true))
}

func TestResultsCommandNamesEveryFlag(t *testing.T) {
	t.Parallel()
	o := ResultsOptions{Follow: true, Out: "my file.csv"}
	assert.Equal(t, "coordinator results b_1 --follow --out 'my file.csv'", o.command("b_1"))
	o.Command = []string{"coordinator", "results", "b_1", "--follow", "--redis", "redis://:hunter2@h:1", "--out", "o"}
	assert.Equal(t, "coordinator results b_1 --follow --out o (with BATCHAGENT_REDIS set to the server's URL, which holds a password)", o.command("b_1"))
}

func TestRaiseNamesTheLimitsOfTheBatch(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]batch.Budget{
		"coordinator budget b_1 --tokens N":         {Tokens: 5},
		"coordinator budget b_1 --usd X":            {USD: 5},
		"coordinator budget b_1 --tokens N --usd X": {Tokens: 5, USD: 5},
	} {
		assert.Equal(t, want, raise(batch.Info{Header: batch.Header{ID: "b_1", Budget: b}}))
	}
}
